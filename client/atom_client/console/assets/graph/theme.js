// The colors of a graph. The stylesheet defines them for light and dark; they are read from the legend.

import { SIGNS } from "../format.js";
import { STEP_STATES as STATES } from "../states.js";
import { html } from "../vendor/lit-html/lit-html.js";

// What a state looks like where boxes are too small for a sign.
const FAR = {
  PENDING: "frame", DISPATCHING: "open triangle", RUNNING: "triangle", RETRYING: "open diamond",
  SUCCEEDED: "bar", FAILED: "diamond", SKIPPED: "line", CANCELLED: "block",
};

export function legend() {
  return html`<details class="graph-legend"><summary>Legend</summary><ul>
    ${STATES.map((name) => html`<li><span class="swatch" data-state=${name} aria-hidden="true">${SIGNS[name]}</span> ${name} <span class="quiet">(far away: ${FAR[name]})</span></li>`)}
    <li><span class="swatch two" data-state="" aria-hidden="true"></span> several steps folded into one box, or a step with forEach</li>
    <li><span class="swatch round" data-state="" aria-hidden="true"></span> a step without a task, which joins others</li>
    <li><span class="dash" aria-hidden="true"></span> leads to a step with a condition or a trigger</li>
  </ul></details>`;
}

// Read the colors from an element that the stylesheet has styled.
export function readTheme(element) {
  const probe = document.createElement("span");
  element.append(probe);
  const read = (className, state = "") => {
    probe.className = className;
    probe.dataset.state = state;
    const { backgroundColor, borderTopColor, color } = getComputedStyle(probe);
    return { fill: backgroundColor, border: borderTopColor, text: color };
  };
  const page = read("graph-colors");
  const theme = {
    states: STATES.map((name) => read("swatch", name)),
    plain: read("swatch"),
    page: page.fill,
    line: page.border,
    text: page.text,
    hit: read("graph-hit").border,
    chosen: read("graph-chosen").border,
  };
  probe.remove();
  return theme;
}
