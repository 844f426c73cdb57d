// A graph in an element: a picture on a canvas, a search, a list of the same nodes, and the details of the chosen one.

import { clean, counted } from "../format.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { Camera } from "./camera.js";
import { loadD3 } from "./d3.js";
import { details } from "./details.js";
import { NodeList } from "./node_list.js";
import { addLine, paint } from "./painter.js";
import { Plot } from "./plot.js";
import { Surface } from "./surface.js";
import { legend, readTheme } from "./theme.js";

const FOLDS = { similar: "Similar steps", fans: "Steps with the same lines", none: "Nothing" };
const UNDER_WAY = new Set(["RUNNING", "DISPATCHING", "RETRYING"]);
const isDark = matchMedia("(prefers-color-scheme: dark)");

// Draw the server's answer, `data`, into `element`. All options may be left out:
// `steps` rows with ids and states; `label` of the picture; `hrefOf(id)`, `remarkOf(id)` and `stateOf(id)` of a step;
// `openStep(id)` is called on Enter or a double click; `changeFold({ fold, opened })` when other data is wanted, which
// `setData` then brings; `chosen` is the id of the step to begin with, and `onChoose(id)` is called with others.
export async function drawGraph(element, data, options = {}) {
  return new Graph(element, data, options, await loadD3());
}

class Graph {
  #resizing;
  #ratio = null;
  #onScheme = () => this.#readColors();
  #onRatio = () => this.#changeRatio();

  constructor(element, data, options, d3) {
    Object.assign(this, { element, options, d3, chosen: null, near: null, hits: new Set(), found: [], query: "", said: "", shownOf: "" });
    element.classList.add("graph");
    // For tests and measurements.
    element.graph = this;
    this.canvas = document.createElement("canvas");
    this.holder = document.createElement("div");
    this.holder.className = "graph-picture";
    this.holder.append(this.canvas);
    this.list = new NodeList({ select: (node) => this.choose(node, { marks: false }), open: (node) => this.#open(node) });
    this.plot = new Plot(data, d3);
    this.plot.setSteps(options.steps ?? []);
    this.#listen();
    this.surface = new Surface(
      this.canvas,
      ({ context, ...rest }) => paint(context, { ...rest, plot: this.plot, theme: this.theme, hits: this.hits }),
      (context, view) => this.#drawChosen(context, view),
    );
    this.draw();
    this.camera = new Camera(d3, this.surface, this.plot);
    this.#resizing = new ResizeObserver(() => this.#resize());
    this.#resizing.observe(this.holder);
    isDark.addEventListener("change", this.#onScheme);
    this.#watchRatio();
    this.list.show(this.plot, [...this.plot.ids.keys()]);
    const first = this.plot.nodeOf.get(options.chosen);
    if (first !== undefined) this.choose(first);
  }

  #listen() {
    const { canvas } = this;
    const at = (event) => this.plot.nodeAt((event.offsetX - this.surface.view.x) / this.surface.view.k, (event.offsetY - this.surface.view.y) / this.surface.view.k);
    // The box stays under the pointer, so that a second click opens it.
    canvas.addEventListener("click", (event) => this.choose(at(event), { moves: false }));
    canvas.addEventListener("dblclick", (event) => at(event) !== null && this.#open(at(event)));
    canvas.addEventListener("pointermove", (event) => {
      const node = event.buttons ? null : at(event);
      canvas.title = node === null ? "" : this.plot.name(node);
    });
    canvas.addEventListener("keydown", (event) => this.#press(event));
  }

  #resize() {
    const { clientWidth, clientHeight } = this.holder;
    if (!clientWidth || !clientHeight || (clientWidth === this.surface.width && clientHeight === this.surface.height)) return;
    if (!this.theme) this.#readColors();
    this.surface.resize(clientWidth, clientHeight);
    this.camera.resized();
    if (this.chosen !== null && !this.element.dataset.ready) this.camera.toNode(this.chosen, { isAtOnce: true });
    this.surface.paintAtOnce();
    this.list.mark(this.chosen);
    this.element.dataset.ready = "true";
  }

  // A window may be moved to a screen with smaller pixels.
  #watchRatio() {
    this.#ratio = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    this.#ratio.addEventListener("change", this.#onRatio, { once: true });
  }

  #changeRatio() {
    if (this.surface.width) this.surface.resize(this.surface.width, this.surface.height);
    this.#watchRatio();
  }

  #readColors() {
    this.theme = readTheme(this.holder);
    this.surface.page = this.theme.page;
    this.surface.repaint();
  }

