// The list of runs: filtered, searched and paged.

import { get } from "../api.js";
import { counted, duration, foreign, moment, secondsSince, state } from "../format.js";
import { html } from "../vendor/lit-html/lit-html.js";

export async function runs({ query, redraw }) {
  const page = await get(`/runs?${query}`);
  return { title: "Runs", render: () => draw(page) };
}

function draw(page) {
  if (!page.runs.length) return html`<h1>Runs</h1><p>There are no runs yet.</p>`;
  return html`<h1>Runs</h1>
    <p class="quiet">${counted(page.total, "run")}</p>
    <div class="scroll"><table>
      <thead><tr><th scope="col">Run</th><th scope="col">Workflow</th><th scope="col">State</th>
        <th scope="col">Created</th><th scope="col">Duration</th></tr></thead>
      <tbody>${page.runs.map(row)}</tbody>
    </table></div>`;
}

function row(run) {
  return html`<tr>
    <th scope="row"><a href="#/runs/${encodeURIComponent(run.run_id)}">${foreign(run.run_id)}</a></th>
    <td>${foreign(run.workflow)}</td>
    <td>${state(run.state)}</td>
    <td>${moment(run.created_at)}</td>
    <td>${duration(run.duration_s ?? secondsSince(run.started_at))}</td>
  </tr>`;
}
