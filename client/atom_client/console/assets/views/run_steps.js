// The steps of a run as a table: filtered, searched and sorted here, since all of them have been read.

import { go, to, withQuery } from "../address.js";
import { clean, duration, foreign, secondsBetween, state } from "../format.js";
import { goToPage, moveInRows, pageNumber, pager, sortable, stateChoice, tag, TypedText } from "../parts.js";
import { STEP_STATES as STATES } from "../states.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { Items } from "./items.js";

const PAGE = 200;

// How each column compares two steps; `started` keeps the order in which they were read.
const ORDERS = {
  step: (a, b) => (a.id < b.id ? -1 : 1),
  state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
  attempts: (a, b) => (b.attempts ?? 0) - (a.attempts ?? 0),
  duration: (a, b, now) => (taken(b, now) ?? -1) - (taken(a, now) ?? -1),
};
const ASCENDING = new Set(["step", "state"]);

export function steps({ model, query, redraw }) {
  const typed = new TypedText((text) => change({ q: text }, { replace: true }), 100);
  const view = { model, query, redraw, typed, loops: new Map(), refreshes: model.refreshes };
  return {
    render: () => draw(view),
    update: (changed) => {
      view.query = changed.query;
    },
    // When the run has been read again, so are the items of its open loops.
    changed: () => {
      if (view.refreshes === model.refreshes) return;
      view.refreshes = model.refreshes;
      view.loops.forEach((items) => items.open());
    },
  };
}

function taken(step, now) {
  return step.duration_s ?? (step.state === "PENDING" ? null : secondsBetween(step.started_at, now));
}

// While the run is followed, the time of a step that has not ended goes on.
function lasting(view, step) {
  const goesOn = view.model.isLive && step.duration_s === undefined && step.state !== "PENDING" && step.started_at;
  if (goesOn) return html`<ticking-time since=${step.started_at}></ticking-time>`;
  return duration(taken(step, view.model.data.as_of));
}

function change(changes, options) {
  go(withQuery({ page: null, ...changes }), options);
}

// Return the steps that the address asks for, in its order.
function choose(all, query, now) {
  const text = (query.get("q") ?? "").toLowerCase();
  const states = new Set(query.getAll("state"));
  const order = ORDERS[query.get("sort")];
  const chosen = all.filter(
    (step) =>
      (!states.size || states.has(step.state)) &&
      (!text || step.id.toLowerCase().includes(text) || (step.remark ?? "").toLowerCase().includes(text)),
  );
  return order ? chosen.sort((a, b) => order(a, b, now)) : chosen;
}

function draw(view) {
  const { data } = view.model;
  const all = data.steps;
  if (!all.length) return html`<section aria-label="Steps"><p>The run has no steps to show.</p></section>`;
  const { query } = view;
  const chosen = choose(all, query, data.as_of);
  const counts = Object.fromEntries(STATES.map((name) => [name, 0]));
  for (const step of all) counts[step.state] += 1;
  const states = query.getAll("state");
  const offered = STATES.filter((name) => counts[name] || states.includes(name));
  const page = pageNumber(query, chosen.length, PAGE);
  const shown = chosen.slice((page - 1) * PAGE, page * PAGE);
  return html`<section aria-label="Steps">
    <search><form class="filters" aria-label="Which steps are listed" @submit=${(event) => event.preventDefault()}>
      <label class="field">Search ids and messages<input type="search" name="q" maxlength="300" autocomplete="off"
        spellcheck="false" .value=${live(view.typed.shown(query.get("q") ?? ""))}
        @input=${view.typed.onInput}></label>
      ${stateChoice({ states: offered, chosen: states, counts, choose: (chosenStates) => change({ state: chosenStates }) })}
      ${query.has("q") || query.has("state") ? html`<a href=${to("runs", data.run.id)}>Show all steps</a>` : nothing}
    </form></search>
    <p class="quiet" role="status">${describe(chosen, all, query, data)}</p>
    ${shown.length ? table(view, shown) : nothing}
    ${pager({ page, size: PAGE, total: chosen.length, noun: "step", label: "Pages of steps", open: goToPage })}
  </section>`;
}

function describe(chosen, all, query, data) {
  const states = query.getAll("state");
  const text = query.get("q");
  if (!states.length && !text) return data.count;
  const conditions = [states.length ? `is ${states.join(" or ")}` : "", text ? "has this text in its id or message" : ""];
  const what = conditions.filter(Boolean).join(" and ");
  if (!chosen.length) return html`No step ${foreign(what)}.`;
  return `${chosen.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} steps`;
}

function table(view, shown) {
  const order = view.query.get("sort") ?? "started";
  const sort = (chosen) => change({ sort: chosen === order ? null : chosen });
  const column = (name, key) =>
    sortable({ name, key, order, direction: ASCENDING.has(key) ? "ascending" : "descending", sort });
  return html`<table class="cards" aria-label="Steps" @keydown=${moveInRows}>
    <thead><tr>
      ${column("Step", "step")}${column("State", "state")}${column("Attempts", "attempts")}${column("Duration", "duration")}
      <th scope="col">Message</th>
    </tr></thead>
    <tbody>${repeat(shown, (step) => step.id, (step) => row(view, step))}</tbody>
  </table>`;
}

function row(view, step) {
  const { run } = view.model.data;
  const items = view.loops.get(step.id);
  const link = html`<a href=${to("runs", run.id, "steps", step.id)}>${foreign(step.id)}</a>`;
  return html`<tr>
      <th scope="row">${link}${tag("finally", step.phase === "finally")}</th>
      <td data-name="State">${state(step.state)}${tag("tolerated", step.tolerated)}</td>
      <td data-name="Attempts" class="number">${step.attempts || ""}</td>
      <td data-name="Duration" class="number">${lasting(view, step)}</td>
      <td data-name="Message">${step.items ? fold(view, step, items) : nothing}${step.remark ? foreign(step.remark) : nothing}</td>
    </tr>
    ${items ? html`<tr class="opened"><td colspan="5">${items.render()}</td></tr>` : nothing}`;
}

// A loop is one row with the counts of its items, until someone opens it.
function fold(view, step, items) {
  const toggle = () => {
    if (items) view.loops.delete(step.id);
    else {
      const opened = new Items(view.model.run.id, step.id, view.redraw);
      view.loops.set(step.id, opened);
      opened.open(1);
    }
    view.redraw();
  };
  return html`<button type="button" class="fold" aria-expanded=${items ? "true" : "false"}
    aria-label="Items of ${clean(step.id)}" @click=${toggle}><span aria-hidden="true">${items ? "▾" : "▸"}</span> Items</button> `;
}
