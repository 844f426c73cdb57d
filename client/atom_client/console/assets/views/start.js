// Start a run from a file that is sent with the message, or from one in a bucket. Its params make the form.

import { about } from "../about.js";
import { go, to } from "../address.js";
import { CONFLICT, get, OUTDATED, path, post } from "../api.js";
import { linkToRun, waitForRun } from "../begun.js";
import { drawExamined, drawPlan } from "../examined.js";
import { foreign, sentence } from "../format.js";
import { notify } from "../notices.js";
import { paramsForm } from "../params.js";
import { SENT, Source } from "../source.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";

const PAUSE_MS = 400;

// What was filled in but not started, for a reader who comes back.
let draft = null;

export async function start({ query, redraw }) {
  const again = query.get("again");
  const page = again === null && draft ? draft : new StartPage();
  // What was filled in before stays if there is nothing to fill in instead.
  if (again !== null) await page.fillIn(again);
  draft = null;
  page.open(redraw);
  return { title: "Start a run", render: () => page.render(), close: () => page.close() };
}

class StartPage {
  constructor() {
    Object.assign(this, { values: {}, plan: null, error: "", asking: null, timer: 0, sending: "", isClosed: true, isStale: false, isRequested: false });
    Object.assign(this, { path: "", key: "", sentKey: "", labels: "", scheduledAt: "", noQueue: false, again: null });
    this.source = new Source((isTyping) => this.changed(isTyping), { fate: SENT });
  }

  // Fill in the form with what an earlier run was given.
  async fillIn(runId) {
    this.again = await get(path`/runs/${runId}/start`);
    const { file, params, labels } = this.again;
    Object.assign(this, { path: this.again.path ?? "", values: params, labels: labels.join("\n") });
    Object.assign(this.source, file);
  }

  open(redraw) {
    Object.assign(this, { redraw, isClosed: false });
    if (!this.hasSource) return;
    this.isStale = true;
    this.timer = setTimeout(() => this.preview(), 0);
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.asking?.abort();
    // What was filled in from a run is filled in again by its address; in another form, its labels would go unnoticed.
    if (!this.sending && !this.isRequested && !this.again) draft = this;
  }

  changed(isTyping, fields = {}) {
    Object.assign(this, fields, { plan: isTyping ? this.plan : null, isStale: true, isRequested: false, sentKey: "" });
    clearTimeout(this.timer);
    // Otherwise, a preview of the old input could be confirmed for the new one.
    this.asking?.abort();
    this.asking = null;
    this.timer = setTimeout(() => this.preview(), isTyping ? PAUSE_MS : 0);
    this.redraw();
  }

  set(name, text) {
    if (text === undefined) delete this.values[name];
    else this.values[name] = text;
    this.changed(true);
  }

  get body() {
    const labels = this.labels.split("\n").map((line) => line.trim()).filter(Boolean);
    const source = this.path.trim() ? { path: this.path } : { file: this.source.file };
    return { ...source, params: this.values, key: this.key || this.sentKey, labels, scheduled_at: this.scheduledAt, no_queue: this.noQueue };
  }

  get hasSource() {
    return Boolean(this.path.trim() || this.source.file);
  }

  // Ask what would be done. `said` is shown to the reader while waiting and along with the answer.
  async preview(said = "") {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const found = { plan: null, error: said };
    try {
      if (this.hasSource) found.plan = await this.ask(asking.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      found.error = error.message;
    }
    if (asking !== this.asking) return;
    Object.assign(this, found, { isStale: false });
    this.redraw();
  }

  // A read-only console does not preview what it cannot do, but still checks a file from this machine.
  async ask(signal) {
    if (!about.read_only) return post("/start", { ...this.body, dry_run: true }, signal);
    if (this.path.trim()) return null;
    return { check: await post("/files/check", { file: this.source.file, params: this.values }, signal), lines: [] };
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
      await this.follow(answer);
    } catch (error) {
      this.sending = "";
      // The run may have been requested, so trying again must not request another one.
      if (error.status !== OUTDATED) this.sentKey = key;
      if (this.isClosed) {
        draft = this;
        return notify([error.message]);
      }
      this.error = error.message;
      // Something has changed since the preview, so ask for another one.
      this.isStale = [CONFLICT, OUTDATED].includes(error.status);
      if (this.isStale) this.preview(error.message);
    }
    this.redraw();
  }

