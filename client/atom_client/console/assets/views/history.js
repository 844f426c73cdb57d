// A workflow's history, with its newest runs as columns and their steps as rows.

import { go, to, withQuery } from "../address.js";
import { get } from "../api.js";
import { clean, counted, duration, foreign, moment, sentence, SIGNS, state, timeTaken } from "../format.js";
import { asOf, crumbs, goToPage, pageNumber, pager, TypedText } from "../parts.js";
import { Live } from "../live.js";
import { OPEN_RUN_STATES } from "../states.js";
import { setClock } from "../ticking.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";

const SIZES = [10, 20, 30];
const PAGE_SIZE = 200;

export async function history({ params: [name], query, about, redraw }) {
  const view = { name, query, redraw, data: null, isBusy: false, error: null, status: "", problem: "", live: null, asked: 0 };
  view.typed = new TypedText((text) => go(withQuery({ q: text, page: null }), { replace: true }), 100);
  // Only the answer to the latest request counts, in whatever order answers arrive.
  const read = async () => {
    const asked = ++view.asked;
    const data = await get(`/history?${new URLSearchParams({ workflow: name, runs: sizeOf(view) })}`);
    if (asked !== view.asked) return;
    view.data = data;
    setClock(data.as_of);
    if (about.live) follow(view);
  };
  view.refresh = async () => {
    Object.assign(view, { isBusy: true, error: null });
    redraw();
    const isLatest = ((asked) => () => asked === view.asked)(view.asked + 1);
    await read().catch((error) => isLatest() && (view.error = error.message));
    if (isLatest()) view.isBusy = false;
    redraw();
  };
  await read();
  return {
    title: `History of ${name}`,
    render: () => draw(view),
    update: ({ params: [other], query: changed }) => {
      if (other !== name) return false;
      const isOther = changed.get("runs") !== view.query.get("runs");
      view.query = changed;
      if (isOther) view.refresh();
    },
    close: () => {
      view.asked++;
      view.live?.close();
    },
  };
}

function sizeOf({ query }) {
  return query.get("runs") ?? "20";
}

// Follow the newest runs and the steps of those that are open, starting from what was read.
function follow(view) {
  view.live?.close();
  const { name, redraw } = view;
  const isUnderWay = (run) => run.cells && run.started_at && OPEN_RUN_STATES.has(run.state);
  const open = () => view.data.runs.filter(isUnderWay).map(({ id }) => ["run", id]);
  view.live = new Live({
    path: () => `/live/history?${new URLSearchParams([["workflow", name], ["after", view.data.at ?? ""], ...open()])}`,
    onLine: (line) => {
      apply(view, line);
      redraw();
    },
    onStatus: (status, problem) => {
      Object.assign(view, { status, problem });
      if (status === "ended") view.error = problem || null;
      redraw();
    },
  });
}

// Replace the runs that have changed, and their changed cells; new runs push out the oldest, and deleted ones go.
function apply(view, { runs: changed = [], gone = [], ...others }) {
  const { data } = view;
  Object.assign(data, others);
  if (others.as_of) setClock(others.as_of);
  const size = Number(sizeOf(view));
  const oldest = data.runs.length < size ? "" : data.runs.at(-1).created_at;
  // Runs whose steps are not followed come without cells.
  for (const { cells = null, ...run } of changed) {
    const found = data.runs.find(({ id }) => id === run.id);
    if (found) Object.assign(found, run, cells && { cells: { ...found.cells, ...cells } });
    else if (run.created_at > oldest) data.runs.push({ ...run, cells });
    const known = new Set(data.steps);
    data.steps.push(...Object.keys(cells ?? {}).filter((id) => !known.has(id)));
  }
  data.runs = data.runs.filter(({ id }) => !gone.includes(id));
  data.runs.sort((one, other) => (one.created_at < other.created_at ? 1 : -1));
  data.runs.splice(size);
}

