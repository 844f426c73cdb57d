// Paint the part of a graph that a window shows. Generators allow a large picture to be painted in slices.

import { clean, SIGNS } from "../format.js";
import { STEP_STATES as STATES } from "../states.js";

// From these scales on, boxes show signs, names beside them, and two lines of text.
const SIGN_SCALE = 0.22;
const NAME_SCALE = 0.36;
const TEXT_SCALE = 0.6;
const MOST_LETTERS = 23;
const FONT = 'ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const NONE = -1;

// `view` moves and scales: a point is drawn at `x * view.k + view.x`. `hits` are the nodes that a search found.
export function* paint(context, { plot, theme, view, width, height, ratio, hits }) {
  const [left, top] = [-view.x / view.k, -view.y / view.k];
  const [right, bottom] = [(width - view.x) / view.k, (height - view.y) / view.k];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.setLineDash([]);
  context.fillStyle = theme.page;
  context.fillRect(0, 0, width, height);
  paintFrame(context, plot, theme, view);
  const lines = [];
  plot.visitLines(left, top, right, bottom, (line) => lines.push(line));
  yield* paintLines(context, { plot, view, lines, theme });
  const nodes = new Map();
  plot.visitNodes(left, top, right, bottom, (node) => {
    const state = plot.states[node];
    if (nodes.has(state)) nodes.get(state).push(node);
    else nodes.set(state, [node]);
  });
  for (const [state, found] of nodes) {
    yield* view.k < SIGN_SCALE ? paintFar(context, { plot, theme, view, state, nodes: found }) : paintBoxes(context, { plot, theme, view, state, nodes: found });
  }
  if (hits?.size) yield* paintHits(context, { plot, theme, view, hits, nodes });
}

function paintFrame(context, plot, theme, view) {
  const { frame } = plot.data;
  if (frame === null) return;
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  context.setLineDash([2, 4]);
  context.strokeRect(frame * view.k + view.x, -24 * view.k + view.y, (plot.width - frame + 30) * view.k, (plot.height + 48) * view.k);
  context.setLineDash([]);
  context.fillStyle = theme.text;
  context.textAlign = "left";
  context.textBaseline = "bottom";
  context.font = `${Math.max(11, 13 * view.k)}px ${FONT}`;
  context.fillText("finally", frame * view.k + view.x, -28 * view.k + view.y);
}

