// The list of runs, which can be filtered, searched, sorted and paged. The address holds all of that.

import { go, to, withQuery } from "../address.js";
import { get } from "../api.js";
import { clean, counted, foreign, moment, sentence, state, timeTaken } from "../format.js";
import { asOf, goToPage, moveInRows, pager, sortable, stateChoice, TypedText } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Live } from "../live.js";
import { OPEN_RUN_STATES, RUN_STATES } from "../states.js";
import { setClock } from "../ticking.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

const SOON_MS = 1_000;
// Reading a list costs many reads, so it is read again by itself only once in a minute.
const BETWEEN_READS_MS = 60_000;
const SINCE = ["1h", "24h", "7d", "30d", "today", "yesterday"];

export async function runs({ query, about, redraw }) {
  const view = { query, page: null, error: null, isBusy: false, number: 0, status: "", problem: "", live: null, shown: null, again: 0, againAt: -Infinity, labelProblem: "", redraw };
  const typed = (name) => new TypedText((text) => change({ [name]: text }, { replace: true }));
  view.typed = { q: typed("q"), workflow: typed("workflow"), since: typed("since") };
  // Only the answer to the latest request counts, in whatever order answers arrive.
  view.read = async () => {
    const number = ++view.number;
    const { query } = view;
    clearTimeout(view.again);
    view.again = 0;
    view.isBusy = true;
    redraw();
    try {
      const page = await get(`/runs?${query}`);
      if (number === view.number) {
        Object.assign(view, { page, shown: query, error: null });
        if (about.live) followRuns(view);
      }
    } catch (error) {
      if (number === view.number) {
        view.error = error.message;
        // An invalid filter cannot be followed, and the runs of another one are not what was asked for.
        if (error.status === 400 || view.shown !== query) stopFollowing(view);
      }
    }
    if (number === view.number) view.isBusy = false;
    redraw();
  };
  await view.read();
  return {
    title: "Runs",
    render: () => draw(view),
    update: (changed) => {
      view.query = changed.query;
      view.read();
    },
    close: () => {
      view.number++;
      clearTimeout(view.again);
      view.live?.close();
    },
  };
}

function stopFollowing(view) {
  view.live?.close();
  Object.assign(view, { page: null, live: null, status: "" });
}

