// A step or an item: its state and the reason for it, its times, its attempts, what was sent, and its outputs.

import { stepActions } from "../actions.js";
import { to } from "../address.js";
import { get, path } from "../api.js";
import { clean, duration, foreign, json, moment, outside, sentence, state } from "../format.js";
import { asOf, crumbs, factList, headings, section, tag } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Live } from "../live.js";
import { OPEN_RUN_STATES } from "../states.js";
import { setClock } from "../ticking.js";
import { Items } from "./items.js";

const MOST_DEPENDENCIES = 50;
const AGAIN_MS = 3_000;
const SHORTEST_S = 0.001;

// The wording of `runs show --step`.
const DURATIONS = {
  dependencies_s: "waited for its dependencies",
  place_s: "waited for a place",
  dispatch_s: "waited for a dispatcher",
  submitting_s: "until submissions were accepted",
  job_s: "in jobs",
  queued_s: "of that before they were running",
  back_off_s: "in back-off",
};

export async function step({ params: [runId, stepId], about, redraw }) {
  const view = {
    ...{ data: null, items: null, isBusy: false, error: null, status: "", problem: "", live: null, redraw },
    // A read may be under way when another one is wanted.
    ...{ reading: null, isDue: false, isClosed: false, again: 0 },
  };
  const read = async () => {
    view.data = await get(path`/runs/${runId}/steps/${stepId}`);
    if (view.data.as_of) setClock(view.data.as_of);
    if (view.data.is_loop) openItems(view);
    if (about.live && !view.isClosed) follow(view);
  };
  // Reads take turns, so that the latest answer is shown.
  view.refresh = () => {
    view.isDue = true;
    return (view.reading ??= readWhileDue(view, read));
  };
  await read();
  const close = () => {
    view.isClosed = true;
    clearTimeout(view.again);
    view.live?.close();
  };
  return { title: `${stepId} · ${view.data.run}`, render: () => draw(view), close };
}

async function readWhileDue(view, read) {
  clearTimeout(view.again);
  Object.assign(view, { isBusy: true, error: null });
  view.redraw();
  while (view.isDue && !view.isClosed) {
    view.isDue = false;
    await read().catch((error) => {
      view.error = error.message;
      // The stream does not repeat what has changed.
      const isPassing = error.status === 0 || error.status >= 500;
      clearTimeout(view.again);
      if (view.live && isPassing) view.again = setTimeout(view.refresh, AGAIN_MS);
    });
  }
  Object.assign(view, { isBusy: false, reading: null });
  view.redraw();
}

function openItems(view) {
  const { run, step: shown } = view.data;
  const isLive = () => view.status === "live";
  // The stream brings the changes.
  if (view.items && !view.items.error && isLive()) return;
  view.items ??= new Items({ run, step: shown.id, redraw: view.redraw, onOpen: () => view.live?.reopen(), isLive });
  view.items.open(view.items.asked);
}

// The step is read again whenever the stream says so, until its run has ended.
function follow(view) {
  const { data } = view;
  if (!OPEN_RUN_STATES.has(data.run_state)) {
    view.live?.close();
    if (view.live) view.items?.open();
    Object.assign(view, { live: null, status: "" });
    return;
  }
  const pageOfItems = () => (view.items?.page ? path`&items=${`${view.items.number}:${data.step.id}`}` : "");
  view.live ??= new Live({
    path: () => `${path`/runs/${data.run}/steps/${data.step.id}/live?after=${view.data.at ?? ""}`}${pageOfItems()}`,
    onLine: ({ changed, items }) => {
      if (items?.[data.step.id]) view.items?.take(items[data.step.id]);
      if (!changed) return;
      view.refresh();
    },
    onStatus: (status, problem) => {
      Object.assign(view, { status, problem });
      if (status === "ended") Object.assign(view, { live: null, error: problem || null });
      view.redraw();
    },
  });
}

function draw(view) {
  const { data, items } = view;
  const { step: shown, run } = data;
  // The attempts have a table of their own.
  const facts = data.facts.filter(([name]) => name !== "attempts" || !data.attempts.length);
  const link = (id) => html`<a href=${to("runs", run, "steps", id)}>${foreign(id)}</a>`;
  return html`${crumbs(
      html`<a href=${to("workflows", data.workflow)}>${foreign(data.workflow)}</a>`,
      html`<a href=${to("runs", run)}>${foreign(run)}</a>`,
      ...(data.item ? [link(data.item.of)] : []),
    )}
    <h1>${foreign(shown.id)} ${state(shown.state)}${tag("tolerated", shown.tolerated)}</h1>
    ${asOf({ time: data.as_of, isBusy: view.isBusy, status: view.status, problem: view.problem, error: view.error, refresh: view.refresh })}
    ${stepActions({ id: run, state: data.run_state }, shown, view.refresh, data.why_fixed)}
    <section aria-label="Why it is where it is" class="why"><p>${sentence(data.text)}</p>
      ${factList(facts, (name, value) => (name === "log" ? outside(value) : sentence(value)))}
      ${data.notes.map((note) => html`<p class="warning">${sentence(note)}</p>`)}</section>
    ${times(data)} ${message(data)}
    ${neighbors("Blocked by", data.blocked_by.map((one) => one.step), link)}
    ${neighbors("Waits for", data.waits_for, link)}
    ${dependencies(data, link)}
    ${items ? section("Items", items.render()) : nothing}
    ${attempts(data)}
    ${data.item ? value("Item", data.item.value) : nothing}
    ${data.sent === null ? nothing : value("What was sent", data.sent)}
    ${outputs(data)}`;
}

