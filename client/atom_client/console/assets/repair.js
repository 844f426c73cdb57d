// Retry with an edited file or other parameters: a new run that keeps the unchanged steps of an ended one.

import { get, path } from "./api.js";
import { linkToRun } from "./begun.js";
import { openAction, reasonField } from "./dialog.js";
import { drawFindings } from "./findings.js";
import { counted, foreign, sentence } from "./format.js";
import { paramsForm } from "./params.js";
import { SENT, Source } from "./source.js";
import { html } from "./vendor/lit-html/lit-html.js";

const NO_TEXT = "The file is empty: paste or choose one, or open this again to keep the file of the run.";
const WHAT = { keep: "kept", run: "runs", remove: "removed" };

export function openRepair(run, redraw) {
  const state = { form: null, source: null, params: [], values: {} };
  openAction({
    title: `Retry run ${run.id} with an edited file or parameters`,
    confirm: "Start the new run",
    path: path`/runs/${run.id}/repair`,
    about: run.id,
    prepare: async () => {
      state.form = await get(path`/runs/${run.id}/repair`);
      state.params = state.form.params;
    },
    options: { edits: 0, reason: "" },
    missing: () => (state.form?.file && state.source && !state.source.file ? NO_TEXT : ""),
    body: ({ reason }) => ({ file: editedFile(state), params: state.values, reason }),
    fields: (options, change, dialog) => fields(state, options, change, dialog),
    show,
    link: (answer) => linkToRun(answer.run_id),
    after: redraw,
  });
}

function fields(state, options, change, dialog) {
  const { form } = state;
  const edited = (isTyping) => change({ edits: options.edits + 1 }, { isTyping });
  state.source ??= new Source(edited, { ...form.file, fate: SENT });
  // Another file may declare other parameters.
  state.params = dialog.plan?.params ?? state.params;
  const set = (name, text) => {
    if (text === undefined) delete state.values[name];
    else state.values[name] = text;
    edited(true);
  };
  const problems = dialog.plan?.param_problems ?? [];
  return html`${form.problem && !state.source.file ? html`<p>${sentence(form.problem)}</p>` : ""}
    <details ?open=${!form.file}><summary>The file</summary>${state.source.render()}</details>
    ${paramsForm({ params: state.params, values: state.values, problems, change: set })}
    ${reasonField(options, change)}`;
}

// Unless the file was edited, the run's own is used, in the generation that its bucket may keep.
function editedFile({ source, form }) {
  const file = source?.file ?? null;
  return file && file.text === form.file?.text ? null : file;
}

function show(plan) {
  if (plan.problems?.length) return drawFindings(plan.problems);
  if (plan.param_problems?.length) return html`<p class="problem">The parameters have problems.</p>`;
  if (!plan.steps?.length) return "";
  return html`<div class="scroll" tabindex="0" role="region" aria-label="What happens to each step"><table>
    <thead><tr><th scope="col">Step</th><th scope="col">What</th><th scope="col">Why</th></tr></thead>
    <tbody>${plan.steps.slice(0, 200).map((one) => html`<tr><th scope="row">${foreign(one.id)}</th>
      <td>${WHAT[one.what] ?? one.what}</td><td>${sentence(one.why)}</td></tr>`)}</tbody></table></div>
    ${plan.steps.length > 200 ? html`<p class="quiet">and ${counted(plan.steps.length - 200, "more step")}</p>` : ""}`;
}
