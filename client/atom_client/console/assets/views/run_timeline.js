// The timeline of a run: where its time went, the critical path, and the bars of all steps as a chart or as a table.

import { go, to, withQuery } from "../address.js";
import { get, path } from "../api.js";
import { counted, duration, foreign, moment, sentence, state } from "../format.js";
import { goToPage, pageNumber, pager, TypedText } from "../parts.js";
import { Chart } from "../timeline/chart.js";
import { everySecond, serverNow } from "../ticking.js";
import { ORDERS, Rows } from "../timeline/rows.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";

const PAGE_SIZE = 100;
// The minimum number of milliseconds before a timeline is computed again.
const BETWEEN_READS_MS = 500;
const MOST_ON_PATH = 30;
const ZOOMS = [1, 2, 4, 8, 16];

export async function timeline({ model, query, redraw }) {
  const view = {
    ...{ model, query, redraw, opened: new Set(), hasAllOfPath: false, error: null, wasOpen: model.isOpen },
    ...{ refreshes: model.refreshes, asked: 0, timer: 0, isDue: false, isClosed: false },
  };
  view.typed = new TypedText((text) => change({ q: text }), 100);
  view.chart = new Chart({ hrefOf: (id) => to("runs", model.run.id, "steps", id), toggle: (row) => toggle(view, row) });
  await read(view);
  const stop = everySecond(() => grow(view));
  return {
    render: () => draw(view),
    update: ({ query: changed }) => {
      view.query = changed;
      show(view);
    },
    // The times of all steps are computed again when the run is read again and, while it is followed, now and then.
    changed: () => {
      const isAnother = view.refreshes !== model.refreshes || (view.wasOpen && !model.isOpen);
      Object.assign(view, { wasOpen: model.isOpen, refreshes: model.refreshes });
      if (isAnother) read(view);
      else if (model.isLive) readSoon(view);
    },
    close: () => {
      view.isClosed = true;
      stop();
      clearTimeout(view.timer);
      view.chart.close();
    },
  };
}

function readSoon(view) {
  view.isDue = true;
  view.timer ||= setTimeout(async () => {
    view.isDue = false;
    await read(view);
    view.timer = 0;
    // More may have changed while this was being read.
    if (view.isDue && !view.isClosed) readSoon(view);
  }, Math.max(BETWEEN_READS_MS, 5 * (view.took ?? 0)));
}

// While the run is followed, the bars of what has not ended grow with the clock; nothing is read for that.
function grow(view) {
  if (!view.model.isLive || !view.model.isOpen) return;
  view.chart.grow(serverNow() - Date.parse(view.all.data.as_of));
}

// Only the answer to the latest request counts, in whatever order answers arrive.
async function read(view) {
  const began = performance.now();
  const asked = ++view.asked;
  try {
    const data = await get(path`/runs/${view.model.run.id}/timeline`);
    if (asked !== view.asked || view.isClosed) return;
    view.all = new Rows(data);
    view.error = null;
    view.took = performance.now() - began;
    show(view);
  } catch (error) {
    if (!view.all) throw error;
    if (asked === view.asked) view.error = error.message;
  }
  view.redraw();
}

function wanted({ query, opened }) {
  const order = query.get("order") in ORDERS ? query.get("order") : "started";
  return { text: query.get("q") ?? "", order, isFolded: query.get("fold") !== "none", opened };
}

function show(view) {
  const zoom = ZOOMS.find((one) => String(one) === view.query.get("zoom")) ?? 1;
  view.rows = view.all.choose(wanted(view));
  view.chart.show(view.all, view.rows, zoom);
}

function toggle(view, row) {
  const first = view.all.data.steps[row.fan[0]];
  if (!view.opened.delete(first)) view.opened.add(first);
  show(view);
  view.redraw();
}

function draw(view) {
  const { data } = view.all;
  if (!data.steps.length) return html`<section aria-label="Timeline"><p>The run has no steps to show.</p></section>`;
  return html`<section aria-label="Timeline">
    ${view.error ? html`<p class="problem" role="alert">${sentence(view.error)}</p>` : nothing}
    <p>${sentence(data.text)}</p>
    <p class="quiet">From ${moment(data.begin)} to ${moment(data.end)}${view.model.isOpen ? ", when this was read" : ""}.</p>
    <div class="timeline-facts">${sums(data)}${criticalPath(view)}</div>
    ${bar(view)}
    ${view.query.get("as") === "table" ? table(view) : view.chart.element}
  </section>`;
}

