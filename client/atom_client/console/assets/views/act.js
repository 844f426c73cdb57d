// The actions on a run, on a page of their own.

import { runActions, stepActions } from "../actions.js";
import { get, path } from "../api.js";
import { foreign, state } from "../format.js";
import { html } from "../vendor/lit-html/lit-html.js";

const MOST_STEPS = 200;

export async function actions({ params: [id], redraw }) {
  const read = () => get(path`/runs/${id}`);
  let found = await read();
  const again = async () => {
    found = await read();
    redraw();
  };
  return { title: `Actions on ${id}`, render: () => draw(found, again) };
}

function draw({ run, steps }, again) {
  return html`<h1>Run ${foreign(run.id)} ${state(run.state)}</h1>
    ${runActions(run, again)}
    <div class="scroll" tabindex="0" role="region" aria-label="Steps"><table>
      <thead><tr><th scope="col">Step</th><th scope="col">State</th><th scope="col">Actions</th></tr></thead>
      <tbody>${steps.slice(0, MOST_STEPS).map((step) => html`<tr><th scope="row">${foreign(step.id)}</th>
        <td>${state(step.state)}</td><td>${stepActions(run, step, again)}</td></tr>`)}</tbody>
    </table></div>`;
}
