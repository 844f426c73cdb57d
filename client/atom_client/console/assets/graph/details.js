// The details of the chosen node: its state, its dependencies and dependents, and a link to its step.

import { foreign } from "../format.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { stateText } from "./painter.js";

const MOST_NEIGHBORS = 12;
const MOST_MEMBERS = 50;

// `choose(node)` goes to another node; `unfold(node)` shows what a folded node stands for.
export function details({ plot, node, options, choose, unfold }) {
  const id = plot.ids[node];
  const members = plot.members.get(node);
  const { dependencies, dependents } = plot.around(node);
  const remark = members ? "" : options.remarkOf?.(id);
  return html`<section class="graph-details" aria-label="Chosen step">
    <h2>${members ? foreign(plot.name(node)) : link(options, id)}</h2>
    <p>${foreign(stateText(plot, node, { isLong: true }))}</p>
    <p class="quiet">${foreign(plot.note(node))}</p>
    ${remark ? html`<p>${foreign(remark)}</p>` : nothing}
    ${members ? html`<p><button type="button" @click=${() => unfold(node)}>Unfold ${members.length.toLocaleString("en")} steps</button></p>${memberList(members, options)}` : nothing}
    ${neighbors("Depends on", dependencies, plot, choose)} ${neighbors("Needed by", dependents, plot, choose)}
  </section>`;
}

function link(options, id) {
  const href = options.hrefOf?.(id);
  return href ? html`<a href=${href}>${foreign(id)}</a>` : foreign(id);
}

function memberList(members, options) {
  const more = members.length - MOST_MEMBERS;
  return html`<details><summary>Its steps</summary><ul class="plain">${members.slice(0, MOST_MEMBERS).map((id) => html`<li>${link(options, id)}${options.stateOf ? html` <span class="quiet">${options.stateOf(id) ?? ""}</span>` : nothing}</li>`)}
    ${more > 0 ? html`<li class="quiet">… and ${more.toLocaleString("en")} more</li>` : nothing}</ul></details>`;
}

function neighbors(word, nodes, plot, choose) {
  if (!nodes.length) return nothing;
  const more = nodes.length - MOST_NEIGHBORS;
  return html`<p class="graph-near"><span class="quiet">${word}</span> ${nodes.slice(0, MOST_NEIGHBORS).map(
    (node) => html`<button type="button" aria-label="${word} ${plot.name(node)}" @click=${() => choose(node)}>${foreign(plot.name(node))}</button> `,
  )}${more > 0 ? html`<span class="quiet">and ${more.toLocaleString("en")} more</span>` : nothing}</p>`;
}
