// The graph of a file that is being edited, drawn again when the graph changes.

import { post } from "../api.js";
import { sentence } from "../format.js";
import { html, render } from "../vendor/lit-html/lit-html.js";
import { drawGraph } from "./draw_graph.js";

export class FileGraph {
  #file = null;
  #drawn = null;
  #asking = null;
  #fold = { fold: "similar", open: [] };

  constructor() {
    this.element = document.createElement("div");
    this.picture = document.createElement("div");
  }

  // Show the graph of a valid file; nothing is requested if it is shown already.
  show(file) {
    if (file.text === this.#file?.text) return;
    this.#file = file;
    this.#read();
  }

  async #read() {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    try {
      const data = await post("/files/graph", { file: this.#file, ...this.#fold }, asking.signal);
      render(this.picture, this.element);
      if (this.#drawn) this.#drawn.setData(data, []);
      else {
        const changeFold = ({ fold, opened }) => {
          this.#fold = { fold, open: opened };
          this.#read();
        };
        const drawn = await drawGraph(this.picture, data, { label: "Graph of the file", changeFold });
        if (asking !== this.#asking) return drawn.close();
        this.#drawn = drawn;
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#file = null;
      render(html`<p class="problem" role="alert">${sentence(error.message)}</p>`, this.element);
    }
  }

  close() {
    this.#asking?.abort();
    this.#asking = null;
    this.#drawn?.close();
  }
}