function* paintLines(context, { plot, view, lines, theme }) {
  const isFar = view.k < 0.3;
  // From far away, many lines would hide everything else.
  context.globalAlpha = isFar ? Math.max(0.12, Math.min(0.6, 4000 / lines.length)) : 1;
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  const dashed = isFar ? [] : lines.filter((line) => plot.conditional.has(plot.ends[2 * line + 1]));
  const plain = dashed.length ? lines.filter((line) => !plot.conditional.has(plot.ends[2 * line + 1])) : lines;
  for (const [some, dash] of [[plain, []], [dashed, [5, 4]]]) {
    context.setLineDash(dash);
    // A path of thousands of lines is painted more slowly than several paths of hundreds.
    for (let from = 0; from < some.length; from += 500) {
      context.beginPath();
      for (const line of some.slice(from, from + 500)) addLine(context, plot, view, line, isFar);
      context.stroke();
      yield;
    }
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}

// Add a line to the path. If it ends in a bend, it continues to the other side of the layer.
export function addLine(context, plot, { k, x, y }, line, isStraight) {
  const [a, b] = [plot.ends[2 * line], plot.ends[2 * line + 1]];
  const [fromX, fromY, toX, toY] = [plot.right[a] * k + x, plot.y[a] * k + y, plot.left[b] * k + x, plot.y[b] * k + y];
  context.moveTo(fromX, fromY);
  if (isStraight) context.lineTo(toX, toY);
  else {
    const half = (toX - fromX) / 2;
    context.bezierCurveTo(fromX + half, fromY, toX - half, toY, toX, toY);
  }
  if (b >= plot.count) context.lineTo(plot.right[b] * k + x, toY);
}

// From far away, a box is only a few pixels in size. Its shape still shows its state, as the legend explains.
function* paintFar(context, { plot, theme, view, state, nodes }) {
  const { k } = view;
  const colors = theme.states[state] ?? theme.plain;
  const [w, h] = [Math.max(3, plot.boxWidth * k), Math.max(2, plot.boxHeight * k)];
  const shape = FAR[STATES[state]] ?? FAR.SUCCEEDED;
  context.fillStyle = colors.border;
  context.strokeStyle = colors.border;
  context.lineWidth = 1;
  for (let from = 0; from < nodes.length; from += 1000) {
    context.beginPath();
    for (const node of nodes.slice(from, from + 1000)) shape.add(context, plot.middle(node) * k + view.x, plot.y[node] * k + view.y, w, h);
    if (shape.isHollow) context.stroke();
    else context.fill();
    yield;
  }
}

const box = (context, x, y, w, h) => context.rect(x - w / 2, y - h / 2, w, h);
const triangle = (context, x, y, w, h) => {
  const [a, b] = [Math.max(3, w / 2), Math.max(4, h * 0.8)];
  context.moveTo(x - a, y - b);
  context.lineTo(x + a, y);
  context.lineTo(x - a, y + b);
  context.closePath();
};
const diamond = (context, x, y, w, h) => {
  const [a, b] = [Math.max(5, w * 0.6), Math.max(5, h)];
  context.moveTo(x - a, y);
  context.lineTo(x, y - b);
  context.lineTo(x + a, y);
  context.lineTo(x, y + b);
  context.closePath();
};
const FAR = {
  PENDING: { add: box, isHollow: true },
  SUCCEEDED: { add: box },
  FAILED: { add: diamond },
  RUNNING: { add: triangle },
  DISPATCHING: { add: triangle, isHollow: true },
  RETRYING: { add: diamond, isHollow: true },
  SKIPPED: { add: (context, x, y, w) => box(context, x, y, w, 1.5) },
  CANCELLED: { add: (context, x, y, w, h) => box(context, x, y, Math.min(w, h * 1.5), h * 0.8) },
};

function* paintBoxes(context, { plot, theme, view, state, nodes }) {
  const { k } = view;
  const colors = theme.states[state] ?? theme.plain;
  const name = STATES[state];
  const [w, h] = [plot.boxWidth * k, plot.boxHeight * k];
  context.fillStyle = colors.fill;
  context.strokeStyle = colors.border;
  context.lineWidth = name === "FAILED" ? Math.max(1.5, 2.5 * k) : Math.max(0.8, 1.3 * k);
  context.setLineDash(name === "SKIPPED" || name === "CANCELLED" ? [6 * k, 3 * k] : []);
  for (let from = 0; from < nodes.length; from += 500) {
    const some = nodes.slice(from, from + 500);
    // A second box behind the first stands for many.
    for (const [shift, chosen] of [[4 * k, some.filter((node) => plot.isFolded(node) || plot.shape(node) === "loop")], [0, some]]) {
      context.beginPath();
      for (const node of chosen) {
        const radius = plot.shape(node) === "barrier" ? h / 2 : 4 * k;
        context.roundRect(plot.left[node] * k + view.x + shift, plot.y[node] * k + view.y - h / 2 + shift, w, h, radius);
      }
      context.fill();
      context.stroke();
    }
    yield;
  }
  context.setLineDash([]);
  yield* k < TEXT_SCALE ? paintSigns(context, { plot, view, state, nodes, colors }) : paintTexts(context, { plot, view, nodes, colors });
}

// One line that is readable even in a small box: its sign, and as much of its name as fits.
function* paintSigns(context, { plot, view, state, nodes, colors }) {
  const { k } = view;
  const hasNames = k >= NAME_SCALE;
  const sign = state === NONE ? "" : SIGNS[STATES[state]];
  if (!sign && !hasNames) return;
  const letters = Math.floor((plot.boxWidth * k - 8) / 6.1) - (sign ? 2 : 0);
  context.fillStyle = hasNames ? colors.text : colors.border;
  context.font = `${hasNames ? 10 : Math.round(26 * k)}px ${FONT}`;
  context.textAlign = hasNames ? "left" : "center";
  context.textBaseline = "middle";
  for (let at = 0; at < nodes.length; at++) {
    const node = nodes[at];
    const text = hasNames ? `${sign} ${cut(plot.name(node), letters)}`.trimStart() : sign;
    context.fillText(text, (hasNames ? plot.left[node] * k + 4 : plot.middle(node) * k) + view.x, plot.y[node] * k + view.y);
    if (at % 300 === 299) yield;
  }
}

function* paintTexts(context, { plot, view, nodes, colors }) {
  const { k } = view;
  context.fillStyle = colors.text;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = `${12 * k}px ${FONT}`;
  for (let at = 0; at < nodes.length; at++) {
    const node = nodes[at];
    const [x, y] = [(plot.left[node] + 9) * k + view.x, plot.y[node] * k + view.y];
    const second = cut(stateText(plot, node) || plot.note(node), MOST_LETTERS + 1);
    context.fillText(cut(plot.name(node), MOST_LETTERS), x, second ? y - 8 * k : y);
    if (second) context.fillText(second, x, y + 8 * k);
    if (at % 200 === 199) yield;
  }
}

function* paintHits(context, { plot, theme, view, hits, nodes }) {
  const { k } = view;
  const [w, h] = [Math.max(6, plot.boxWidth * k + 8), Math.max(6, plot.boxHeight * k + 8)];
  context.strokeStyle = theme.hit;
  context.lineWidth = 2.5;
  context.beginPath();
  for (const node of [...nodes.values()].flat()) if (hits.has(node)) box(context, plot.middle(node) * k + view.x, plot.y[node] * k + view.y, w, h);
  context.stroke();
  yield;
}

// The state of a node with its sign, or the counts of what it stands for.
export function stateText(plot, node, { isLong = false } = {}) {
  const counts = plot.counts.get(node);
  if (!counts) {
    const state = plot.state(node);
    const items = plot.texts.get(node);
    return state ? `${SIGNS[state]} ${state}${items ? `: ${clean(items)}` : ""}` : "";
  }
  const shown = STATES.map((name, code) => [name, counts[code]]).filter(([, count]) => count);
  return shown.map(([name, count]) => `${SIGNS[name]} ${count.toLocaleString("en")}${isLong || shown.length === 1 ? ` ${name}` : ""}`).join(isLong ? ", " : " ");
}

function cut(text, most) {
  const letters = [...text];
  if (letters.length <= most) return text;
  const half = (most - 1) / 2;
  return `${letters.slice(0, Math.ceil(half)).join("")}…${letters.slice(-Math.floor(half)).join("")}`;
}
