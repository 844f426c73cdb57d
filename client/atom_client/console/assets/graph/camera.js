// The part of the graph that a window shows, moved and scaled by wheel, pinch, drag and keys.

const CLOSEST = 3;
const STEP_PX = 80;
const prefersStill = matchMedia("(prefers-reduced-motion: reduce)");

export class Camera {
  #zoom;
  #selection;

  constructor(d3, surface, plot) {
    this.d3 = d3;
    this.surface = surface;
    this.plot = plot;
    this.hasMoved = false;
    this.#zoom = d3.zoom().on("zoom", ({ transform, sourceEvent }) => {
      this.hasMoved ||= Boolean(sourceEvent);
      surface.setView({ k: transform.k, x: transform.x, y: transform.y });
    });
    this.#selection = d3.select(surface.canvas).call(this.#zoom).on("dblclick.zoom", null);
    this.setPlot(plot);
  }

  setPlot(plot) {
    this.plot = plot;
    this.#zoom.scaleExtent([Math.min(0.5, this.#scaleOfAll() * 0.8), CLOSEST]);
  }

  #scaleOfAll() {
    const { surface, plot } = this;
    return Math.min(1, (surface.width - 32) / (plot.width + 60), (surface.height - 32) / (plot.height + 60)) || 1;
  }

  // Adjust the limits to the window, and show everything if the reader has not moved yet.
  resized() {
    this.setPlot(this.plot);
    if (!this.hasMoved) this.fit({ isAtOnce: true });
  }

  fit(options) {
    const { plot } = this;
    this.#glide(this.#scaleOfAll(), plot.width / 2, plot.height / 2, options);
  }

  // Show a node so that it can be read; the scale stays if it already can be.
  toNode(node, { isAtOnce = false, always = false } = {}) {
    const { k, x, y } = this.surface.view;
    const [atX, atY] = [this.plot.middle(node), this.plot.y[node]];
    const [screenX, screenY] = [atX * k + x, atY * k + y];
    const isShown = screenX > 60 && screenX < this.surface.width - 60 && screenY > 30 && screenY < this.surface.height - 30;
    if (isShown && k >= 0.6 && !always) return;
    this.hasMoved = true;
    this.#glide(Math.max(k, 0.9), atX, atY, { isAtOnce });
  }

  // Show several nodes, if they can all be read at the same time. Returns false if they cannot.
  toAll(nodes) {
    const { plot, surface } = this;
    const bounds = { left: Infinity, right: -Infinity, top: Infinity, bottom: -Infinity };
    for (const node of nodes) {
      bounds.left = Math.min(bounds.left, plot.left[node]);
      bounds.right = Math.max(bounds.right, plot.right[node]);
      bounds.top = Math.min(bounds.top, plot.y[node] - plot.boxHeight / 2);
      bounds.bottom = Math.max(bounds.bottom, plot.y[node] + plot.boxHeight / 2);
    }
    const k = Math.min(1, surface.width / (bounds.right - bounds.left + 80), surface.height / (bounds.bottom - bounds.top + 80));
    if (k < 0.4) return false;
    this.hasMoved = true;
    this.#glide(k, (bounds.left + bounds.right) / 2, (bounds.top + bounds.bottom) / 2);
    return true;
  }

  // Keep a place of the graph where it is in the window when the places around it have changed.
  keep(x, y, screenX, screenY) {
    const { k } = this.surface.view;
    this.#selection.call(this.#zoom.transform, this.d3.zoomIdentity.translate(screenX - x * k, screenY - y * k).scale(k));
  }

  #glide(k, x, y, { isAtOnce = false } = {}) {
    const { surface, d3 } = this;
    const to = d3.zoomIdentity.translate(surface.width / 2 - x * k, surface.height / 2 - y * k).scale(k);
    this.#selection.interrupt();
    const gliding = isAtOnce || prefersStill.matches ? this.#selection : this.#selection.transition().duration(250);
    gliding.call(this.#zoom.transform, to);
  }

  zoomBy(factor) {
    this.hasMoved = true;
    this.#selection.call(this.#zoom.scaleBy, factor);
  }

  // Move or zoom in response to a key. Returns false if the key means nothing here.
  press(key) {
    const moves = { ArrowLeft: [STEP_PX, 0], ArrowRight: [-STEP_PX, 0], ArrowUp: [0, STEP_PX], ArrowDown: [0, -STEP_PX] };
    const factors = { "+": 1.3, "=": 1.3, "-": 1 / 1.3, _: 1 / 1.3 };
    if (moves[key]) {
      const { k } = this.surface.view;
      this.hasMoved = true;
      this.#selection.call(this.#zoom.translateBy, moves[key][0] / k, moves[key][1] / k);
    } else if (factors[key]) this.zoomBy(factors[key]);
    else if (key === "0") this.fit();
    else return false;
    return true;
  }

  close() {
    this.#selection.interrupt().on(".zoom", null);
  }
}
