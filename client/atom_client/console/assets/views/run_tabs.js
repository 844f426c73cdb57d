// The tabs of a run, in order. `#/runs/ID` opens the first; the others add their names to it.
//
// `open({ model, query, about, redraw })` returns, perhaps as a promise, an object with `render()` and, if needed,
// `update({ query })` when the address changes, `changed()` when the run does, and `close()`.

import { details } from "./run_details.js";
import { graph } from "./run_graph.js";
import { steps } from "./run_steps.js";
import { timeline } from "./run_timeline.js";

export const RUN_TABS = [
  { name: "steps", title: "Steps", open: steps },
  { name: "graph", title: "Graph", open: graph },
  { name: "timeline", title: "Timeline", open: timeline },
  { name: "details", title: "Details", open: details },
];
