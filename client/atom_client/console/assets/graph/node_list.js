// The nodes of a graph as a list box, which holds only the visible rows. It makes the graph accessible to the keyboard
// and to screen readers.

import { foreign } from "../format.js";
import { html, render } from "../vendor/lit-html/lit-html.js";
import { stateText } from "./painter.js";

const ROW_HEIGHT = 46;
const ROWS_BEYOND = 6;

export class NodeList {
  #isAsked = false;

  // `select(node)` is called when a row is chosen, and `open(node)` when it is to be opened.
  constructor({ select, open }) {
    Object.assign(this, { select, open, plot: null, nodes: [], at: -1 });
    this.element = document.createElement("div");
    this.element.className = "graph-list";
    this.element.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.#press(event));
    this.element.addEventListener("click", (event) => this.#click(event));
    this.element.addEventListener("dblclick", () => this.at >= 0 && this.open(this.nodes[this.at]));
    this.element.addEventListener("focus", () => this.#focused());
  }

  show(plot, nodes) {
    const chosen = plot === this.plot ? this.nodes[this.at] : undefined;
    Object.assign(this, { plot, nodes, at: nodes.indexOf(chosen) });
    this.draw();
  }

  // Mark the row of a node without calling `select`.
  mark(node) {
    this.at = this.nodes.indexOf(node);
    if (this.at >= 0) this.#reveal();
    this.draw();
  }

  // The keyboard begins with the first row; a pointer chooses a row itself.
  #focused() {
    if (this.at < 0 && this.nodes.length && this.element.matches(":focus-visible")) this.#choose(0);
  }

  #choose(at, { reveals = true } = {}) {
    this.at = Math.max(0, Math.min(at, this.nodes.length - 1));
    if (reveals) this.#reveal();
    this.draw();
    this.select(this.nodes[this.at]);
  }

  #reveal() {
    const { scrollTop, clientHeight } = this.element;
    const top = this.at * ROW_HEIGHT;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.element.scrollTop = top + ROW_HEIGHT - clientHeight;
  }

  #press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.nodes.length) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 1);
    const last = this.nodes.length - 1;
    const next = { ArrowDown: this.at + 1, ArrowUp: this.at - 1, Home: 0, End: last, PageDown: this.at + page, PageUp: this.at - page }[event.key];
    if (next !== undefined) this.#choose(next);
    else if (event.key === "Enter" && this.at >= 0) this.open(this.nodes[this.at]);
    else return;
    event.preventDefault();
  }

  #click(event) {
    const row = event.target.closest("[role=option]");
    // The row stays under the pointer, so that a second click opens it.
    if (row) this.#choose(Number(row.dataset.row), { reveals: false });
  }

  draw() {
    if (this.#isAsked) return;
    this.#isAsked = true;
    requestAnimationFrame(() => {
      this.#isAsked = false;
      this.#drawRows();
    });
  }

  #drawRows() {
    const { element, nodes, at } = this;
    const first = Math.max(0, Math.floor(element.scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
    const last = Math.min(nodes.length, Math.ceil((element.scrollTop + element.clientHeight) / ROW_HEIGHT) + ROWS_BEYOND);
    const shown = Array.from({ length: Math.max(0, last - first) }, (_, number) => first + number);
    // The chosen row must exist so that a screen reader can find it.
    if (at >= 0 && (at < first || at >= last)) shown.push(at);
    // ARIA requires options in a list box.
    element.setAttribute("role", nodes.length ? "listbox" : "group");
    element.setAttribute("aria-label", "Steps of the graph");
    element.tabIndex = 0;
    if (at >= 0) element.setAttribute("aria-activedescendant", `graph-row-${at}`);
    else element.removeAttribute("aria-activedescendant");
    render(html`<div role="presentation" class="graph-rows" .style=${`height:${nodes.length * ROW_HEIGHT}px`}>${shown.map((row) => this.#row(row))}</div>`, element);
  }

  #row(row) {
    const node = this.nodes[row];
    const state = this.plot.state(node);
    return html`<div role="option" id="graph-row-${row}" data-row=${row} data-state=${state ?? ""} aria-selected=${row === this.at ? "true" : "false"}
      aria-posinset=${row + 1} aria-setsize=${this.nodes.length} .style=${`top:${row * ROW_HEIGHT}px`}
      ><span class="graph-name">${foreign(this.plot.name(node))}</span><span class="graph-said">${foreign(stateText(this.plot, node, { isLong: true }) || this.plot.note(node))}</span></div>`;
  }
}