// Follow the runs that the list is about, starting from what was read.
function followRuns(view) {
  view.live?.close();
  const { query, redraw } = view;
  setClock(view.page.as_of);
  view.live = new Live({
    path: () => `/live/runs?${new URLSearchParams([...query, ["after", view.page.at ?? ""]])}`,
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

function readAgain(view) {
  view.again ||= setTimeout(() => {
    view.againAt = Date.now();
    view.read();
  }, Math.max(SOON_MS, view.againAt + BETWEEN_READS_MS - Date.now()));
}

// Replace the runs that are listed. On the first page of the newest runs, new ones are inserted in order.
function apply(view, { runs: changed = [], gone = [], ...others }) {
  const { page, shown: query } = view;
  if (others.as_of) setClock(others.as_of);
  const hasMore = (page.page - 1) * page.page_size + page.runs.length < page.total;
  const news = new Map(changed.map((run) => [run.id, run]));
  // The steps of only a few runs are counted at a time; the others keep their last count.
  const listed = page.runs.map((run) => ({ ...run, ...news.get(run.id) })).filter((run) => !gone.includes(run.id));
  // Those of the next page move up.
  if (hasMore && listed.length < page.runs.length) readAgain(view);
  let total = page.total - (page.runs.length - listed.length);
  if (page.page === 1 && (query.get("sort") ?? "created") === "created") {
    const known = new Set(page.runs.map((run) => run.id));
    // An older one may already be on a later page.
    const oldest = hasMore || page.runs.length === page.page_size ? (page.runs.at(-1)?.created_at ?? "~") : "";
    const entered = changed.filter((run) => !known.has(run.id) && run.created_at > oldest);
    total += entered.length;
    listed.push(...entered);
    if (entered.length) listed.sort((one, other) => (one.created_at < other.created_at ? 1 : -1));
  }
  Object.assign(page, others, { runs: listed.slice(0, page.page_size), total });
}

// Changing a filter returns to the first page.
function change(changes, options) {
  go(withQuery({ page: null, ...changes }), options);
}

function draw(view) {
  const { page, query } = view;
  return html`<h1>Runs</h1>
    ${filters(view)}
    ${asOf({ time: page?.as_of, isBusy: view.isBusy, status: view.status, problem: view.problem, error: view.error, refresh: view.read })}
    ${page ? list(view) : nothing}`;
}

function filters(view) {
  const { query, typed } = view;
  const text = (name, label, more = {}) => html`<label class="field">${label}
    <input type=${more.type ?? "text"} name=${name} .value=${live(typed[name].shown(query.get(name) ?? ""))} maxlength="300"
      autocomplete="off" spellcheck="false" list=${more.list ?? nothing} placeholder=${more.hint ?? nothing}
      @input=${typed[name].onInput}></label>`;
  const labels = query.getAll("label");
  // Text that is not a label stays in the field, where it can be corrected.
  const addLabel = ({ target }) => {
    const value = target.value.trim();
    view.labelProblem = !value || value.indexOf("=") > 0 ? "" : `${value} is not a label; write NAME=VALUE`;
    if (view.labelProblem) return view.redraw();
    target.value = "";
    if (value) change({ label: [...labels.filter((one) => one !== value), value] });
  };
  return html`<search><form class="filters" aria-label="Which runs are listed" @submit=${(event) => event.preventDefault()}>
    ${text("q", "Search", { type: "search", hint: "id, workflow, file or label" })}
    ${text("workflow", "Workflow or file")}
    ${text("since", "Created since", { list: "since", hint: "such as 24h or 2026-03-01" })}
    <datalist id="since">${SINCE.map((one) => html`<option value=${one}></option>`)}</datalist>
    <label class="field">Label
      <input type="text" name="label" placeholder="NAME=VALUE, then Enter" autocomplete="off" @change=${addLabel}>
      ${view.labelProblem ? html`<span class="problem" role="alert">${foreign(view.labelProblem)}</span>` : nothing}</label>
    <label class="field">Sorted by<select name="sort" .value=${live(query.get("sort") ?? "created")}
      @change=${(event) => change({ sort: event.target.value })}>
      <option value="created">newest</option><option value="started">latest start</option><option value="duration">longest since the last start</option>
    </select></label>
    ${stateChoice({ states: RUN_STATES, chosen: query.getAll("state"), choose: (chosen) => change({ state: chosen }) })}
    ${labels.length
      ? html`<ul class="chips" aria-label="Labels">${labels.map(
          (one) => html`<li>${foreign(one)} <button type="button" aria-label="Remove the label ${clean(one)}"
            @click=${() => change({ label: labels.filter((other) => other !== one) })}>✕</button></li>`,
        )}</ul>`
      : nothing}
    ${query.size ? html`<a href="#/runs">Show all runs</a>` : nothing}
  </form></search>`;
}

function list(view) {
  const { page, query } = view;
  const unreadable = page.unreadable.length
    ? html`<p class="warning">Not shown, since a newer version wrote them: ${page.unreadable.map((id) => html`${foreign(id)} `)}</p>`
    : nothing;
  if (!page.runs.length) {
    const newest = page.is_complete ? "" : ` Only the newest ${page.most_searched.toLocaleString("en")} runs were searched.`;
    return html`${unreadable}<p role="status">${foreign(page.text || "No run matches anymore.")}${newest}</p>`;
  }
  return html`${unreadable}
    <p class="quiet" role="status">${counted(page.total, "run")}${page.is_complete
      ? nothing
      : ` among the newest ${page.most_searched.toLocaleString("en")}; older ones were not searched`}${
      query.has("q") ? `. ${counted(page.documents, "document")} read from Firestore.` : nothing}</p>
    ${page.note ? html`<p class="quiet">${sentence(page.note)}</p>` : nothing}
    <table class="cards" aria-label="Runs" @keydown=${moveInRows}>
      <thead><tr>
        <th scope="col">Run</th><th scope="col">State</th><th scope="col">Workflow</th>
        ${heading("Created", "created", query)}${heading("Duration", "duration", query)}<th scope="col">Steps</th>
      </tr></thead>
      <tbody>${repeat(page.runs, (run) => run.id, (run) => row(run, view.status === "live"))}</tbody>
    </table>
    ${pager({ page: page.page, size: page.page_size, total: page.total, noun: "run", label: "Pages of runs", open: goToPage })}`;
}

function heading(name, key, query) {
  const sort = (order) => change({ sort: order === "created" ? null : order });
  return sortable({ name, key, order: query.get("sort") ?? "created", sort });
}

function row(run, isLive) {
  const begun = run.taken_s !== null && OPEN_RUN_STATES.has(run.state) ? (run.admitted_at ?? run.started_at) : null;
  return html`<tr>
    <th scope="row"><a href=${to("runs", run.id)}>${foreign(run.id)}</a>${labelsOf(run)}</th>
    <td data-name="State">${state(run.state)}${run.late ? html` <strong class="late">late</strong>` : nothing}</td>
    <td data-name="Workflow">${
      run.workflow ? html`<a href=${to("workflows", run.workflow)}>${foreign(run.workflow)}</a>` : nothing}</td>
    <td data-name="Created">${moment(run.created_at)}</td>
    <td data-name="Duration" class="number">${
      isLive && begun && !run.retries ? html`<ticking-time since=${begun}></ticking-time>` : timeTaken(run)}</td>
    <td data-name="Steps" class="number">${size(run)}</td>
  </tr>`;
}

function labelsOf(run) {
  const labels = Object.entries(run.labels);
  if (!labels.length) return nothing;
  return html`<ul class="chips" aria-label="Labels">${labels.map(([name, value]) => {
    const label = `${name}=${value}`;
    return html`<li><a href=${withQuery({ label, page: null })}>${foreign(label)}</a></li>`;
  })}</ul>`;
}

// As in `runs list`: `4 of 6, 273 of 300 items`.
function size({ step_count, item_count, progress }) {
  const part = (ended, total, words) => {
    if (!total) return "";
    return typeof ended === "number" ? `${ended.toLocaleString("en")} of ${words}` : words;
  };
  const steps = part(progress?.steps, step_count, step_count.toLocaleString("en"));
  const items = part(progress?.items, item_count, counted(item_count, "item"));
  return [steps, items].filter(Boolean).join(", ");
}