function draw(view) {
  const { data, query, name } = view;
  const size = query.get("runs") ?? "20";
  return html`${crumbs()}
    <h1>${foreign(name)}</h1>
    ${asOf({ time: data.as_of, isBusy: view.isBusy, status: view.status, problem: view.problem, error: view.error, refresh: view.refresh })}
    <search><form class="filters" aria-label="What the history shows" @submit=${(event) => event.preventDefault()}>
      <label class="field">Runs<select name="runs" .value=${live(size)}
        @change=${(event) => go(withQuery({ runs: event.target.value, page: null }))}>
        ${SIZES.map((one) => html`<option value=${one} ?selected=${String(one) === size}>newest ${one}</option>`)}</select></label>
      <label class="field">Search steps<input type="search" name="q" maxlength="300" autocomplete="off"
        spellcheck="false" .value=${live(view.typed.shown(query.get("q") ?? ""))}
        @input=${view.typed.onInput}></label>
      <label class="check"><input type="checkbox" name="failed" .checked=${live(query.has("failed"))}
        @change=${(event) => go(withQuery({ failed: event.target.checked ? "1" : null, page: null }))}>
        hide steps that succeeded in every run</label>
      <a href="#/runs?${new URLSearchParams({ workflow: name })}">All runs of this workflow</a>
    </form></search>
    <p class="quiet" role="status">${counted(data.runs.length, "run")}. ${counted(data.documents, "document")} read from Firestore.</p>
    ${data.text ? html`<p class="warning">${sentence(data.text)}</p>` : nothing}
    ${data.runs.length ? grid(view) : html`<p>${foreign(name)} has no runs.</p>`}`;
}

function grid(view) {
  const { data, query } = view;
  // Time runs from left to right.
  const runs = data.runs.toReversed();
  const text = (query.get("q") ?? "").toLowerCase();
  const hasOtherState = (id) => runs.some(({ cells }) => cells && Object.hasOwn(cells, id) && cells[id][0] !== "SUCCEEDED");
  const isShown = (id) => id.toLowerCase().includes(text) && (!query.has("failed") || hasOtherState(id));
  const rows = data.steps.filter(isShown);
  const page = pageNumber(query, rows.length, PAGE_SIZE);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Runs by steps"><table class="history" aria-label="Runs by steps">
    <thead><tr><th scope="col">Step</th>${runs.map(heading)}</tr></thead>
    <tbody>
      <tr class="totals"><th scope="row">The run</th>${runs.map(
        (run) => html`<td>${state(run.state)}<br>${lasting(run, view.status === "live")}</td>`,
      )}</tr>
      ${rows.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE).map(
        (id) => html`<tr><th scope="row">${foreign(id)}</th>${runs.map((run) => cell(run, id))}</tr>`,
      )}
    </tbody></table></div>
    ${rows.length ? legend(runs) : nothing}
    ${data.steps.length && !rows.length ? html`<p role="status">No step matches.</p>` : nothing}
    ${pager({ page, size: PAGE_SIZE, total: rows.length, noun: "step", label: "Pages of steps", open: goToPage })}`;
}

// While the page is live, the duration of a run that has not ended keeps growing.
function lasting(run, isLive) {
  const begun = isLive && OPEN_RUN_STATES.has(run.state) && !run.retries && run.taken_s !== null && (run.admitted_at ?? run.started_at);
  return begun ? html`<ticking-time since=${begun}></ticking-time>` : timeTaken(run);
}

// What the signs in the cells mean, for those that occur.
function legend(runs) {
  const found = new Set(runs.flatMap(({ cells }) => Object.values(cells ?? {}).map(([name]) => name)));
  return html`<p class="legend">${[...found].sort().map((name) => html`${state(name)} `)}</p>`;
}

function heading(run) {
  return html`<th scope="col"><a href=${to("runs", run.id)} title=${clean(run.id)}>${moment(run.created_at)}<span
    class="unseen"> ${foreign(run.id)}</span></a></th>`;
}

function cell(run, id) {
  const found = run.cells && Object.hasOwn(run.cells, id) ? run.cells[id] : null;
  if (!found) return html`<td class="quiet">${run.cells ? "" : "…"}</td>`;
  const [name, seconds, attempt] = found;
  const words = [name, attempt > 1 ? `attempt ${attempt}` : "", duration(seconds)].filter(Boolean).join(", ");
  const full = `${clean(id)} in ${clean(run.id)}: ${words}`;
  return html`<td><a class="state" data-state=${name} href=${to("runs", run.id, "steps", id)} aria-label=${full} title=${full}
    ><span aria-hidden="true">${SIGNS[name] ?? "?"} ${duration(seconds)}</span></a></td>`;
}
