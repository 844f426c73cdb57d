// What is known about a run besides its steps: facts, results, parameters, errors, and what people changed.

import { to } from "../address.js";
import { foreign, json, moment, sentence } from "../format.js";
import { factList, headings, section } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

// What has a section or a place of its own.
const ELSEWHERE = new Set(["changed", "changes", "params", "run", "state"]);

export function details({ model }) {
  return { render: () => draw(model.data) };
}

function draw({ run, verdict, count, facts }) {
  const shown = facts.filter(([name]) => !ELSEWHERE.has(name));
  return html`
    ${section("Summary", [...verdict, count].map((text) => html`<p class="said">${sentence(text)}</p>`))}
    ${section("Facts", factList(shown, (name, value) => fact(run, name, value)))}
    ${values("Parameters", run.params, run.defaulted)}
    ${values("Outputs", run.outputs)}
    ${values("Environment", run.env)}
    ${run.errors.length ? section("Errors", html`<ul class="lines">${run.errors.map((one) => error(run, one))}</ul>`) : nothing}
    ${changes(run)}`;
}

function fact(run, name, value) {
  const link = (id) => html`<a href=${to("runs", id)}>${foreign(id)}</a> `;
  if (name === "workflow") return html`<a href=${to("workflows", run.workflow)}>${foreign(value)}</a>`;
  if (name === "repairs") return html`${link(run.repairs)}${foreign(value.slice(run.repairs.length))}`;
  if (name === "repaired by") return run.repaired_by.toReversed().map(link);
  return sentence(value);
}

function values(title, found, defaulted = []) {
  const names = Object.keys(found);
  if (!names.length) return nothing;
  const row = (name) => html`<div><dt>${foreign(name)}</dt>
    <dd><code><bdi>${json(found[name])}</bdi></code>${defaulted.includes(name) ? html` <span class="quiet">default</span>` : nothing}</dd></div>`;
  return section(title, html`<dl class="facts">${names.map(row)}</dl>`);
}

function error(run, { step, file, line, column, message, suggestion }) {
  const position = [file, line, column].filter(Boolean).join(":");
  return html`<li>${step ? html`<a href=${to("runs", run.id, "steps", step)}>${foreign(step)}</a> ` : nothing}
    ${position ? html`<code>${foreign(position)}</code> ` : nothing}
    ${foreign(message)}${suggestion ? html`; ${foreign(suggestion)}` : nothing}</li>`;
}

function changes(run) {
  if (!run.changes.length) return nothing;
  const row = (one) => html`<tr>
    <th scope="row">${moment(one.at)}</th>
    <td data-name="Who">${foreign(one.actor)}</td>
    <td data-name="What">${foreign(one.what)}</td>
    <td data-name="Why">${one.why ? foreign(one.why) : nothing}</td>
  </tr>`;
  const table = html`<table class="cards" aria-label="Changes by people">
    ${headings("When", "Who", "What", "Why")}<tbody>${run.changes.toReversed().map(row)}</tbody></table>`;
  return section("Changes by people", table);
}