function times({ step: shown, durations }) {
  const known = [
    ["started", moment(shown.started_at)],
    ["finished", moment(shown.finished_at)],
    ["duration", duration(shown.duration_s)],
  ].filter(([, text]) => text);
  const parts = Object.entries(DURATIONS).filter(([name]) => durations[name] >= SHORTEST_S);
  if (!known.length && !parts.length) return nothing;
  const line = ([name, words]) => html`<li>${duration(durations[name])} ${words}</li>`;
  return section("Times", html`${factList(known, (_, text) => text)}<ul class="lines">${parts.map(line)}</ul>`);
}

function message({ step: shown }) {
  if (!shown.message) return nothing;
  const reason = shown.reason ? html`<p>${foreign(shown.reason)}</p>` : nothing;
  return section("Message", html`${reason}${block("Message", clean(shown.message), "wrapped")}`);
}

function neighbors(title, ids, link) {
  if (!ids.length) return nothing;
  return section(title, html`<ul class="chips">${ids.map((id) => html`<li>${link(id)}</li>`)}</ul>`);
}

function dependencies({ dependencies: all, awaits_main_part: awaitsMain }, link) {
  if (!all.length && !awaitsMain) return nothing;
  const more = all.length - MOST_DEPENDENCIES;
  // A fate that only repeats the state is left out.
  const fate = (one) => (one.fate === one.state.toLowerCase() ? nothing : html` <span class="quiet">${one.fate}</span>`);
  const line = (one) => html`<li>${state(one.state)} ${link(one.step)}${fate(one)}</li>`;
  return section("Dependencies", html`<ul class="lines">
    ${awaitsMain ? html`<li>the main part of the run</li>` : nothing}
    ${all.slice(0, MOST_DEPENDENCIES).map(line)}
    ${more > 0 ? html`<li class="quiet">… and ${more.toLocaleString("en")} more</li>` : nothing}</ul>`);
}

function attempts({ attempts: all, attempts_text: text, step: shown }) {
  if (!all.length) return nothing;
  return section("Attempts", html`<p class="quiet">${foreign(text)}</p><table class="cards" aria-label="Attempts">
    ${headings("Attempt", "End", "Began", "Ended", "Waited", "Job", "Message", "Log")}
    <tbody>${all.map((one) => attempt(one, shown))}</tbody></table>`);
}

function attempt(one, shown) {
  const said = [one.reason, one.message].filter(Boolean).join(": ");
  const queued = one.queued_s >= SHORTEST_S ? ` (${duration(one.queued_s)} queued)` : "";
  return html`<tr>
    <th scope="row">${one.attempt}</th>
    <td data-name="End" class="number">${foreign(one.kind ?? shown.state)}</td>
    <td data-name="Began">${moment(one.claimed_at)}</td>
    <td data-name="Ended">${moment(one.ended_at)}</td>
    <td data-name="Waited" class="number">${waits(one)}</td>
    <td data-name="Job" class="job">${duration(one.job_s)}${queued} <span class="quiet">${foreign(one.job_id)}</span></td>
    <td data-name="Message">${said ? foreign(said) : nothing}</td>
    <td data-name="Log">${one.logs_url ? outside(one.logs_url) : nothing}</td>
  </tr>`;
}

function waits(one) {
  const parts = [[one.back_off_s, "back-off"], [one.submitting_s, "to be accepted"]];
  const known = parts.filter(([seconds]) => seconds >= SHORTEST_S);
  return known.map(([seconds, what]) => `${duration(seconds)} ${what}`).join(", ");
}

// Text with its line breaks; it can be scrolled with the keyboard.
function block(title, text, layout = "") {
  return html`<pre tabindex="0" class=${layout} aria-label=${title}><bdi>${text}</bdi></pre>`;
}

function value(title, shown) {
  return section(title, block(title, json(shown)));
}

function outputs({ outputs: found, declared_outputs: declared }) {
  if (Object.keys(found).length) return value("Outputs", found);
  if (!declared.length) return nothing;
  return section("Outputs", html`<p class="quiet">None yet; the step declares ${foreign(declared.join(", "))}.</p>`);
}
