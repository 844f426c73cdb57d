// The rows of a timeline: its steps as the reader wants them, filtered and sorted, with similar steps in one row.

import { commonName } from "../graph/plot.js";
import { WORST_FIRST } from "../states.js";

export const ORDERS = { started: "Earliest first", longest: "Longest first", path: "Critical path only" };

export class Rows {
  constructor(data) {
    this.data = data;
    this.onPath = new Map(data.path.map((one) => [one.step, one]));
    this.numberOf = new Map(data.steps.map((id, number) => [id, number]));
    this.fanOf = new Map();
    for (const fan of data.fans) for (const number of fan) this.fanOf.set(number, fan);
    this.waiting = data.parts.findIndex(({ name }) => name === "dependencies");
    this.busy = data.bars.map((bars) => this.#busyTime(bars));
  }

  // The time that a step itself took, without its wait for dependencies.
  #busyTime(bars) {
    let sum = 0;
    for (let at = 0; at < bars.length; at += 3) if (bars[at] !== this.waiting) sum += bars[at + 2] - bars[at + 1];
    return sum;
  }

  // Return what to show: rows with the `steps` they stand for. Fans in `opened`, by their first step, are not folded.
  choose({ text = "", order = "started", isFolded = true, opened = new Set() }) {
    const { data } = this;
    const wanted = text.trim().toLowerCase();
    if (order === "path") {
      return data.path.map(({ step }) => this.numberOf.get(step)).filter((number) => data.steps[number].toLowerCase().includes(wanted)).map((number) => this.#single(number));
    }
    const rows = [];
    const folded = new Map();
    for (let number = 0; number < data.steps.length; number++) {
      if (wanted && !data.steps[number].toLowerCase().includes(wanted)) continue;
      const fan = isFolded ? this.fanOf.get(number) : undefined;
      if (!fan) rows.push(this.#single(number));
      else if (folded.has(fan)) folded.get(fan).steps.push(number);
      else {
        const head = { steps: [number], fan, isOpened: opened.has(data.steps[fan[0]]) };
        folded.set(fan, head);
        rows.push(head);
      }
    }
    for (const head of folded.values()) this.#measure(head);
    // A search may have left one step of many.
    rows.forEach((row, at) => {
      if (row.fan && row.steps.length === 1) rows[at] = this.#single(row.steps[0]);
    });
    if (order === "longest") rows.sort((a, b) => b.busy - a.busy);
    return rows.flatMap((row) => (row.isOpened ? [row, ...row.steps.map((number) => ({ ...this.#single(number), isMember: true }))] : [row]));
  }

  #single(number) {
    const { bars, states } = this.data;
    return { steps: [number], state: states[number], busy: this.busy[number], bars: bars[number] };
  }

  // A folded row shows when any of its steps waited or ran. It has the time of the longest and the worst state.
  #measure(row) {
    const spans = new Map();
    row.busy = 0;
    const states = new Set(row.steps.map((number) => this.data.states[number]));
    row.state = WORST_FIRST.find((name) => states.has(name));
    row.name = `${row.steps.length.toLocaleString("en")} × ${commonName(row.steps.map((number) => this.data.steps[number]))}`;
    for (const number of row.steps) {
      const bars = this.data.bars[number];
      row.busy = Math.max(row.busy, this.busy[number]);
      for (let at = 0; at < bars.length; at += 3) {
        const span = spans.get(bars[at]);
        if (!span) spans.set(bars[at], [bars[at + 1], bars[at + 2]]);
        else [span[0], span[1]] = [Math.min(span[0], bars[at + 1]), Math.max(span[1], bars[at + 2])];
      }
    }
    // Waits come first; what ran is drawn on top of them.
    row.bars = [...spans].sort(([a], [b]) => a - b).flatMap(([part, [start, end]]) => [part, start, end]);
  }

  // The milliseconds of each part of a row's steps together.
  sums(row) {
    const sums = {};
    for (const number of row.steps) {
      const bars = this.data.bars[number];
      for (let at = 0; at < bars.length; at += 3) {
        const { name } = this.data.parts[bars[at]];
        sums[name] = (sums[name] ?? 0) + bars[at + 2] - bars[at + 1];
      }
    }
    return sums;
  }
}
