// Mark a step: end it without running it, as succeeded with the outputs that it declares, or as skipped.

import { to } from "./address.js";
import { path } from "./api.js";
import { choice, openAction, reasonField } from "./dialog.js";
import { clean } from "./format.js";
import { paramsForm } from "./params.js";
import { html } from "./vendor/lit-html/lit-html.js";

const MOST_OFFERED = 500;

// `step` is the one to mark; without it, the reader chooses one of `steps`.
export function openMark(run, redraw, { step = "", steps = null }) {
  // The fields for the outputs, as the latest preview described them.
  const form = { step: "", fields: [], values: {} };
  openAction({
    title: steps ? `Mark a step of run ${run.id}` : `Mark ${step} of run ${run.id}`,
    confirm: "Mark the step",
    path: path`/runs/${run.id}/mark`,
    about: run.id,
    options: { step, state: "succeeded", edits: 0, reason: "" },
    body: (options) => ({
      step: options.step.trim(), state: options.state, reason: options.reason,
      outputs: options.state === "succeeded" ? form.values : {},
    }),
    missing: (options) => (options.step.trim() ? "" : "Name the step first."),
    fields: (options, change, dialog) => fields(form, steps, options, change, dialog),
    show: (plan) => (plan.output_problems?.length ? html`<p class="problem">The outputs have problems.</p>` : ""),
    reword: (text) => text.replace(/`runs retry` then reruns/, "a retry then reruns"),
    link: () => [to("runs", run.id), `Run ${run.id}`],
    after: redraw,
  });
}

function fields(form, steps, options, change, dialog) {
  // Another step may declare other outputs.
  if (form.step !== options.step) Object.assign(form, { step: options.step, fields: [], values: {} });
  if (dialog.plan) form.fields = dialog.plan.outputs;
  const set = (name, text) => {
    if (text === undefined) delete form.values[name];
    else form.values[name] = text;
    change({ edits: options.edits + 1 }, { isTyping: true });
  };
  return html`${steps ? stepField(steps, options, change) : ""}
    <fieldset><legend>How it ends, without being run</legend>
      ${choice("state", "succeeded", "succeeded, as if its job had", options, change)}
      ${choice("state", "skipped", "skipped, without outputs", options, change)}
    </fieldset>
    ${options.state === "succeeded"
      ? paramsForm({
          legend: "Outputs", params: form.fields, values: form.values, problems: dialog.plan?.output_problems ?? [], change: set,
        })
      : ""}
    ${reasonField(options, change)}`;
}

function stepField(steps, options, change) {
  const offered = steps.filter((one) => one.state !== "SUCCEEDED").slice(0, MOST_OFFERED);
  return html`<label class="field"><span>Step <span class="quiet">(an id, or an item such as train[3])</span></span>
      <input type="text" spellcheck="false" autocomplete="off" list="steps-to-mark" .value=${options.step}
        @input=${(event) => change({ step: event.target.value }, { isTyping: true })}></label>
    <datalist id="steps-to-mark">${offered.map((one) => html`<option value=${one.id}>${clean(one.state)}</option>`)}</datalist>`;
}
