// A run: its progress, the reasons for it, and its tabs.

import { runActions } from "../actions.js";
import { to } from "../address.js";
import { clean, foreign, sentence, state } from "../format.js";
import { asOf, crumbs } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { RunModel } from "./run_model.js";
import { RUN_TABS } from "./run_tabs.js";

// How many reasons of a kind are shown until someone asks for all; `why` prints as many.
const MOST_OF_A_KIND = 6;
// There is room for fewer above a graph or a timeline.
const MOST_ABOVE_A_PICTURE = 1;

export async function run({ params, query, about, redraw }) {
  const [ref, name] = params;
  const view = { tab: tabOf(name), query, opened: null, number: 0, error: null, hasAll: false, redraw };
  const drawn = () => {
    view.opened?.changed?.();
    redraw();
  };
  const model = (view.model = await RunModel.read(ref, drawn));
  view.openTab = async (tab) => {
    const number = ++view.number;
    const isCurrent = () => number === view.number;
    view.opened?.close?.();
    Object.assign(view, { tab, opened: null, error: null });
    redraw();
    const { query: asked } = view;
    try {
      const opened = await tab.open({ model, query: asked, about, redraw });
      if (!isCurrent()) return opened.close?.();
      view.opened = opened;
      // The address may have changed while the tab was being read.
      if (asked !== view.query) opened.update?.({ query: view.query });
    } catch (error) {
      if (isCurrent()) view.error = error.message;
    }
    redraw();
  };
  await view.openTab(view.tab);
  // The reference may have been the beginning of an id, or a workflow's name. The view that is opening is the right one.
  const isShown = decodeURIComponent(/^#\/runs\/([^/?]+)/.exec(location.hash)?.[1] ?? "") === ref;
  if (ref !== model.run.id && isShown) history.replaceState(history.state, "", location.hash.replace(/^#\/runs\/[^/?]+/, to("runs", model.run.id)));
  model.canFollow = about.live;
  if (about.live && model.isOpen) model.follow();
  return {
    title: model.run.id,
    render: () => draw(view),
    update: async ({ params: [other, tabName], query: inQuery }) => {
      if (other !== model.run.id) return false;
      view.query = inQuery;
      const tab = tabOf(tabName);
      if (tab !== view.tab) await view.openTab(tab);
      else view.opened?.update?.({ query: inQuery });
    },
    close: () => {
      view.number++;
      model.close();
      view.opened?.close?.();
      view.opened = null;
    },
  };
}

function tabOf(name) {
  const tab = name === undefined ? RUN_TABS[0] : RUN_TABS.find((one) => one.name === name);
  if (!tab) throw new Error("There is no such page.");
  return tab;
}

function draw(view) {
  const { model } = view;
  const { run, why } = model.data;
  const above = run.workflow ? [html`<a href=${to("workflows", run.workflow)}>${foreign(run.workflow)}</a>`] : [];
  const warnings = [...run.warnings.map((one) => `Warning: ${one}`), ...model.data.unstopped];
  const { isBusy, status, problem, error } = model;
  const time = { time: model.data.as_of, isBusy, status, problem, error };
  return html`${crumbs(...above)}
    <h1>${foreign(run.id)} ${state(run.state)}${run.late ? html` <strong class="late">late</strong>` : nothing}</h1>
    ${asOf({ ...time, refresh: () => model.refresh() })}
    ${runActions(run, () => model.refresh(), model.data.why_fixed, model.steps)}
    <section aria-label="Why it is where it is" class="why"><p>${sentence(why.text)}</p>${reasons(view)}
      ${model.data.next_text ? html`<p>${sentence(model.data.next_text)}</p>` : nothing}</section>
    ${warnings.map((one) => html`<p class="warning">${sentence(one)}</p>`)}
    <nav class="tabs" aria-label="Views of the run"><ul>${RUN_TABS.map((tab, number) => html`<li><a
      href=${number ? to("runs", run.id, tab.name) : to("runs", run.id)}
      aria-current=${tab === view.tab ? "page" : "false"}>${tab.title}</a></li>`)}</ul></nav>
    ${tabContent(view)}`;
}

function tabContent({ opened, error, tab, openTab }) {
  if (opened) return opened.render();
  if (error === null) return html`<p class="quiet" role="status">Loading …</p>`;
  return html`<p class="problem" role="alert">${sentence(error)}</p>
    <p><button type="button" @click=${() => openTab(tab)}>Try again</button></p>`;
}

// The reasons, a few under each heading, with links to the steps that they name.
function reasons(view) {
  const most = view.tab === RUN_TABS[0] ? MOST_OF_A_KIND : MOST_ABOVE_A_PICTURE;
  const { why, run } = view.model.data;
  const kinds = [...Map.groupBy(why.reasons, (reason) => reason.kind)];
  const toggle = () => {
    view.hasAll = !view.hasAll;
    view.redraw();
  };
  return html`${kinds.map(([kind, all]) => {
    // One more takes no more room than the line that would replace it.
    const total = all.length + (why.more[kind] ?? 0);
    const shown = view.hasAll || total <= most + 1 ? all : all.slice(0, most);
    const more = total - shown.length;
    const heading = why.headings[kind];
    return html`${heading ? html`<p>${heading}</p>` : nothing}
      <ul class=${heading ? "" : "plain"}>${shown.map((reason) => line(run, reason))}
        ${more ? html`<li class="quiet">… and ${more.toLocaleString("en")} more</li>` : nothing}</ul>`;
  })}
  ${kinds.some(([, all]) => all.length > most + 1)
    ? html`<button type="button" aria-expanded=${view.hasAll ? "true" : "false"} @click=${toggle}
        >${view.hasAll ? "Show fewer reasons" : "Show more reasons"}</button>`
    : nothing}`;
}

function line(run, { text, step }) {
  const link = html` <a href=${to("runs", run.id, "steps", step)} aria-label="Step ${clean(step)}">→</a>`;
  return html`<li>${sentence(text)}${step ? link : nothing}</li>`;
}
