// Start a run: of a file that is sent with the message, or of one in a bucket. The form is made from its params.

import { about } from "../about.js";
import { go, to } from "../address.js";
import { get, path, post } from "../api.js";
import { drawExamined, drawPlan } from "../examined.js";
import { foreign, sentence } from "../format.js";
import { notify } from "../notices.js";
import { paramsForm } from "../params.js";
import { Source } from "../source.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";

const PAUSE_MS = 400;
const LOOKS = 20;
const LOOK_MS = 500;

export async function start({ query, redraw }) {
  const page = new StartPage(redraw, query.get("path") ?? "");
  return { title: "Start a run", render: () => page.render(), close: () => page.close() };
}

class StartPage {
  constructor(redraw, path) {
    Object.assign(this, { redraw, values: Object.create(null), plan: null, error: "", asking: null, timer: 0, sending: "", isClosed: false });
    Object.assign(this, { path, key: "", labels: "", scheduledAt: "", noQueue: false });
    this.source = new Source((soon) => this.changed(soon), { hint: "it is sent with the request" });
    if (path) this.timer = setTimeout(() => this.preview(), 0);
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  changed(soon, fields = {}) {
    Object.assign(this, fields, { plan: soon ? this.plan : null, isStale: true });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.preview(), soon ? PAUSE_MS : 0);
    this.redraw();
  }

  set(name, text) {
    if (text === undefined) delete this.values[name];
    else this.values[name] = text;
    this.changed(true);
  }

  get body() {
    const labels = this.labels.split("\n").map((line) => line.trim()).filter(Boolean);
    const source = this.path ? { path: this.path } : { file: this.source.file };
    return { ...source, params: this.values, key: this.key, labels, scheduled_at: this.scheduledAt, no_queue: this.noQueue };
  }

  get hasSource() {
    return Boolean(this.path || this.source.file);
  }

  async preview(said = "") {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    let found = { plan: null, error: said };
    // A console that changes nothing previews nothing that it could not do.
    try {
      if (this.hasSource && !about.read_only) found.plan = await post("/start", { ...this.body, dry_run: true }, asking.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      found.error = error.message;
    }
    if (asking !== this.asking) return;
    Object.assign(this, found, { isStale: false });
    this.redraw();
  }

  // Why there is no plan yet.
  get missing() {
    if (about.read_only) return "";
    if (!this.hasSource) return "Choose a file first.";
    if (this.isStale) return "Asking what it will do …";
    return "The plan of a file that cannot be read from here is not known.";
  }

  get canStart() {
    return Boolean(this.plan?.can_start) && !this.isStale && !this.sending && !about.read_only;
  }

  async start() {
    if (!this.canStart) return;
    const { seen, key } = this.plan;
    Object.assign(this, { sending: "Starting …", error: "" });
    this.redraw();
    try {
      const answer = await post("/start", { ...this.body, key, seen });
      if (this.isClosed) return notify(answer.lines, [to("runs", answer.run_id), `Run ${answer.run_id}`]);
      await this.follow(answer.run_id);
    } catch (error) {
      if (this.isClosed) return notify([error.message]);
      Object.assign(this, { sending: "", error: error.message });
      if (error.status === 409) await this.preview(error.message);
    }
    this.redraw();
  }

  // The run exists once the platform has read the message. Whatever goes wrong while looking, it was requested.
  async follow(runId) {
    this.sending = `Requested run ${runId}; waiting for the platform to begin it …`;
    this.redraw();
    for (let look = 0; look < LOOKS && !this.isClosed; look++) {
      const { begun } = await get(path`/runs/${runId}/begun`).catch(() => ({ begun: false }));
      if (this.isClosed) return;
      if (begun) return go(to("runs", runId));
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    this.sending = "";
    this.error = `Run ${runId} was requested, but the platform has not begun it yet. If it never does, the dead letters may say why.`;
  }

  render() {
    const check = this.plan?.check;
    const of = (field) => (this.plan?.problems ?? []).filter((one) => one.field === field);
    return html`<h1>Start a run</h1>
      ${about.read_only ? html`<p class="problem">${sentence(about.why_read_only)}</p>` : ""}
      <form aria-label="Start a run" @submit=${(event) => event.preventDefault()}>
        <label class="field"><span>In a bucket <span class="quiet">(instead of a file from here)</span></span>
          <input type="text" spellcheck="false" autocomplete="off" placeholder="gs://BUCKET/workflows/nightly.yaml"
            .value=${this.path} @change=${(event) => this.changed(false, { path: event.target.value.trim() })}></label>
        ${of("path").map(problem)}
        ${this.path ? "" : this.source.render()}
        ${check ? drawExamined(check) : ""}
        ${paramsForm({
          params: check?.params ?? [], values: this.values, problems: check?.param_problems ?? [],
          change: (...args) => this.set(...args),
        })}
        ${this.renderOptions(check, of)}
        <section aria-labelledby="start-preview" aria-live="polite" aria-busy=${this.hasSource && this.isStale}>
          <h2 id="start-preview">What it will do</h2>
          ${this.plan?.lines.map((line) => html`<p>${sentence(line)}</p>`) ?? ""}
          ${of("request").map(problem)}
          ${check ? drawPlan(check) : html`<p class="quiet">${this.missing}</p>`}
        </section>
        ${this.error ? html`<p class="problem" role="alert">${sentence(this.error)}</p>` : ""}
        <p role="status">${foreign(this.sending)}</p>
        <button type="button" class="main" ?disabled=${!this.canStart} @click=${() => this.start()}>Start the run</button>
      </form>`;
  }

  renderOptions(check, of) {
    const zone = check?.timezone ?? "an offset must be given";
    return html`<details><summary>Key, labels and time</summary>
        <label class="field"><span>Run key <span class="quiet">(starting again with the same key starts nothing new)</span></span>
          <input type="text" spellcheck="false" autocomplete="off" .value=${live(this.key)}
            @input=${(event) => this.changed(true, { key: event.target.value })}></label>
        <label class="field"><span>Labels <span class="quiet">(NAME=VALUE, one a line)</span></span>
          <textarea rows="2" spellcheck="false" .value=${live(this.labels)}
            @input=${(event) => this.changed(true, { labels: event.target.value })}></textarea></label>
        <label class="field"><span>As of <span class="quiet">(such as 2026-03-01T02:30; ${
            check?.timezone ? html`in ${foreign(zone)} unless it has an offset` : zone})</span></span>
          <input type="text" spellcheck="false" autocomplete="off" .value=${live(this.scheduledAt)}
            @input=${(event) => this.changed(true, { scheduledAt: event.target.value })}></label>
        ${check?.has_group
          ? html`<label class="check"><input type="checkbox" .checked=${live(this.noQueue)}
              @change=${(event) => this.changed(false, { noQueue: event.target.checked })}> start even if its concurrency group is full</label>` : ""}
      </details>
      ${["key", "labels", "scheduled_at"].flatMap(of).map(problem)}`;
  }
}

function problem(one) {
  return html`<p class="problem">${sentence(one.message)}</p>`;
}
