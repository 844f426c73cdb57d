// The graph of a run. Its places are read once, and colored by the states of the run's steps.

import { get, path } from "../api.js";
import { go, to, withQuery } from "../address.js";
import { sentence } from "../format.js";
import { drawGraph } from "../graph/draw_graph.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

// A run that is just starting gains steps; its graph is read again at most once in this many milliseconds.
const BETWEEN_READS_MS = 2000;

export async function graph({ model, query, redraw }) {
  const view = { model, redraw, element: document.createElement("div"), drawn: null, wanted: foldOf(query), error: null, readAt: 0, isClosed: false };
  view.data = await read(view);
  await drawPlaces(view, query.get("step"));
  return {
    render: () => html`<section aria-label="Graph">${view.error ? html`<p class="problem" role="alert">${sentence(view.error)}</p>` : nothing}
      ${view.drawn ? view.element : html`<p>The run has no steps to show.</p>`}</section>`,
    update: async (changed) => {
      const wanted = foldOf(changed.query);
      if (String(wanted) === String(view.wanted)) return;
      view.wanted = wanted;
      await readAgain(view);
    },
    changed: () => {
      view.drawn?.setSteps(model.steps);
      if (model.steps.length > (view.data.steps ?? 0)) readSoon(view);
    },
    close: () => {
      view.isClosed = true;
      clearTimeout(view.timer);
      view.drawn?.close();
    },
  };
}

// Draw what was read: the first time with everything that the graph needs from the run, later with other places.
async function drawPlaces(view, chosen = null) {
  const { model, data } = view;
  if (!data.steps) return;
  if (view.drawn) return view.drawn.setData(data, model.steps);
  let [known, byId] = [null, null];
  const step = (id) => {
    if (known !== model.steps) [known, byId] = [model.steps, new Map(model.steps.map((one) => [one.id, one]))];
    return byId.get(id);
  };
  view.drawn = await drawGraph(view.element, data, {
    steps: model.steps,
    label: `Graph of run ${model.run.id}`,
    chosen,
    hrefOf: (id) => to("runs", model.run.id, "steps", id),
    openStep: (id) => go(to("runs", model.run.id, "steps", id)),
    remarkOf: (id) => step(id)?.remark,
    stateOf: (id) => step(id)?.state,
    onChoose: (id) => go(withQuery({ step: id }), { replace: true }),
    changeFold: ({ fold, opened }) => go(withQuery({ fold: fold === "similar" ? null : fold, open: opened })),
  });
}

function foldOf(query) {
  return new URLSearchParams([["fold", query.get("fold") ?? "similar"], ...query.getAll("open").map((id) => ["open", id])]);
}

function read(view) {
  view.readAt = Date.now();
  return get(`${path`/runs/${view.model.run.id}/graph`}?${view.wanted}`);
}

function readSoon(view) {
  view.isDue = true;
  view.timer ||= setTimeout(async () => {
    view.isDue = false;
    await readAgain(view);
    view.timer = 0;
    // More steps may have arrived while this was being read.
    if (view.isDue && !view.isClosed) readSoon(view);
  }, Math.max(0, view.readAt + BETWEEN_READS_MS - Date.now()));
}

async function readAgain(view) {
  const { wanted } = view;
  try {
    const data = await read(view);
    if (wanted !== view.wanted || view.isClosed) return;
    Object.assign(view, { data, error: null });
    await drawPlaces(view);
    if (view.isClosed) view.drawn?.close();
  } catch (error) {
    view.error = error.message;
  }
  view.redraw();
}