  // Set the states of steps. Places stay the same. Repaints at most once per frame.
  setSteps(steps) {
    if (!this.plot.setSteps(steps)) return;
    this.surface.repaint();
    this.list.draw();
    this.draw();
  }

  // Replace the layout. What the reader is looking at stays where it is, if it is still drawn.
  setData(data, steps) {
    const { view, width, height } = this.surface;
    const anchor = this.chosen ?? this.#nodeNear((width / 2 - view.x) / view.k, (height / 2 - view.y) / view.k);
    const id = anchor === null ? null : this.plot.ids[anchor];
    const [x, y] = anchor === null ? [0, 0] : [this.plot.middle(anchor) * view.k + view.x, this.plot.y[anchor] * view.k + view.y];
    const chosen = this.chosen === null ? undefined : this.plot.ids[this.chosen];
    this.plot = new Plot(data, this.d3);
    this.plot.setSteps(steps);
    this.camera.setPlot(this.plot);
    const other = this.plot.nodeOf.get(id);
    if (!this.camera.hasMoved || other === undefined) this.camera.fit({ isAtOnce: true });
    else this.camera.keep(this.plot.middle(other), this.plot.y[other], x, y);
    this.chosen = null;
    this.search(this.query, { moves: false });
    this.choose(this.plot.nodeOf.get(chosen) ?? null, { moves: false, reports: false });
    this.surface.repaint();
  }

