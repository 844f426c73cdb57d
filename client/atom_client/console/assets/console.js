// The page: one view at a time, chosen by the address's fragment.

import { learnAbout } from "./about.js";
import { address } from "./address.js";
import { adoptToken, get, hasToken } from "./api.js";
import { closeDialog } from "./dialog.js";
import { clean, sentence, ZONE } from "./format.js";
import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { deadLetter } from "./views/dead_letter.js";
import { deadLetters } from "./views/dead_letters.js";
import { file } from "./views/file.js";
import { history as workflowHistory } from "./views/history.js";
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
  { pattern: /^\/workflows\/([^/]+)$/, open: workflowHistory },
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

const SCROLL_MS = 100;
const state = { about: null, view: null, opened: null, error: null, number: 0 };
const place = (id) => document.getElementById(id);

async function show() {
  const number = ++state.number;
  // Where the reader was on this page, if it is gone back to.
  const top = history.state?.top ?? 0;
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
    if (!isFirst) scrollTo(0, top);
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
    ? html`<h1>Cannot show this page</h1><p class="problem" role="alert">${sentence(state.error)}</p>
        ${state.view ? html`<button type="button" @click=${show}>Try again</button>` : nothing}`
    : state.opened
      ? state.opened.render()
      : html`<p class="quiet">Loading …</p>`;
  render(content, place("content"));
  render(html`Times are in ${ZONE}.`, place("footer"));
}

// Keep where the reader is on a page with its address, for when it is gone back to.
let scrolled = 0;
addEventListener("scroll", () => {
  clearTimeout(scrolled);
  scrolled = setTimeout(() => history.replaceState({ ...history.state, top: scrollY }, ""), SCROLL_MS);
});

// The address of a console that was started again has another token.
function changed() {
  if (hasToken()) return location.reload();
  if (state.about) show();
}

async function begin() {
  addEventListener("hashchange", changed);
  if (!(await adoptToken())) {
    state.error = "Open the address that `atom-workflows console` printed: it contains the token of this console.";
    return draw();
  }
  try {
    state.about = await get("/console");
    learnAbout(state.about);
  } catch (error) {
    state.error = error.message;
    return draw();
  }
  await show();
}

// The fragment of a link to a part of the page would be taken for the address of a view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  place("content").focus();
});
place("content").replaceChildren();
begin();
