// What is drawn: places from the server, which do not change, and the states of steps, which do.

import { clean } from "../format.js";
import { STEP_STATES as STATES, WORST_FIRST } from "../states.js";

const WORST_CODES = WORST_FIRST.map((name) => STATES.indexOf(name));

// The lines of a graph are indexed by the cells of a grid.
const CELL_PX = 1024;

const onOneLine = (text) => clean(text).replaceAll(/\s+/gu, " ");

export class Plot {
  constructor(data, d3) {
    this.data = data;
    this.ids = data.nodes;
    this.count = data.nodes.length;
    [this.boxWidth, this.boxHeight] = data.box;
    this.width = Math.max(data.size[0], this.boxWidth);
    this.height = Math.max(data.size[1], this.boxHeight);
    this.members = new Map(Object.entries(data.members).map(([index, ids]) => [Number(index), ids]));
    // A canvas does not isolate text, so nothing invisible or direction-changing may reach it.
    this.notes = new Map(Object.entries(data.notes).map(([index, notes]) => [Number(index), onOneLine(notes.join(", "))]));
    this.names = new Map([...this.members].map(([index, ids]) => [index, `${ids.length.toLocaleString("en")} × ${commonName(ids)}`]));
    this.nodeOf = new Map(this.ids.map((id, index) => [id, index]));
    for (const [index, ids] of this.members) for (const id of ids) this.nodeOf.set(id, index);
    // The index of each node's state, or -1 in a file's graph; how many members of a folded node are in each state.
    this.states = new Int8Array(this.count).fill(-1);
    this.counts = new Map([...this.members.keys()].map((index) => [index, new Int32Array(STATES.length)]));
    this.texts = new Map();
    this.#setPlaces(data);
    this.#listLines();
    this.tree = d3.quadtree(this.ids.map((_, index) => index), (i) => this.middle(i), (i) => this.y[i]);
    this.conditional = new Set(data.conditional);
  }

