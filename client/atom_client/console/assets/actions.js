// The actions on a run or a step: buttons that open a dialog, which first shows what will be done.

import { about } from "./about.js";
import { go } from "./address.js";
import { path } from "./api.js";
import { choice, openAction, reasonField } from "./dialog.js";
import { clean, sentence } from "./format.js";
import { openMark } from "./mark.js";
import { openRepair } from "./repair.js";
import { OPEN_RUN_STATES } from "./states.js";
import { html } from "./vendor/lit-html/lit-html.js";

const NOT_BEGUN = "Its steps can be marked once it has begun.";
const MARKED = { SUCCEEDED: "It has succeeded, so there is nothing to mark." };
const NEVER_BEGUN = {
  INVALID: "It could not begin, for the reason given here, so it has no steps to run. Fix the problem and start the file again.",
  SKIPPED: "It never began: start its workflow again.",
};

// Return the buttons for a run, as `--json` describes it. `fixed` says why it cannot be changed, if so, and `redraw`
// is called after each change.
export function runActions(run, redraw, fixed, steps) {
  const hasEnded = !OPEN_RUN_STATES.has(run.state);
  const never = NEVER_BEGUN[run.state];
  const buttons = hasEnded
    ? [
        ["Retry …", () => openRetry(run, redraw), never],
        ["Retry with an edited file or parameters …", () => openRepair(run, redraw), never],
        ["Start the file again", () => go(`#/start?${new URLSearchParams({ again: run.id })}`), ""],
      ]
    : [["Cancel …", () => openCancel(run, redraw), ""]];
  const mark = ["Mark a step …", () => openMark(run, redraw, { steps }), never ?? (run.started_at ? "" : NOT_BEGUN)];
  return toolbar("Actions on this run", [...buttons, mark], fixed);
}

// Return the buttons for a step or an item of a run.
export function stepActions(run, step, redraw, fixed) {
  const wait = !OPEN_RUN_STATES.has(run.state) ? NEVER_BEGUN[run.state] : "It can run again once the run has ended.";
  return toolbar("Actions on this step", [
    ["Retry from here …", () => openRetry(run, redraw, { mode: "from", names: step.id }), wait],
    ["Retry only this …", () => openRetry(run, redraw, { mode: "only", names: step.id }), wait],
    ["Mark …", () => openMark(run, redraw, { step: step.id }), NEVER_BEGUN[run.state] ?? MARKED[step.state] ?? ""],
  ], fixed);
}

// Draw buttons, each [words, act, why it cannot be used]. Each reason is shown once, after the buttons.
export function toolbar(label, buttons, fixed = about.why_read_only) {
  const shown = buttons.map(([words, act, why]) => [words, act, fixed || why]);
  const reasons = [...new Set(shown.map(([, , why]) => why).filter(Boolean))];
  return html`<div class="toolbar" role="group" aria-label=${clean(label)}>
    ${shown.map(([words, act, why]) => html`<button type="button" aria-disabled=${why ? "true" : "false"} @click=${() => why || act()}>${words}</button>`)}
    ${reasons.map((why) => html`<span class="quiet">${sentence(why)}</span>`)}
  </div>`;
}

function openCancel(run, redraw) {
  openAction({
    title: `Cancel run ${run.id}`,
    confirm: "Cancel the run",
    isFinal: true,
    path: path`/runs/${run.id}/cancel`,
    about: run.id,
    // Once the steps under `finally` run, they are all that is left to end.
    options: { now: Boolean(run.main_state), reason: "" },
    fields: (options, change) => html`
      <fieldset><legend>Steps under <code>finally</code>, if there are any</legend>
        ${choice("now", false, "run before the run ends", options, change)}
        ${choice("now", true, "do not run; end now", options, change)}
      </fieldset>
      ${reasonField(options, change)}`,
    after: redraw,
  });
}

function openRetry(run, redraw, preset = {}) {
  const succeeded = run.state === "SUCCEEDED";
  openAction({
    title: `Retry run ${run.id}`,
    confirm: "Run these steps again",
    path: path`/runs/${run.id}/retry`,
    about: run.id,
    options: { mode: succeeded ? "from" : "rest", names: "", failed: false, reason: "", ...preset },
    body: retryBody,
    missing: ({ mode, names }) => (mode === "rest" || names.trim() ? "" : "Name the steps first."),
    fields: (options, change) => retryFields(options, change, succeeded),
    after: redraw,
  });
}

// Ids contain neither spaces nor commas.
function retryBody({ mode, names, failed, reason }) {
  const steps = names.split(/[\s,]+/).filter(Boolean);
  if (mode === "rest") return { reason };
  return { [mode]: steps, failed: failed && steps.length > 0, reason };
}

function retryFields(options, change, succeeded) {
  const named = options.mode !== "rest";
  return html`<fieldset><legend>What runs again</legend>
      ${succeeded ? "" : choice("mode", "rest", "what did not succeed", options, change)}
      ${choice("mode", "from", "these steps and everything after them", options, change)}
      ${choice("mode", "only", "only these steps, and what did not succeed after them", options, change)}
    </fieldset>
    ${named
      ? html`<label class="field"><span>Steps <span class="quiet">(ids, or items such as train[3])</span></span>
            <input type="text" spellcheck="false" autocomplete="off" .value=${options.names}
              @input=${(event) => change({ names: event.target.value }, { isTyping: true })}></label>
          <label class="check"><input type="checkbox" .checked=${options.failed}
            @change=${(event) => change({ failed: event.target.checked })}> also what did not succeed</label>`
      : ""}
    ${reasonField(options, change)}`;
}