function sums({ parts, path_ms: onPath, total_ms: total }) {
  const shown = parts.filter(({ name }) => onPath[name] || total[name]);
  const time = (ms) => (ms ? duration(ms / 1000) : "");
  return html`<table class="timeline-sums" aria-label="Where the time went"><thead><tr><th scope="col">Where the time went</th><th scope="col">Critical path</th><th scope="col">All steps</th></tr></thead>
    <tbody>${shown.map(({ name, words }) => html`<tr><th scope="row"><span class="bar key" data-part=${name} aria-hidden="true"></span> ${words}</th><td class="number">${time(onPath[name])}</td><td class="number">${time(total[name])}</td></tr>`)}</tbody></table>`;
}

function criticalPath(view) {
  const { path: steps } = view.all.data;
  const shown = view.hasAllOfPath ? steps : steps.slice(0, MOST_ON_PATH);
  const all = () => {
    view.hasAllOfPath = true;
    view.redraw();
  };
  return html`<section aria-label="Critical path"><h2><span aria-hidden="true">◆</span> Critical path</h2>
    <ol class="timeline-path">${shown.map(({ step, start_ms: start, end_ms: end }) => html`<li><a href=${to("runs", view.model.run.id, "steps", step)}>${foreign(step)}</a> <span class="quiet">${duration((end - start) / 1000)}</span></li>`)}</ol>
    ${shown.length < steps.length ? html`<button type="button" @click=${all}>Show all ${steps.length.toLocaleString("en")} steps</button>` : nothing}</section>`;
}

function change(changes) {
  go(withQuery({ page: null, ...changes }), { replace: true });
}

function bar(view) {
  const { query } = view;
  const { order, isFolded } = wanted(view);
  const isTable = query.get("as") === "table";
  const zoom = Number(query.get("zoom") ?? 1);
  const zoomed = (by) => ZOOMS[ZOOMS.indexOf(zoom) + by];
  const zoomButton = (by, name, sign) => html`<button type="button" aria-label=${name} aria-disabled=${zoomed(by) ? "false" : "true"} @click=${() => zoomed(by) && change({ zoom: zoomed(by) === 1 ? null : zoomed(by) })}>${sign}</button>`;
  return html`<search><form class="filters" aria-label="What the timeline shows" @submit=${(event) => event.preventDefault()}>
    <label class="field">Search ids<input type="search" name="q" maxlength="300" autocomplete="off" spellcheck="false" .value=${live(view.typed.shown(query.get("q") ?? ""))} @input=${view.typed.onInput}></label>
    <label class="field">Order<select .value=${live(order)} @change=${(event) => change({ order: event.target.value === "started" ? null : event.target.value })}>${Object.entries(ORDERS).map(([name, words]) => html`<option value=${name} ?selected=${name === order}>${words}</option>`)}</select></label>
    <label class="check"><input type="checkbox" .checked=${live(isFolded)} @change=${(event) => change({ fold: event.target.checked ? null : "none" })}> Fold similar steps</label>
    <button type="button" aria-pressed=${isTable ? "true" : "false"} @click=${() => change({ as: isTable ? null : "table" })}>As a table</button>
    ${isTable ? nothing : html`<span class="graph-zoom" role="group" aria-label="Zoom">${zoomButton(1, "Zoom in", "+")}${zoomButton(-1, "Zoom out", "−")}</span>`}
    <span class="quiet" role="status">${counted(view.rows.length, "row")} of ${counted(view.all.data.steps.length, "step")}</span>
  </form></search>`;
}

function table(view) {
  const { all, rows } = view;
  const { data } = all;
  const page = pageNumber(view.query, rows.length, PAGE_SIZE);
  const parts = data.parts.filter(({ name }) => data.total_ms[name]);
  const shown = rows.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Table of the timeline"><table class="timeline-table" aria-label="Steps and their times">
    <thead><tr><th scope="col">Step</th><th scope="col">State</th><th scope="col">Critical path</th>${parts.map(({ words }) => html`<th scope="col">${words}</th>`)}</tr></thead>
    <tbody>${shown.map((row) => {
      const [id, sums] = [data.steps[row.steps[0]], all.sums(row)];
      const isOnPath = row.steps.some((one) => all.onPath.has(data.steps[one]));
      return html`<tr><th scope="row">${row.fan ? html`${foreign(row.name)} <button type="button" class="fold" aria-expanded=${row.isOpened ? "true" : "false"} aria-label="${row.isOpened ? "Fold" : "Unfold"} ${row.name}" @click=${() => toggle(view, row)}>${row.isOpened ? "Fold" : "Unfold"}</button>` : html`<a href=${to("runs", view.model.run.id, "steps", id)}>${foreign(id)}</a>`}</th>
        <td>${state(row.state)}</td><td>${isOnPath ? "◆ yes" : ""}</td>${parts.map(({ name }) => html`<td class="number">${sums[name] ? duration(sums[name] / 1000) : ""}</td>`)}</tr>`;
    })}</tbody></table></div>
    ${pager({ page, size: PAGE_SIZE, total: rows.length, noun: "row", label: "Pages of the timeline", open: goToPage })}`;
}
