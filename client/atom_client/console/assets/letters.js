// Replay and drop dead letters, with a preview of each.

import { openAction } from "./dialog.js";
import { foreign, sentence } from "./format.js";
import { html } from "./vendor/lit-html/lit-html.js";

export function openReplay(options, after) {
  openAction({ title: "Replay dead letters", confirm: "Replay", path: "/dead-letters/replay", options, show: listLetters, after });
}

export function openDrop(options, after) {
  openAction({
    title: "Drop dead letters", confirm: "Drop for good", isFinal: true, path: "/dead-letters/drop", options, show: listLetters, after,
  });
}

function listLetters(plan) {
  if (!plan.dead_letters.length) return html`<p>There are none of this kind.</p>`;
  return html`<ul>${plan.dead_letters.slice(0, 50).map(
    (one) => html`<li><code>${foreign(one.id)}</code> ${one.run_id ? html`of run ${foreign(one.run_id)}: ` : ""}${sentence(one.reason)}</li>`,
  )}</ul>${plan.dead_letters.length > 50 ? html`<p>and ${plan.dead_letters.length - 50} more</p>` : ""}`;
}
