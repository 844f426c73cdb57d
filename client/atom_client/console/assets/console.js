// The page: one view at a time, chosen by the address's fragment.

import { learnAbout } from "./about.js";
import { address } from "./address.js";
import { adoptToken, get } from "./api.js";
import { closeDialog } from "./dialog.js";
import { clean, ZONE } from "./format.js";
import { html, render } from "./vendor/lit-html/lit-html.js";
import { deadLetter } from "./views/dead_letter.js";
import { deadLetters } from "./views/dead_letters.js";
import { file } from "./views/file.js";
import { history } from "./views/history.js";
import { run } from "./views/run.js";
import { runs } from "./views/runs.js";
import { schedules } from "./views/schedules.js";
import { start } from "./views/start.js";
import { step } from "./views/step.js";

// Each view has a pattern of its address, and opens as an object with `title`, `render()` and, if needed, `close()`.
// A view with `update({ params, query })` stays open when only its own address changes; it returns false to be reopened.
const VIEWS = [
  { pattern: /^\/runs$/, open: runs },
  { pattern: /^\/runs\/([^/]+)(?:\/(?!steps\/)([^/]+))?$/, open: run },
  { pattern: /^\/runs\/([^/]+)\/steps\/([^/]+)$/, open: step },
  { pattern: /^\/workflows\/([^/]+)$/, open: history },
  { pattern: /^\/start$/, open: start },
  { pattern: /^\/file$/, open: file },
  { pattern: /^\/schedules$/, open: schedules },
  { pattern: /^\/dead-letters$/, open: deadLetters },
  { pattern: /^\/dead-letters\/([^/]+)$/, open: deadLetter },
];
const TABS = [
  ["/runs", "Runs"],
  ["/start", "Start"],
  ["/file", "File"],
  ["/schedules", "Schedules"],
  ["/dead-letters", "Dead letters"],
];

const state = { about: null, view: null, opened: null, error: null, number: 0 };
const place = (id) => document.getElementById(id);

async function show() {
  const number = ++state.number;
  const isCurrent = () => number === state.number;
  const { path, query } = address();
  const view = VIEWS.find(({ pattern }) => pattern.test(path));
  try {
    const params = view ? view.pattern.exec(path).slice(1).map((part) => part && decodeURIComponent(part)) : [];
    if (view && view === state.view && state.opened?.update && (await state.opened.update({ params, query })) !== false) {
      return isCurrent() && draw();
    }
    if (!isCurrent()) return;
    closeDialog();
    state.opened?.close?.();
    const isFirst = state.view === null;
    Object.assign(state, { view, opened: null, error: view ? null : "There is no such page." });
    draw();
    if (!view) return;
    let opened = null;
    const redraw = () => opened && state.opened === opened && draw();
    opened = await view.open({ params, query, about: state.about, redraw });
    if (!isCurrent()) return opened.close?.();
    state.opened = opened;
    draw();
    // As on any page that a link opens: reading begins at its top.
    if (!isFirst) place("content").focus({ preventScroll: true });
    if (!isFirst) scrollTo(0, 0);
  } catch (error) {
    if (!isCurrent()) return;
    state.opened?.close?.();
    Object.assign(state, { opened: null, error: error.message });
    draw();
  }
}

function draw() {
  const { path } = address();
  document.title = state.opened ? `${clean(state.opened.title)} · Atom Workflows` : "Atom Workflows";
  render(
    html`<a class="brand" href="#/runs">Atom Workflows</a>
      <nav aria-label="Views"><ul>${TABS.map(
        ([to, name]) => html`<li><a href="#${to}" aria-current=${path.startsWith(to) || (to === "/runs" && path.startsWith("/workflows/")) ? "page" : "false"}>${name}</a></li>`,
      )}</ul></nav>
      <span class="place">${state.about?.place ?? ""}${state.about?.read_only ? " · read-only" : ""}</span>`,
    place("header"),
  );
  const content = state.error
    ? html`<h1>Not shown</h1><p class="problem" role="alert">${clean(state.error)}</p>`
    : state.opened
      ? state.opened.render()
      : html`<p class="quiet">Loading …</p>`;
  render(content, place("content"));
  render(html`Times are in ${ZONE}.`, place("footer"));
}

async function begin() {
  if (!adoptToken()) {
    state.error = "Open the address that `atom-workflows console` printed: it holds the token of this console.";
    return draw();
  }
  try {
    state.about = await get("/console");
    learnAbout(state.about);
  } catch (error) {
    state.error = error.message;
    return draw();
  }
  addEventListener("hashchange", show);
  await show();
}

place("content").replaceChildren();
begin();
