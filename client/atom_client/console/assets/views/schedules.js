// The schedules of uploaded files: their state, their next times, and who changed them last.

import { toolbar } from "../actions.js";
import { get } from "../api.js";
import { Live } from "../live.js";
import { asOf } from "../parts.js";
import { serverNow, setClock } from "../ticking.js";
import { openAction, reasonField } from "../dialog.js";
import { clean, foreign, moment, sentence } from "../format.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

const MORE_INSTANTS = 20;
// The server does not return more.
const MOST = 100;
const SIGNS = { ACTIVE: "▶", PAUSED: "⏸", DELETED: "✘", NONE: "○" };

export async function schedules({ query, about, redraw }) {
  const page = new SchedulesPage(redraw, query.get("deleted") === "1");
  await page.read();
  if (about.live) page.follow();
  return { title: "Schedules", render: () => page.render(), close: () => page.live?.close() };
}

function versionOf({ schedules, timezone, state }) {
  return JSON.stringify([schedules, timezone, state]);
}

class SchedulesPage {
  constructor(redraw, withDeleted) {
    Object.assign(this, { redraw, withDeleted, files: [], more: {}, error: "", stopped: "" });
    Object.assign(this, { time: "", isBusy: false, live: null, status: "", problem: "" });
  }

  async read() {
    const { files, stopped, as_of: time } = await get(`/schedules${this.#deleted}`);
    setClock(time);
    this.show(files);
    Object.assign(this, { stopped, time, error: "" });
    this.redraw();
  }

  async refresh() {
    this.isBusy = true;
    this.redraw();
    await this.read().catch((error) => (this.error = error.message));
    this.isBusy = false;
    this.redraw();
  }

  get #deleted() {
    return this.withDeleted ? "?deleted=1" : "";
  }

  follow() {
    this.live = new Live({
      path: () => `/live/schedules${this.#deleted}`,
      onLine: ({ files = [], paths, as_of: time }) => {
        const news = new Map([...this.files, ...files].map((file) => [file.path, file]));
        if (paths) this.show(paths.map((path) => news.get(path)));
        setClock(time);
        this.time = time;
        this.redraw();
      },
      onStatus: (status, problem) => {
        Object.assign(this, { status, problem });
        if (status === "ended") this.error = problem;
        this.redraw();
      },
    });
  }

  // Show these files. The times that were read for an earlier version of a schedule are dropped.
  show(files) {
    const versions = new Map(this.files.map((file) => [file.path, versionOf(file)]));
    for (const file of files) if (versions.get(file.path) !== versionOf(file)) delete this.more[file.path];
    this.files = files;
  }

  // The next times, without those that have passed since they were read.
  instantsOf(file) {
    const now = serverNow();
    const [more, next] = [this.more[file.path] ?? [], file.next].map((all) => all.filter(({ at }) => Date.parse(at) > now));
    return more.length > next.length ? more : next;
  }

  async readMore(file) {
    const count = Math.min(MOST, this.instantsOf(file).length + MORE_INSTANTS);
    try {
      const found = await get(`/schedules/next?${new URLSearchParams({ path: file.path, count })}`);
      Object.assign(this, { error: "" }).more[file.path] = found.next;
    } catch (error) {
      this.error = error.message;
    }
    this.redraw();
  }

  render() {
    const { time, isBusy, status, problem } = this;
    return html`<h1>Schedules</h1>
      ${asOf({ time, isBusy, status, problem, refresh: () => this.refresh() })}
      <p><a href=${this.withDeleted ? "#/schedules" : "#/schedules?deleted=1"}>${
        this.withDeleted ? "Hide deleted files" : "Show deleted files"}</a></p>
      ${this.stopped && this.files.length ? html`<p class="warning">${sentence(this.stopped)}</p>` : ""}
      ${this.error ? html`<p class="problem" role="alert">${sentence(this.error)}</p>` : ""}
      ${this.files.length
        ? repeat(this.files, (file) => file.path, (file) => this.renderFile(file))
        : html`<p>There are no schedules. Upload a file that has <code>schedules</code> to register them.</p>`}`;
  }

  renderFile(file) {
    const instants = this.instantsOf(file);
    const isPaused = file.state === "PAUSED";
    return html`<section class="schedule">
      <h2>${foreign(file.path)}
        <span class="state" data-state=${file.state}><span aria-hidden="true">${SIGNS[file.state]}</span> ${file.state}</span></h2>
      <p>${file.schedules.map((one, number) => html`${number ? ", " : ""}<code>${foreign(one.cron)}</code>`)} in ${foreign(file.timezone)}</p>
      ${file.state === "DELETED" ? html`<p class="quiet">The file was deleted on ${moment(file.deleted_at)}.</p>`
        : toolbar(`Actions on the schedules of ${file.path}`, [
            isPaused
              ? ["Resume …", () => this.open(file, "resume", "Resume the schedules"), ""]
              : ["Pause …", () => this.open(file, "pause", "Pause the schedules"), ""],
          ])}
      ${instants.length ? this.renderInstants(file, instants, isPaused) : ""}
      ${file.change_lines.length
        ? html`<details><summary>Last change: ${sentence(file.change_lines[0])}</summary>
            <ul>${file.change_lines.slice(1).map((line) => html`<li>${sentence(line)}</li>`)}</ul></details>`
        : ""}
    </section>`;
  }

  renderInstants(file, instants, isPaused) {
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Next runs of ${clean(file.path)}"><table>
        <caption>Next runs${this.stopped ? ", if a platform were up" : isPaused ? ", if the schedules were resumed now" : ""}</caption>
        <thead><tr><th scope="col">In ${foreign(file.timezone)}</th><th scope="col">In your zone</th><th scope="col">Cron</th>
          <th scope="col">Note</th></tr></thead>
        <tbody>${instants.map((one) => html`<tr><td>${foreign(one.shown)}</td><td>${moment(one.at)}</td>
          <td><code>${foreign(one.cron)}</code></td><td>${foreign(one.note)}</td></tr>`)}</tbody></table></div>
      ${instants.length < MOST ? this.renderMore(file) : ""}`;
  }

  renderMore(file) {
    return html`<button type="button" @click=${() => this.readMore(file)}>Show more runs<span class="unseen"> of ${foreign(file.path)}</span></button>`;
  }

  open(file, verb, confirm) {
    openAction({
      title: `${confirm} of ${file.path}`,
      confirm,
      path: `/schedules/${verb}`,
      about: file.path,
      options: { path: file.path, reason: "" },
      fields: reasonField,
      after: () => this.read(),
    });
  }
}
