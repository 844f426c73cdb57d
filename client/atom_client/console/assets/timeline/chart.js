// Rows with bars; only the visible ones exist.

import { clean, duration, foreign, SIGNS } from "../format.js";
import { ENDED_STEP_STATES } from "../states.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";

const ROW_HEIGHT = 30;
const ROWS_BEYOND = 8;
const TICKS = 5;

// The end has no label, since it would be outside the chart.
const tick = (at, took) => ({ 0: "0", 1: "" })[at] ?? duration((at * took) / 1000);

export class Chart {
  #isAsked = false;

  // `hrefOf(id)` links a step, and `toggle(row)` opens or folds a row.
  constructor({ hrefOf, toggle }) {
    // `grown` is how many milliseconds have passed since the times were read, if they still run.
    Object.assign(this, { hrefOf, toggle, rows: [], all: null, zoom: 1, grown: 0 });
    this.element = document.createElement("div");
    this.element.className = "timeline-chart";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "region");
    this.element.setAttribute("aria-label", "Chart of the timeline; the table has the same numbers");
    this.element.addEventListener("scroll", () => this.draw());
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.element);
  }

  show(all, rows, zoom) {
    if (all !== this.all) this.grown = 0;
    Object.assign(this, { all, rows, zoom });
    this.draw();
  }

  // Extend what has not ended to this many milliseconds after the times were read.
  grow(milliseconds) {
    this.grown = Math.max(0, milliseconds);
    this.draw();
  }

  get took() {
    return this.all.data.took_ms + this.grown;
  }

  draw() {
    if (this.#isAsked || !this.all) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      this.#drawRows();
    });
  }

  #drawRows() {
    const { element, rows, zoom } = this;
    const { took } = this;
    const first = Math.max(0, Math.floor(element.scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
    const shown = rows.slice(first, Math.ceil((element.scrollTop + element.clientHeight) / ROW_HEIGHT) + ROWS_BEYOND);
    const many = TICKS * zoom;
    const ticks = Array.from({ length: many + 1 }, (_, number) => number / many);
    render(html`<div class="timeline-inside" .style=${`width:${100 * zoom}%`}>
      <div class="timeline-axis" aria-hidden="true"><span class="timeline-name"></span><span class="timeline-track">${ticks.map((at) => html`<span class="tick" .style=${`left:${at * 100}%`}>${tick(at, took)}</span>`)}</span></div>
      <ol class="timeline-rows" .style=${`height:${rows.length * ROW_HEIGHT}px`}>${shown.map((row, number) => this.#row(row, first + number))}</ol>
    </div>`, element);
    element.dataset.ready = "true";
  }

  #row(row, number) {
    const { data, onPath } = this.all;
    const id = data.steps[row.steps[0]];
    const isOnPath = row.steps.some((one) => onPath.has(data.steps[one]));
    const sign = html`<span class="timeline-sign" data-state=${row.state} role="img" aria-label=${row.state}>${SIGNS[row.state] ?? "?"}</span> `;
    const name = row.fan
      ? html`${sign}<button type="button" class="fold" aria-expanded=${row.isOpened ? "true" : "false"} @click=${() => this.toggle(row)}><span aria-hidden="true">${row.isOpened ? "▾" : "▸"}</span> ${foreign(row.name)}</button>`
      : html`${sign}<a href=${this.hrefOf(id)} title=${clean(id)}>${foreign(id)}</a>`;
    return html`<li class=${`${isOnPath ? "on-path" : ""} ${row.isMember ? "member" : ""}`} aria-posinset=${number + 1} aria-setsize=${this.rows.length} .style=${`top:${number * ROW_HEIGHT}px`}>
      <span class="timeline-name">${isOnPath ? html`<span class="path-sign" role="img" aria-label="on the critical path" title="on the critical path">◆</span>` : nothing}${name}</span>
      <span class="timeline-track"><span class="unseen">${duration(row.busy / 1000)}</span>${this.#bars(row)}</span></li>`;
  }

  #bars({ steps, bars }) {
    const { took } = this;
    const { parts, states, took_ms: read } = this.all.data;
    const isOpen = this.grown > 0 && steps.some((one) => !ENDED_STEP_STATES.has(states[one]));
    const drawn = [];
    for (let at = 0; at < bars.length; at += 3) {
      const { name, words } = parts[bars[at]];
      // A bar that reached the time of reading still grows.
      const [start, end] = [bars[at + 1], isOpen && bars[at + 2] === read ? took : bars[at + 2]];
      drawn.push(html`<span class="bar" data-part=${name} title="${duration((end - start) / 1000)} ${words}" .style=${`left:${(start / took) * 100}%;width:max(2px, ${((end - start) / took) * 100}%)`}></span>`);
    }
    return drawn;
  }

  close() {
    this.sizes.disconnect();
  }
}
