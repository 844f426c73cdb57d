// The page: one view at a time, chosen by the address's fragment.

import { learnAbout } from "./about.js";
import { address } from "./address.js";
import { adoptToken, get, hasToken, replaceToken, shareToken } from "./api.js";
import { closeDialog } from "./dialog.js";
import { clean, sentence, ZONE } from "./format.js";
import { ageNotices } from "./notices.js";
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

// Each view has a pattern for its address, and opens as an object with `title`, `render()` and, if needed, `close()`.
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

const state = { about: null, view: null, opened: null, error: null, number: 0, entry: "" };
// Where the reader was in each entry of the browser's history, for going back.
const positions = new Map();
const byId = (id) => document.getElementById(id);

async function show() {
  const number = ++state.number;
  const isCurrent = () => number === state.number;
  const { path, query } = address();
  const position = changeEntry();
  const view = VIEWS.find(({ pattern }) => pattern.test(path));
  try {
    const params = view ? view.pattern.exec(path).slice(1).map((part) => part && decodeURIComponent(part)) : [];
    if (view && view === state.view && state.opened?.update && (await state.opened.update({ params, query })) !== false) {
      return isCurrent() && draw();
    }
    if (!isCurrent()) return;
    closeDialog();
    ageNotices();
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
    if (!isFirst) moveTo(position);
  } catch (error) {
    if (!isCurrent()) return;
    state.opened?.close?.();
    Object.assign(state, { opened: null, error: error.message });
    draw();
  }
}

// Remember where the reader was. Return where they were in the entry shown now, if they have come back to it.
function changeEntry() {
  const focused = document.activeElement?.getAttribute("href");
  positions.set(state.entry, { top: scrollY, focused });
  // Links and scripts create entries without names.
  const { history } = window;
  if (!history.state?.entry) history.replaceState({ entry: crypto.randomUUID() }, "");
  state.entry = history.state.entry;
  return positions.get(state.entry);
}

// As with any page that a link opens, reading begins at the top; going back leads to where the reader left off.
function moveTo({ top = 0, focused = null } = {}) {
  const link = focused && byId("content").querySelector(`a[href="${CSS.escape(focused)}"]`);
  (link || byId("content")).focus({ preventScroll: true });
  scrollTo(0, top);
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
    byId("header"),
  );
  const content = state.error
    ? html`<h1>Cannot show this page</h1><p class="problem" role="alert">${sentence(state.error)}</p>
        <p><button type="button" @click=${tryAgain}>Try again</button></p>`
    : state.opened
      ? state.opened.render()
      : html`<p class="quiet">Loading …</p>`;
  const focused = document.activeElement;
  render(content, byId("content"));
  // A row that was moved has lost the focus.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  render(html`Times are in ${ZONE}.`, byId("footer"));
}

function tryAgain() {
  if (state.about === null) location.reload();
  else show();
}

// A token of an earlier start is refused. Another tab may have the current one.
async function readAbout() {
  try {
    return await get("/console");
  } catch (error) {
    if (error.status !== 401 || !(await replaceToken())) throw error;
    return get("/console");
  }
}

async function begin() {
  // A restarted console has another token, and its address may be opened in a tab of the earlier one.
  addEventListener("hashchange", () => {
    if (hasToken()) location.reload();
    else if (state.about !== null) show();
  });
  byId("skip").addEventListener("click", (event) => {
    // The address's fragment is that of a view.
    event.preventDefault();
    byId("content").focus();
  });
  window.history.scrollRestoration = "manual";
  if (!(await adoptToken())) {
    state.error = "Open the address that `atom-workflows console` printed: it contains the token of this console.";
    return draw();
  }
  try {
    state.about = await readAbout();
    shareToken();
    learnAbout(state.about);
  } catch (error) {
    state.error = error.message;
    return draw();
  }
  await show();
}

byId("content").replaceChildren();
begin();
