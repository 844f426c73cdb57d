// A step or an item: its state and why, its times, its attempts, what was sent, and its outputs.

import { to } from "../address.js";
import { get, path } from "../api.js";
import { clean, duration, foreign, json, moment, outside, sentence, state } from "../format.js";
import { asOf, factList } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Items } from "./items.js";

const MOST_DEPENDENCIES = 50;

// As `runs show --step` words them.
const DURATIONS = {
  dependencies_s: "waited for its dependencies",
  place_s: "waited for a place",
  dispatch_s: "waited for a dispatcher",
  submitting_s: "until submissions were accepted",
  job_s: "in jobs",
  queued_s: "of that before they were running",
  back_off_s: "in back-off",
};

export async function step({ params: [runId, stepId], redraw }) {
  const view = { data: null, items: null, isBusy: false, error: null };
  const read = async () => {
    view.data = await get(path`/runs/${runId}/steps/${stepId}`);
    if (!view.data.is_loop) return;
    view.items ??= new Items(view.data.run, view.data.step.id, redraw);
    view.items.open();
  };
  view.refresh = async () => {
    Object.assign(view, { isBusy: true, error: null });
    redraw();
    await read().catch((error) => (view.error = error.message));
    view.isBusy = false;
    redraw();
  };
  await read();
  return { title: `${stepId} · ${view.data.run}`, render: () => draw(view) };
}

function draw(view) {
  const { data, items } = view;
  const { step: shown, run } = data;
  const link = (id) => html`<a href=${to("runs", run, "steps", id)}>${foreign(id)}</a>`;
  return html`<p class="crumbs"><a href="#/runs">Runs</a> › <a href=${to("workflows", data.workflow)}>${foreign(data.workflow)}</a> › <a href=${to("runs", run)}>${foreign(run)}</a> ›${data.item ? html` ${link(data.item.of)} ›` : nothing}</p>
    <h1>${foreign(shown.id)} ${state(shown.state)}${shown.tolerated ? html` <span class="tag">tolerated</span>` : nothing}</h1>
    ${asOf({ time: data.as_of, isBusy: view.isBusy, error: view.error, refresh: view.refresh })}
    <section aria-label="Why it is where it is" class="why"><p>${sentence(data.text)}</p>${factList(data.facts, (name, value) => (name === "log" ? outside(value) : sentence(value)))}
      ${data.notes.map((note) => html`<p class="warning">${sentence(note)}</p>`)}</section>
    ${times(data)} ${message(data)}
    ${neighbors("Blocked by", data.blocked_by.map((one) => one.step), link)}
    ${neighbors("Waits for", data.waits_for, link)}
    ${dependencies(data, link)}
    ${items ? html`<section aria-label="Items"><h2>Items</h2>${items.render()}</section>` : nothing}
    ${attempts(data)}
    ${data.item ? value("Item", data.item.value) : nothing}
    ${data.sent === null ? nothing : value("What was sent", data.sent)}
    ${outputs(data)}`;
}

function times({ step: shown, durations }) {
  const parts = Object.entries(DURATIONS).filter(([name]) => durations[name] >= 0.001);
  const facts = [["started", moment(shown.started_at)], ["finished", moment(shown.finished_at)], ["duration", duration(shown.duration_s)]].filter(([, value]) => value);
  if (!facts.length && !parts.length) return nothing;
  return html`<section aria-label="Times"><h2>Times</h2>${factList(facts, (_, value) => value)}
    ${parts.length ? html`<ul class="lines">${parts.map(([name, words]) => html`<li>${duration(durations[name])} ${words}</li>`)}</ul>` : nothing}</section>`;
}

function message({ step: shown }) {
  if (!shown.message) return nothing;
  return html`<section aria-label="Message"><h2>Message</h2>${shown.reason ? html`<p>${foreign(shown.reason)}</p>` : nothing}<pre tabindex="0" aria-label="Message"><bdi>${clean(shown.message)}</bdi></pre></section>`;
}

function neighbors(title, ids, link) {
  if (!ids.length) return nothing;
  return html`<section aria-label=${title}><h2>${title}</h2><ul class="chips">${ids.map((id) => html`<li>${link(id)}</li>`)}</ul></section>`;
}

function dependencies({ dependencies: all, awaits_main_part }, link) {
  if (!all.length && !awaits_main_part) return nothing;
  const shown = all.slice(0, MOST_DEPENDENCIES);
  return html`<section aria-label="Dependencies"><h2>Dependencies</h2><ul class="lines">
    ${awaits_main_part ? html`<li>the main part of the run</li>` : nothing}
    ${shown.map((one) => html`<li>${state(one.state)} ${link(one.step)} <span class="quiet">${one.fate === one.state.toLowerCase() ? "" : one.fate}</span></li>`)}
    ${all.length > shown.length ? html`<li class="quiet">… and ${(all.length - shown.length).toLocaleString("en")} more</li>` : nothing}</ul></section>`;
}

function attempts({ attempts: all, attempts_text, step: shown }) {
  if (!all.length) return nothing;
  return html`<section aria-label="Attempts"><h2>Attempts</h2><p class="quiet">${foreign(attempts_text)}</p><table class="cards" aria-label="Attempts">
    <thead><tr><th scope="col">Attempt</th><th scope="col">End</th><th scope="col">Began</th><th scope="col">Ended</th><th scope="col">Waited</th><th scope="col">Job</th><th scope="col">Message</th><th scope="col">Log</th></tr></thead>
    <tbody>${all.map((one) => html`<tr>
      <th scope="row">${one.attempt}</th>
      <td data-name="End" class="number">${foreign(one.kind ?? shown.state)}</td>
      <td data-name="Began">${moment(one.claimed_at)}</td>
      <td data-name="Ended">${moment(one.ended_at)}</td>
      <td data-name="Waited" class="number">${waits(one)}</td>
      <td data-name="Job" class="job">${duration(one.job_s)}${one.queued_s >= 0.001 ? ` (${duration(one.queued_s)} queued)` : ""} <span class="quiet">${foreign(one.job_id)}</span></td>
      <td data-name="Message">${one.reason || one.message ? foreign([one.reason, one.message].filter(Boolean).join(": ")) : nothing}</td>
      <td data-name="Log">${one.logs_url ? outside(one.logs_url) : nothing}</td>
    </tr>`)}</tbody></table></section>`;
}

function waits(one) {
  const parts = [[one.back_off_s, "back-off"], [one.submitting_s, "to be accepted"]];
  return parts.filter(([seconds]) => seconds >= 0.001).map(([seconds, what]) => `${duration(seconds)} ${what}`).join(", ");
}

function value(title, shown) {
  return html`<section aria-label=${title}><h2>${title}</h2><pre tabindex="0" aria-label=${title}><bdi>${json(shown)}</bdi></pre></section>`;
}

function outputs({ outputs: found, declared_outputs }) {
  if (Object.keys(found).length) return value("Outputs", found);
  if (!declared_outputs.length) return nothing;
  return html`<section aria-label="Outputs"><h2>Outputs</h2><p class="quiet">None yet; it declares ${foreign(declared_outputs.join(", "))}.</p></section>`;
}