  #nodeNear(x, y) {
    return this.d3.quadtree([...this.plot.ids.keys()], (i) => this.plot.middle(i), (i) => this.plot.y[i]).find(x, y) ?? null;
  }

  // Choose a node, or none. By default, also mark it in the list, move the camera to it and report it.
  choose(node, { marks = true, moves = true, reports = true } = {}) {
    this.chosen = node;
    this.near = node === null ? null : this.plot.around(node);
    if (marks) this.list.mark(node);
    if (node !== null && moves && this.surface.width) this.camera.toNode(node);
    if (reports) this.options.onChoose?.(node === null ? null : this.plot.ids[node]);
    this.surface.ask();
    this.draw();
  }

  // Find nodes by part of a name as it is typed; the list shows what was found.
  search(text, { moves = true } = {}) {
    this.query = text;
    const wanted = text.trim().toLowerCase();
    const has = (node) => (this.plot.members.get(node) ?? [this.plot.ids[node]]).some((id) => id.toLowerCase().includes(wanted));
    this.found = wanted ? [...this.plot.ids.keys()].filter(has) : [];
    this.hits = new Set(this.found);
    this.list.show(this.plot, wanted ? this.found : [...this.plot.ids.keys()]);
    this.said = !wanted ? "" : this.found.length ? `${this.found.length.toLocaleString("en")} found` : "Nothing found";
    if (this.found.length && moves) this.camera.toNode(this.found[0]);
    this.surface.repaint();
    this.draw();
  }

  // Go to the next of some nodes, after the one that is chosen.
  #next(nodes, words, direction = 1) {
    if (!nodes.length) return;
    const at = nodes.indexOf(this.chosen);
    const next = at < 0 ? (direction > 0 ? 0 : nodes.length - 1) : (at + direction + nodes.length) % nodes.length;
    this.said = `${(next + 1).toLocaleString("en")} of ${nodes.length.toLocaleString("en")} ${words}`;
    this.camera.toNode(nodes[next], { always: true });
    this.choose(nodes[next]);
  }

  // Find the nodes with steps in some states, and count those steps.
  #inState(isWanted) {
    const counts = [...this.plot.ids.keys()].map((node) => [node, this.plot.countIn(node, isWanted)]).filter(([, count]) => count);
    return { nodes: counts.map(([node]) => node), steps: counts.reduce((sum, [, count]) => sum + count, 0) };
  }

  // Show everything in some state together if it can be read that way, or else one after another.
  #goTo({ nodes, steps }, what) {
    const isShown = this.shownOf === what && nodes.includes(this.chosen);
    if (isShown || nodes.length < 2 || !this.camera.toAll(nodes)) return this.#next(nodes, `with ${what} steps`);
    this.said = `All ${counted(steps, `${what} step`)} are in view`;
    this.shownOf = what;
    this.choose(nodes.at(-1), { moves: false, reports: false });
  }

  #press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" && this.chosen !== null) this.#open(this.chosen);
    else if (event.key === "Escape" && this.chosen !== null) this.choose(null);
    else if (event.key === "n" || event.key === "p") this.#next(this.found, "found", event.key === "n" ? 1 : -1);
    else if (!this.camera.press(event.key)) return;
    event.preventDefault();
  }

  #open(node) {
    if (this.plot.isFolded(node)) this.#unfold(node);
    else this.options.openStep?.(this.plot.ids[node]);
  }

  #unfold(node) {
    const { fold, opened } = this.plot.data;
    this.options.changeFold?.({ fold, opened: [...opened, this.plot.ids[node]] });
  }

  #drawChosen(context, { k, x, y }) {
    if (this.chosen === null) return;
    const { plot } = this;
    context.strokeStyle = this.theme.chosen;
    context.lineWidth = 2;
    context.setLineDash([]);
    context.beginPath();
    for (const line of this.near.lines) addLine(context, plot, { k, x, y }, line, k < 0.3);
    context.stroke();
    context.lineWidth = 3;
    const [w, h] = [Math.max(8, plot.boxWidth * k + 6), Math.max(8, plot.boxHeight * k + 6)];
    context.strokeRect(plot.middle(this.chosen) * k + x - w / 2, plot.y[this.chosen] * k + y - h / 2, w, h);
  }

  draw() {
    const { options, plot, canvas } = this;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "picture of a graph");
    canvas.setAttribute("aria-label", `${clean(options.label ?? "Graph")}: ${counted(plot.count, "node")}. Arrow keys move it, plus and minus zoom, 0 shows all of it. The list beside it has the same steps.`);
    const chosen = this.chosen === null ? html`<p class="graph-details quiet">Choose a step in the picture or in the list.</p>` : details({
      plot, node: this.chosen, options, choose: (node) => this.choose(node), unfold: (node) => this.#unfold(node),
    });
    render(html`${this.#bar()}
      <div class="graph-parts">${this.holder}<div class="graph-side">${this.list.element}${chosen}</div></div>${legend()}`, this.element);
  }

  #bar() {
    const { plot, options } = this;
    const [running, failed] = [this.#inState((state) => UNDER_WAY.has(state)), this.#inState((state) => state === "FAILED")];
    const jump = (found, verb, what) => found.steps ? html`<button type="button" @click=${() => this.#goTo(found, what)}>${verb} <span class="quiet">${found.steps.toLocaleString("en")}</span></button>` : nothing;
    const go = (event) => {
      event.preventDefault();
      this.#next(this.found, "found");
    };
    return html`<form class="graph-bar filters" role="search" aria-label="Find steps in the graph" @submit=${go}>
      <label class="field">Find a step<input type="search" name="find" maxlength="300" autocomplete="off" spellcheck="false" @input=${(event) => this.search(event.target.value)}></label>
      <button aria-disabled=${this.found.length ? "false" : "true"}>Next match</button>
      ${jump(running, "Go to running steps", "running")}${jump(failed, "Go to failed steps", "failed")}
      <span class="graph-zoom" role="group" aria-label="Zoom"><button type="button" aria-label="Zoom in" @click=${() => this.camera.zoomBy(1.4)}>+</button>
      <button type="button" aria-label="Zoom out" @click=${() => this.camera.zoomBy(1 / 1.4)}>−</button>
      <button type="button" @click=${() => this.camera.fit()}>Show all</button></span>
      ${options.changeFold ? html`<label class="field">Fold<select .value=${live(plot.data.fold)} @change=${(event) => options.changeFold({ fold: event.target.value, opened: [] })}>${Object.entries(FOLDS).map(([name, words]) => html`<option value=${name} ?selected=${name === plot.data.fold}>${words}</option>`)}</select></label>
        ${plot.data.opened.length ? html`<button type="button" @click=${() => options.changeFold({ fold: plot.data.fold, opened: [] })}>Fold again</button>` : nothing}` : nothing}
      <span class="quiet" role="status">${this.said}</span>
    </form>`;
  }

  close() {
    this.#resizing.disconnect();
    isDark.removeEventListener("change", this.#onScheme);
    this.#ratio.removeEventListener("change", this.#onRatio);
    this.camera.close();
    this.surface.close();
  }
}
