// Parts that several views share: a refresh bar, pages, choices of states, and tables with arrow-key navigation.

import { address, go, withQuery } from "./address.js";
import { counted, moment, sentence, state } from "./format.js";
import { html, nothing } from "./vendor/lit-html/lit-html.js";

const STATUSES = {
  live: html`<strong class="live"><span aria-hidden="true">●</span> Live</strong>, last change`,
  lost: html`<strong class="lost">Connection lost, trying again</strong>; as of`,
};

// Say when a view was read. `status` is "live" if changes appear by themselves, or "lost", with a `problem`, if they
// currently cannot.
export function asOf({ time, isBusy, status = "", problem = "", error = null, refresh }) {
  return html`<p class="as-of" data-status=${status}>
    <span role="status">${time ? STATUSES[status] ?? "As of" : nothing}</span> ${moment(time)}
    <button type="button" aria-disabled=${isBusy ? "true" : "false"} @click=${() => isBusy || refresh()}>Refresh</button>
    ${isBusy ? html`<span class="quiet" role="status">Reading …</span>` : nothing}
  </p>
  ${status === "lost" && problem ? html`<p class="warning">${sentence(problem)}</p>` : nothing}
  ${error ? html`<p class="problem" role="alert">${sentence(error)}</p>` : nothing}`;
}

// Buttons to the pages of a list; nothing if there is only one.
export function pager({ page, size, total, noun, open, label }) {
  const pages = Math.max(1, Math.ceil(total / size));
  if (pages === 1) return nothing;
  const begin = (page - 1) * size;
  const number = (one) => one.toLocaleString("en");
  const button = (name, target, isOff) =>
    html`<button type="button" aria-disabled=${isOff ? "true" : "false"} @click=${() => isOff || open(target)}>${name}</button>`;
  return html`<nav class="pager" aria-label=${label}>
    ${button("First", 1, page === 1)} ${button("Previous", page - 1, page === 1)}
    <span>${number(begin + 1)} to ${number(Math.min(begin + size, total))} of ${counted(total, noun)}</span>
    ${button("Next", page + 1, page === pages)} ${button("Last", pages, page === pages)}
  </nav>`;
}

// The number of the page that the address asks for, or of the last one.
export function pageNumber(query, total, size) {
  const asked = Number.parseInt(query.get("page") ?? "1", 10) || 1;
  return Math.min(Math.max(1, Math.ceil(total / size)), Math.max(1, asked));
}

export function goToPage(number) {
  go(withQuery({ page: number === 1 ? null : number }));
}

// A part of a view with a heading.
export function section(title, content) {
  return html`<section aria-label=${title}><h2>${title}</h2>${content}</section>`;
}

// The headings of columns that cannot be sorted.
export function headings(...names) {
  return html`<thead><tr>${names.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>`;
}

// The views above one, as links.
export function crumbs(...links) {
  const all = [html`<a href="#/runs">Runs</a>`, ...links];
  return html`<nav class="crumbs" aria-label="Breadcrumbs">${all.map((link) => html`${link} › `)}</nav>`;
}

// A mark beside a name or a state.
export function tag(word, isShown) {
  return isShown ? html` <span class="tag">${word}</span>` : nothing;
}

// Buttons that choose states; `counts` are shown if they are known.
export function stateChoice({ states, chosen, counts = null, choose }) {
  const toggle = (name) => choose(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
  return html`<div class="choice" role="group" aria-label="States">${states.map(
    (name) => html`<button type="button" aria-pressed=${chosen.includes(name) ? "true" : "false"} @click=${() => toggle(name)}
      >${state(name)}${counts ? html` <span class="quiet">${counts[name].toLocaleString("en")}</span>` : nothing}</button>`,
  )}</div>`;
}

// The heading of a column by which rows can be sorted. `order` names the current one.
export function sortable({ name, key, order, direction = "descending", sort }) {
  const isCurrent = order === key;
  const sign = isCurrent ? (direction === "ascending" ? " ▲" : " ▼") : " ↕";
  return html`<th scope="col" aria-sort=${isCurrent ? direction : "none"}><button type="button" class="sort"
    @click=${() => sort(key)}>${name}<span aria-hidden="true">${sign}</span></button></th>`;
}

// Arrow keys, Home and End move between the links that begin a table's rows while one of those has the focus.
export function moveInRows(event) {
  const links = [...event.currentTarget.querySelectorAll("tbody > tr > th > a")];
  const at = links.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (event.defaultPrevented || at < 0 || next === undefined || event.altKey || event.ctrlKey || event.metaKey || !links[next]) return;
  event.preventDefault();
  links[next].focus();
}

// Facts as a list of names and values; a name that repeats is shown once.
export function factList(facts, show) {
  const groups = [];
  for (const [name, value] of facts) {
    if (groups.at(-1)?.name === name) groups.at(-1).values.push(value);
    else groups.push({ name, values: [value] });
  }
  return html`<dl class="facts">${groups.map(
    ({ name, values }) => html`<div><dt>${name}</dt>${values.map((value) => html`<dd>${show(name, value)}</dd>`)}</div>`,
  )}</dl>`;
}

// The text of a search field. `then` is called with it once typing has paused for a moment. A view makes one
// for each field when it opens, so what is being typed survives each redraw.
export class TypedText {
  #typed = "";
  #timer = 0;

  constructor(then, wait_ms = 250) {
    Object.assign(this, { then, wait_ms });
    this.onInput = (event) => this.#type(event.target.value);
  }

  #type(text) {
    const { path } = address();
    this.#typed = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      // The reader may have left the view in the meantime.
      if (address().path === path) this.then(text.trim());
    }, this.wait_ms);
  }

  // Return what the field shows: the text in the address, unless another is being typed, or only its spaces differ.
  shown(text) {
    return this.#timer || this.#typed.trim() === text ? this.#typed : text;
  }
}