  // Go to the run once it exists. A reader who has left in the meantime gets a notice.
  async follow({ run_id: runId, lines }) {
    Object.assign(this, { sending: `Requested run ${runId}; waiting for the platform to begin it …`, isRequested: true });
    this.redraw();
    const hasBegun = await waitForRun(runId, () => !this.isClosed);
    this.sending = "";
    if (this.isClosed) notify(lines, { link: linkToRun(runId) });
    else if (hasBegun) go(to("runs", runId));
    else this.error = `Run ${runId} was requested, but the platform has not begun it yet. If it never does, the dead letters may say why.`;
  }

  get hint() {
    if (!this.hasSource) return "Choose a file first.";
    if (this.isStale) return "Asking what it will do …";
    return about.read_only ? "A read-only console does not check files in buckets." : "";
  }

  render() {
    const check = this.plan?.check;
    const of = (field) => (this.plan?.problems ?? []).filter((one) => one.field === field);
    return html`<h1>Start a run</h1>
      ${about.read_only ? html`<p class="problem">${sentence(about.why_read_only)}</p>` : ""}
      ${this.again ? this.renderAgain() : ""}
      <form aria-label="Start a run" @submit=${(event) => event.preventDefault()}>
      <fieldset class="fields" ?disabled=${Boolean(this.sending)}>
        <label class="field"><span>File in a bucket <span class="quiet">(instead of one from this machine)</span></span>
          <input type="text" spellcheck="false" autocomplete="off" placeholder="gs://BUCKET/workflows/nightly.yaml"
            .value=${live(this.path)} @input=${(event) => this.changed(true, { path: event.target.value })}></label>
        ${of("path").map(problem)}
        ${this.path.trim() ? "" : this.source.render()}
        ${check ? drawExamined(check) : ""}
        ${paramsForm({
          params: check?.params ?? [], values: this.values, problems: check?.param_problems ?? [],
          change: (...args) => this.set(...args),
        })}
        ${this.renderOptions(check, of)}
      </fieldset>
        <section aria-labelledby="start-preview" aria-live="polite" aria-busy=${this.hasSource && this.isStale}>
          <h2 id="start-preview">What it will do</h2>
          ${this.plan?.lines.map((line) => html`<p>${sentence(line)}</p>`) ?? ""}
          ${of("request").map(problem)}
          ${check ? drawPlan(check) : html`<p class="quiet">${this.hint}</p>`}
        </section>
        ${this.error ? html`<p class="problem" role="alert">${sentence(this.error)}</p>` : ""}
        <p role="status">${foreign(this.sending)}</p>
        <button type="button" class="main" ?disabled=${!this.canStart} @click=${() => this.start()}>Start the run</button>
      </form>`;
  }

  renderAgain() {
    const { run_id: id, problem: missing } = this.again;
    return html`<p>The file, the parameters and the labels of run <a href=${to("runs", id)}>${foreign(id)}</a>, to be started
        again. Parameters that used their defaults will use them again.</p>
      ${missing && !this.source.file ? html`<p class="problem">${sentence(missing)}</p>` : ""}`;
  }

  renderOptions(check, of) {
    const zone = check?.timezone ? html`; in ${foreign(check.timezone)} unless it has an offset` : this.path.trim() ? "; with an offset such as Z" : "";
    return html`<details><summary>Key, labels and time</summary>
        <label class="field"><span>Run key <span class="quiet">(starting again with the same key starts nothing new)</span></span>
          <input type="text" spellcheck="false" autocomplete="off" .value=${live(this.key)}
            @input=${(event) => this.changed(true, { key: event.target.value })}></label>
        <label class="field"><span>Labels <span class="quiet">(NAME=VALUE, one per line)</span></span>
          <textarea rows="2" spellcheck="false" .value=${live(this.labels)}
            @input=${(event) => this.changed(true, { labels: event.target.value })}></textarea></label>
        <label class="field"><span>As of <span class="quiet">(such as 2026-03-01T02:30${zone})</span></span>
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
