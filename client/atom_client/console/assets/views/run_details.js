// What is known of a run besides its steps: facts, results, parameters, errors, and what people changed.

import { to } from "../address.js";
import { foreign, json, moment, sentence } from "../format.js";
import { factList } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

// What has a section or a place of its own.
const ELSEWHERE = new Set(["changed", "changes", "params", "run", "state"]);

export function details({ model }) {
  return { render: () => draw(model.data) };
}

function draw(data) {
  const { run } = data;
  return html`
    <section aria-label="Summary"><h2>Summary</h2>${data.verdict.map((text) => html`<p class="said">${sentence(text)}</p>`)}
      ${data.count ? html`<p>${data.count}</p>` : nothing}</section>
    <section aria-label="Facts"><h2>Facts</h2>${factList(data.facts.filter(([name]) => !ELSEWHERE.has(name)), (name, value) => fact(run, name, value))}</section>
    ${values("Parameters", run.params, (name) => (run.defaulted.includes(name) ? "default" : ""))}
    ${values("Outputs", run.outputs)}
    ${values("Environment", run.env)}
    ${errors(run)} ${changes(run)}`;
}

function fact(run, name, value) {
  if (name === "workflow") return html`<a href=${to("workflows", run.workflow)}>${foreign(value)}</a>`;
  if (name === "repairs") return html`${foreign(value)} <a href=${to("runs", run.repairs)} aria-label="The run that this one repairs">→</a>`;
  if (name === "repaired by") return [...run.repaired_by].reverse().map((id) => html`<a href=${to("runs", id)}>${foreign(id)}</a> `);
  return foreign(value);
}

function values(title, found, remark = () => "") {
  const names = Object.keys(found);
  if (!names.length) return nothing;
  return html`<section aria-label=${title}><h2>${title}</h2><dl class="facts">${names.map(
    (name) => html`<div><dt>${foreign(name)}</dt><dd><code><bdi>${json(found[name])}</bdi></code> <span class="quiet">${remark(name)}</span></dd></div>`,
  )}</dl></section>`;
}

function errors(run) {
  if (!run.errors.length) return nothing;
  return html`<section aria-label="Errors"><h2>Errors</h2><ul class="lines">${run.errors.map((error) => {
    const place = ["file", "line", "column"].map((name) => error[name]).filter(Boolean).join(":");
    return html`<li>${error.step ? html`<a href=${to("runs", run.id, "steps", error.step)}>${foreign(error.step)}</a> ` : nothing}${place ? html`<code>${foreign(place)}</code> ` : nothing}${foreign(error.message)}${error.suggestion ? html`; ${foreign(error.suggestion)}` : nothing}</li>`;
  })}</ul></section>`;
}

function changes(run) {
  if (!run.changes.length) return nothing;
  return html`<section aria-label="Changes by people"><h2>Changes by people</h2><div class="scroll"><table>
    <thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">Why</th></tr></thead>
    <tbody>${run.changes.toReversed().map((one) => html`<tr><td>${moment(one.at)}</td><td>${foreign(one.actor)}</td><td>${foreign(one.what)}</td><td>${foreign(one.why)}</td></tr>`)}</tbody>
  </table></div></section>`;
}
