// Retry with an edited file or other parameters: a new run that keeps the unchanged steps of an ended one.

import { get, path } from "./api.js";
import { openAction, reasonField } from "./dialog.js";
import { drawFindings } from "./findings.js";
import { foreign, sentence } from "./format.js";
import { notify } from "./notices.js";
import { paramsForm } from "./params.js";
import { Source } from "./source.js";
import { html } from "./vendor/lit-html/lit-html.js";

const WHAT = { keep: "kept", run: "runs", remove: "removed" };

export async function openRepair(run, redraw) {
  const asked = location.hash;
  // However often it is confirmed, one run is started.
  const key = crypto.randomUUID();
  let form;
  try {
    form = await get(path`/runs/${run.id}/repair`);
  } catch (error) {
    return notify([error.message]);
  }
  // The form took a while, and the reader may have gone elsewhere.
  if (location.hash !== asked) return;
  const state = { source: null, params: form.params, values: Object.create(null), problem: form.problem ?? "" };
  openAction({
    title: `Retry run ${run.id} with an edited file or parameters`,
    confirm: "Start the new run",
    path: path`/runs/${run.id}/repair`,
    options: { edits: 0, reason: "" },
    body: ({ reason }) => ({ file: editedFile(state, form), params: state.values, key, reason }),
    fields: (options, change, dialog) => fields(state, form, options, change, dialog),
    show,
    link: (answer) => [`#/runs/${encodeURIComponent(answer.run_id)}`, `Run ${answer.run_id}`],
    after: redraw,
  });
}

function fields(state, form, options, change, dialog) {
  const edited = (soon) => change({ edits: options.edits + 1 }, { soon });
  state.source ??= new Source(edited, { ...form.file, hint: "it is sent with the request" });
  // Another file may declare other parameters.
  state.params = dialog.plan?.params ?? state.params;
  const set = (name, text) => {
    if (text === undefined) delete state.values[name];
    else state.values[name] = text;
    edited(true);
  };
  const problems = dialog.plan?.param_problems ?? [];
  return html`${state.problem && !state.source.file ? html`<p>${sentence(state.problem)}</p>` : ""}
    <details ?open=${!form.file}><summary>The file</summary>${state.source.render()}</details>
    ${paramsForm({ params: state.params, values: state.values, problems, change: set })}
    ${reasonField(options, change)}`;
}

// Unless it was edited, the run's own file is meant, in the generation that its bucket may keep.
function editedFile(state, form) {
  const file = state.source?.file ?? null;
  return file && file.text === form.file?.text ? null : file;
}

function show(plan) {
  if (plan.problems?.length) return drawFindings(plan.problems);
  if (plan.param_problems?.length) return html`<p class="problem">The parameters have problems.</p>`;
  if (!plan.steps?.length) return "";
  return html`<div class="scroll" tabindex="0" role="region" aria-label="What happens to each step"><table>
    <thead><tr><th scope="col">Step</th><th scope="col">What</th><th scope="col">Why</th></tr></thead>
    <tbody>${plan.steps.slice(0, 200).map((one) => html`<tr><th scope="row">${foreign(one.id)}</th>
      <td>${WHAT[one.what] ?? one.what}</td><td>${foreign(one.why)}</td></tr>`)}</tbody></table></div>
    ${plan.steps.length > 200 ? html`<p class="quiet">and ${plan.steps.length - 200} more steps</p>` : ""}`;
}
