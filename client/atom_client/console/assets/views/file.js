// A workflow file: its problems, its plan and its graph, as `validate`, `plan` and `graph` see them.

import { post } from "../api.js";
import { drawExamined, drawPlan, drawSteps } from "../examined.js";
import { foreign, sentence } from "../format.js";
import { paramsForm } from "../params.js";
import { KEPT, Source } from "../source.js";
import { FileGraph } from "../graph/file_graph.js";
import { html } from "../vendor/lit-html/lit-html.js";

const PAUSE_MS = 400;

export async function file({ redraw }) {
  const page = new FilePage(redraw);
  return { title: "File", render: () => page.render(), close: () => page.close() };
}

class FilePage {
  constructor(redraw) {
    Object.assign(this, { redraw, values: {}, check: null, error: "", asking: null, timer: 0 });
    this.source = new Source((isTyping) => this.changed(isTyping), { fate: KEPT });
    this.graph = new FileGraph();
  }

  close() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.graph.close();
  }

  changed(isTyping) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.examine(), isTyping ? PAUSE_MS : 0);
    this.redraw();
  }

  set(name, text) {
    if (text === undefined) delete this.values[name];
    else this.values[name] = text;
    this.changed(true);
  }

  async examine() {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const { file } = this.source;
    if (!file) Object.assign(this, { check: null, error: "" });
    else {
      try {
        const check = await post("/files/check", { file, params: this.values }, asking.signal);
        if (asking === this.asking) {
          Object.assign(this, { check, error: "" });
          if (check.valid) this.graph.show(file);
        }
      } catch (error) {
        if (error.name === "AbortError") return;
        Object.assign(this, { check: null, error: error.message });
      }
    }
    this.redraw();
  }

  render() {
    const { check } = this;
    return html`<h1>A workflow file</h1>
      ${this.source.render()}
      ${this.error ? html`<p class="problem" role="alert">${sentence(this.error)}</p>` : ""}
      <section aria-labelledby="file-problems" aria-live="polite"><h2 id="file-problems">Problems</h2>
        ${check ? drawExamined(check) : html`<p class="quiet">Choose or paste a file. Nothing is started, and nothing leaves this machine.</p>`}
      </section>
      ${check?.valid
        ? html`<section aria-labelledby="file-plan"><h2 id="file-plan">Plan</h2>
              ${paramsForm({ params: check.params, values: this.values, problems: check.param_problems, change: (...args) => this.set(...args) })}
              ${drawPlan(check)}</section>
            <section aria-labelledby="file-graph"><h2 id="file-graph">Graph</h2>
              <p class="quiet">${foreign(check.picture.heading)}</p>
              ${this.graph.element}
              <details><summary>As a table</summary>${drawSteps(check.picture)}</details></section>`
        : ""}`;
  }
}
