// The steps of a run as a table: filtered, searched and sorted here, since all of them have been read.

import { go, to, withQuery } from "../address.js";
import { clean, duration, foreign, secondsBetween, sentence, state } from "../format.js";
import { goToPage, moveInRows, pageNumber, pager, sortable, stateChoice, tag, TypedText } from "../parts.js";
import { ENDED_STEP_STATES, STEP_STATES as STATES } from "../states.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { live } from "../vendor/lit-html/directives/live.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { Items } from "./items.js";

const PAGE_SIZE = 200;

// How each column compares two steps; `started` keeps the order from the server.
const ORDERS = {
  step: (a, b) => (a.id < b.id ? -1 : 1),
  state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
  attempts: (a, b) => (b.attempts ?? 0) - (a.attempts ?? 0),
  duration: (a, b, now) => (taken(b, now) ?? -1) - (taken(a, now) ?? -1),
};
const ASCENDING = new Set(["step", "state"]);

export function steps({ model, query, redraw }) {
  const typed = new TypedText((text) => change({ q: text }, { replace: true }), 100);
  const view = { model, query, redraw, typed, loops: new Map(), refreshes: model.refreshes, wasLive: model.isLive };
  model.watchItems({
    pages: () => [...view.loops].filter(([, items]) => items.page).map(([step, items]) => [step, items.number]),
    take: (news) => {
      for (const [step, changed] of Object.entries(news)) view.loops.get(step)?.take(changed);
    },
  });
  return {
    render: () => draw(view),
    update: (changed) => {
      view.query = changed.query;
    },
    // When the run was read again or has ended, so are the items of its open loops.
    changed: () => {
      const hasEnded = view.wasLive && model.status === "ended";
      view.wasLive = model.isLive;
      if (view.refreshes === model.refreshes && !hasEnded) return;
      view.refreshes = model.refreshes;
      view.loops.forEach((items) => items.open());
    },
    close: () => model.watchItems(null),
  };
}

function taken(step, now) {
  return step.duration_s ?? (step.state === "PENDING" ? null : secondsBetween(step.started_at, now));
}

// While the page is live, the duration of a step that has not ended keeps growing.
function lasting(view, step) {
  const goesOn = view.model.isLive && step.duration_s === undefined && step.state !== "PENDING" && step.started_at;
  if (goesOn) return html`<ticking-time since=${step.started_at}></ticking-time>`;
  return duration(taken(step, view.model.data.as_of));
}

function change(changes, options) {
  go(withQuery({ page: null, ...changes }), options);
}

// Return the steps, with those that have not begun at the end, nearest first; `next` has the nearest ones.
function nearestFirst(all, next) {
  if (!next.length) return all;
  const places = new Map(next.map((one, place) => [one.id, place]));
  const isWaiting = (step) => step.state === "PENDING";
  const place = (step) => (step.phase === "finally" ? next.length + 1 : 0) + (places.get(step.id) ?? next.length);
  return [...all.filter((step) => !isWaiting(step)), ...all.filter(isWaiting).sort((a, b) => place(a) - place(b))];
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
  const next = data.next ?? [];
  const chosen = choose(nearestFirst(all, next), query, data.as_of);
  view.waits = new Map(next.map((one) => [one.id, one.text]));
  const counts = Object.fromEntries(STATES.map((name) => [name, 0]));
  for (const step of all) counts[step.state] += 1;
  const states = query.getAll("state");
  const offered = STATES.filter((name) => counts[name] || states.includes(name));
  const page = pageNumber(query, chosen.length, PAGE_SIZE);
  const shown = chosen.slice((page - 1) * PAGE_SIZE, page * PAGE_SIZE);
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
    ${pager({ page, size: PAGE_SIZE, total: chosen.length, noun: "step", label: "Pages of steps", open: goToPage })}
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
      <td data-name="Message">${step.items ? fold(view, step, items) : nothing}${step.remark ? sentence(step.remark) : nothing}${waits(view, step)}</td>
    </tr>
    ${items ? html`<tr class="opened"><td colspan="5">${items.render()}</td></tr>` : nothing}`;
}

// Why a step that is near has not begun or been retried yet.
function waits(view, step) {
  const text = ENDED_STEP_STATES.has(step.state) || step.state === "RUNNING" ? "" : view.waits.get(step.id);
  return text ? html` <span class="quiet">${sentence(text)}</span>` : nothing;
}

// A loop is one row with the counts of its items, until someone opens it.
function fold(view, step, items) {
  const toggle = () => {
    if (items) {
      view.loops.delete(step.id);
      view.model.itemsChanged();
    } else {
      const { model, redraw } = view;
      const opened = new Items({ run: model.run.id, step: step.id, redraw, onOpen: () => model.itemsChanged(), isLive: () => model.isLive });
      view.loops.set(step.id, opened);
      opened.open(1);
    }
    view.redraw();
  };
  return html`<button type="button" class="fold" aria-expanded=${items ? "true" : "false"}
    aria-label="Items of ${clean(step.id)}" @click=${toggle}><span aria-hidden="true">${items ? "▾" : "▸"}</span> Items</button> `;
}
