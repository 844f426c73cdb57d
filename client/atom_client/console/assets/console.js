// The page: one view at a time, chosen by the address's fragment.

import { learnAbout } from "./about.js";
import { adoptToken, get } from "./api.js";
import { closeDialog } from "./dialog.js";
import { ZONE } from "./format.js";
import { html, render } from "./vendor/lit-html/lit-html.js";
import { actions } from "./views/act.js";
import { deadLetter } from "./views/dead_letter.js";
import { deadLetters } from "./views/dead_letters.js";
import { file } from "./views/file.js";
import { runs } from "./views/runs.js";
import { schedules } from "./views/schedules.js";
import { start } from "./views/start.js";

// Each view has a pattern of its address, and opens as an object with `title`, `render()` and, if needed, `close()`.
const VIEWS = [
  { pattern: /^\/runs$/, open: runs },
  { pattern: /^\/runs\/([^/]+)\/act$/, open: actions },
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

function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return { path: path || "/runs", query: new URLSearchParams(query) };
}

async function show() {
  const number = ++state.number;
  state.opened?.close?.();
  closeDialog();
  Object.assign(state, { opened: null, error: null });
  const { path, query } = address();
  draw();
  try {
    for (const { pattern, open } of VIEWS) {
      const found = pattern.exec(path);
      if (!found) continue;
      const params = found.slice(1).map(decodeURIComponent);
      const opened = await open({ params, query, about: state.about, redraw: () => number === state.number && draw() });
      if (number !== state.number) return opened.close?.();
      state.opened = opened;
      document.title = `${opened.title} · Atom Workflows`;
      return draw();
    }
    state.error = "There is no such page.";
  } catch (error) {
    if (number === state.number) state.error = error.message;
  }
  draw();
}

function draw() {
  const { path } = address();
  render(
    html`<a class="brand" href="#/runs">Atom Workflows</a>
      <nav aria-label="Views"><ul>${TABS.map(
        ([to, name]) => html`<li><a href="#${to}" aria-current=${path.startsWith(to) ? "page" : "false"}>${name}</a></li>`,
      )}</ul></nav>
      <span class="place">${state.about?.place ?? ""}${state.about?.read_only ? " · read-only" : ""}</span>`,
    place("header"),
  );
  const content = state.error
    ? html`<p class="problem" role="alert">${state.error}</p>`
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
