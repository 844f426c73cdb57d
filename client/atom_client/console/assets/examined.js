// A file before a run: its problems, its plan, and its graph as a list.

import { drawFindings } from "./findings.js";
import { clean, counted, foreign } from "./format.js";
import { html } from "./vendor/lit-html/lit-html.js";

const MOST_STEPS = 500;
const DOLLARS = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

// `check` is the server's examination of the file.
export function drawExamined(check) {
  const [file] = check.files;
  return html`<p class=${check.valid ? "" : "problem"}>${
      check.valid ? `✔ Valid, ${counted(file.steps, "step")}.` : `✘ ${counted(file.problems.length, "problem")}: no run can be started from it.`}</p>
    ${drawFindings(check.findings)}`;
}

export function drawPlan(check) {
  if (!check.plan) {
    if (!check.valid) return "";
    return html`<p>The plan is shown once every parameter has a valid value.</p>`;
  }
  return html`<pre tabindex="0" aria-label="The plan">${clean(check.plan_lines.join("\n"))}</pre>
    ${check.plan.run_usd === null ? "" : html`<p class="quiet">A run costs about $${DOLLARS.format(check.plan.run_usd)}, not counting
      the machines that run its jobs; <code>atom-workflows cost</code> gives the details.</p>`}`;
}

// The steps of a picture and what each comes after, for those who cannot see a graph, or if there is none.
export function drawSteps(picture) {
  const more = picture.steps.length - MOST_STEPS;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Steps"><table>
      <thead><tr><th scope="col">Step</th><th scope="col">After</th><th scope="col">Notes</th></tr></thead>
      <tbody>${picture.steps.slice(0, MOST_STEPS).map((step) => html`<tr><th scope="row">${foreign(step.id)}</th>
        <td>${foreign(step.after.join(", "))}</td>
        <td>${foreign([...(step.finally ? ["under finally"] : []), ...(step.kind === "job" ? [] : [step.kind]), ...step.notes].join("; "))}</td></tr>`)}
      </tbody></table></div>
    ${more > 0 ? html`<p class="quiet">and ${counted(more, "more step")}</p>` : ""}`;
}