  // Nodes come first, then bends. A line goes from the right end of one place to the left end of another.
  #setPlaces({ boxes, bends, lines }) {
    const { count } = this;
    const places = count + bends.length / 3;
    this.left = new Float32Array(places);
    this.right = new Float32Array(places);
    this.y = new Float32Array(places);
    for (let i = 0; i < count; i++) {
      this.left[i] = boxes[2 * i];
      this.right[i] = boxes[2 * i] + this.boxWidth;
      this.y[i] = boxes[2 * i + 1];
    }
    for (let i = count; i < places; i++) {
      const at = 3 * (i - count);
      [this.left[i], this.right[i], this.y[i]] = [bends[at], bends[at + 1], bends[at + 2]];
    }
    this.ends = Int32Array.from(lines, (end) => (end < 0 ? count - 1 - end : end));
  }

  // Each line is listed in the cells of a coarse grid that it may touch, and at both of its ends.
  #listLines() {
    const { left, right, y, ends } = this;
    const number = ends.length / 2;
    this.columns = Math.ceil(this.width / CELL_PX) + 1;
    this.cells = new Map();
    this.dependencies = Array.from({ length: y.length }, () => []);
    this.dependents = Array.from({ length: y.length }, () => []);
    this.stamps = new Uint32Array(number);
    this.turn = 0;
    const cell = (at) => Math.floor(at / CELL_PX);
    for (let line = 0; line < number; line++) {
      const [a, b] = [ends[2 * line], ends[2 * line + 1]];
      this.dependents[a].push(line);
      this.dependencies[b].push(line);
      const last = b < this.count ? left[b] : right[b];
      for (let row = cell(Math.min(y[a], y[b])); row <= cell(Math.max(y[a], y[b])); row++) {
        for (let column = cell(Math.min(right[a], last)); column <= cell(Math.max(right[a], last)); column++) {
          const key = row * this.columns + column;
          const found = this.cells.get(key);
          if (found) found.push(line);
          else this.cells.set(key, [line]);
        }
      }
    }
  }

  name(node) {
    return this.names.get(node) ?? onOneLine(this.ids[node]);
  }

  note(node) {
    return this.notes.get(node) ?? "";
  }

  middle(node) {
    return this.left[node] + this.boxWidth / 2;
  }

  isFolded(node) {
    return this.members.has(node);
  }

  shape(node) {
    return this.data.shapes[node] ?? "job";
  }

  state(node) {
    return STATES[this.states[node]] ?? null;
  }

  // How many steps of a node are in any of some states.
  countIn(node, isWanted) {
    const counts = this.counts.get(node);
    if (counts) return counts.reduce((sum, count, code) => sum + (isWanted(STATES[code]) ? count : 0), 0);
    return isWanted(this.state(node)) ? 1 : 0;
  }

  // Set the states of steps, and the counts of their items. Returns true if the picture changes.
  setSteps(steps) {
    const before = this.states.slice();
    const counted = [...this.counts.values()].map((counts) => counts.slice());
    for (const counts of this.counts.values()) counts.fill(0);
    let isOther = false;
    for (const { id, state, items } of steps) {
      const node = this.nodeOf.get(id);
      if (node === undefined) continue;
      const code = STATES.indexOf(state);
      if (this.counts.has(node)) this.counts.get(node)[code] += 1;
      else this.states[node] = code;
      if (items && this.texts.get(node) !== items.text) {
        this.texts.set(node, items.text);
        isOther = true;
      }
    }
    for (const [node, counts] of this.counts) this.states[node] = WORST_CODES.find((code) => counts[code]) ?? -1;
    const isSame = (one, other) => one.every((value, index) => value === other[index]);
    return isOther || !isSame(before, this.states) || ![...this.counts.values()].every((counts, n) => isSame(counts, counted[n]));
  }

  // The nodes and lines that may appear in a rectangle.
  visitNodes(left, top, right, bottom, visit) {
    const [w, h] = [this.boxWidth / 2 + 6, this.boxHeight / 2 + 6];
    this.tree.visit((quad, x0, y0, x1, y1) => {
      if (x0 > right + w || x1 < left - w || y0 > bottom + h || y1 < top - h) return true;
      if (quad.length) return false;
      for (let one = quad; one; one = one.next) {
        const [x, y] = [this.middle(one.data), this.y[one.data]];
        if (x > left - w && x < right + w && y > top - h && y < bottom + h) visit(one.data);
      }
      return false;
    });
  }

  visitLines(left, top, right, bottom, visit) {
    const cell = (at) => Math.floor(at / CELL_PX);
    this.turn += 1;
    for (let row = Math.max(0, cell(top)); row <= Math.min(cell(bottom), cell(this.height)); row++) {
      for (let column = Math.max(0, cell(left)); column <= Math.min(cell(right), this.columns - 1); column++) {
        for (const line of this.cells.get(row * this.columns + column) ?? []) {
          if (this.stamps[line] === this.turn) continue;
          this.stamps[line] = this.turn;
          visit(line);
        }
      }
    }
  }

  nodeAt(x, y) {
    let found = null;
    this.visitNodes(x, y, x, y, (node) => {
      if (Math.abs(this.middle(node) - x) <= this.boxWidth / 2 && Math.abs(this.y[node] - y) <= this.boxHeight / 2) found = node;
    });
    return found;
  }

  // Follow the lines of a node through their bends: the lines, the nodes that it depends on, and those that depend on it.
  around(node) {
    const lines = [];
    const follow = (start, listed, end) => {
      const [found, waiting] = [[], [start]];
      for (const place of waiting) {
        for (const line of listed[place]) {
          const other = this.ends[2 * line + end];
          lines.push(line);
          if (other < this.count) found.push(other);
          else waiting.push(other);
        }
      }
      return [...new Set(found)];
    };
    return { dependencies: follow(node, this.dependencies, 0), dependents: follow(node, this.dependents, 1), lines };
  }
}

// Name several steps by their most common prefix: `load-…` for `load-1` and `load-2`.
export function commonName(ids) {
  const stems = new Map();
  for (const id of ids) {
    const stem = id.replace(/\d+$/u, "");
    stems.set(stem, (stems.get(stem) ?? 0) + 1);
  }
  const [stem, count] = [...stems].reduce((best, one) => (one[1] > best[1] ? one : best));
  return onOneLine(`${count > 1 ? `${stem}…` : ids[0]}${count < ids.length ? ", …" : ""}`);
}
