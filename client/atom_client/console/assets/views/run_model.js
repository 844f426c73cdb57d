// A run that is open in a view: what was read about it, and the changes that arrive while it is followed.

import { get, path } from "../api.js";
import { Live } from "../live.js";
import { OPEN_RUN_STATES } from "../states.js";
import { setClock } from "../ticking.js";

export class RunModel {
  #live = null;
  #isClosed = false;
  #reading = 0;
  #watched = null;
  #onChange;

  // `onChange` is called after each change, at most once per frame.
  constructor(data, onChange) {
    this.data = data;
    this.isBusy = false;
    // The status that `Live` reported last, and its sentence.
    this.status = "";
    this.problem = "";
    this.error = null;
    setClock(data.as_of);
    this.canFollow = false;
    // How often the run was read again.
    this.refreshes = 0;
    this.#onChange = onceAFrame(onChange);
  }

  static async read(ref, onChange) {
    return new RunModel(await get(path`/runs/${ref}`), onChange);
  }

  get run() {
    return this.data.run;
  }

  get steps() {
    return this.data.steps;
  }

  get isLive() {
    return this.status === "live";
  }

  get isOpen() {
    return OPEN_RUN_STATES.has(this.run.state);
  }

  async refresh() {
    const number = ++this.#reading;
    const isCurrent = () => number === this.#reading && !this.#isClosed;
    this.isBusy = true;
    this.#onChange();
    try {
      const data = await get(path`/runs/${this.run.id}`);
      if (!isCurrent()) return;
      // The stream may have brought later changes, so the next one resumes from what was read.
      this.#unfollow();
      this.data = data;
      if (!this.isOpen) Object.assign(this, { status: "", problem: "" });
      setClock(data.as_of);
      this.error = null;
      this.refreshes += 1;
    } catch (error) {
      if (!isCurrent()) return;
      this.error = error.message;
    }
    this.isBusy = false;
    // A run that had ended may have been retried.
    if (this.canFollow && this.isOpen) this.follow();
    this.#onChange();
  }

  // Apply a change. Its members replace those that were read; steps are replaced individually, by id.
  apply(change) {
    const { steps = [], run, ...others } = change;
    Object.assign(this.data, others);
    if (others.as_of) setClock(others.as_of);
    if (run) this.data.run = { ...this.data.run, ...run };
    if (steps.length) this.data.steps = replaced(this.data.steps, steps);
    this.#onChange();
  }

  // Follow the run until it has ended or the view is closed.
  follow() {
    if (this.#isClosed) return;
    this.#live ??= new Live({
      path: () => `${path`/runs/${this.run.id}/live?after=${this.data.at ?? ""}`}${this.#itemsAsked()}`,
      onLine: ({ items, ...change }) => {
        if (items) this.#watched?.take(items);
        if (Object.keys(change).length) this.apply(change);
      },
      onStatus: (status, problem) => {
        Object.assign(this, { status, problem });
        if (status === "ended") {
          this.#live = null;
          this.error = problem || null;
        }
        this.#onChange();
      },
    });
  }

  // Follow pages of items, too. `pages()` returns pairs of a step and a page, and `take` gets what changes, by step.
  watchItems(watched) {
    this.#watched = watched;
    this.itemsChanged();
  }

  itemsChanged() {
    this.#live?.reopen();
  }

  #itemsAsked() {
    return (this.#watched?.pages() ?? []).map(([step, page]) => path`&items=${`${page}:${step}`}`).join("");
  }

  #unfollow() {
    this.#live?.close();
    this.#live = null;
  }

  close() {
    this.#isClosed = true;
    this.#unfollow();
  }
}

// Return the steps with some of them replaced, in the order in which they were started.
function replaced(all, changed) {
  const news = new Map(changed.map((step) => [step.id, step]));
  let isSorted = true;
  const kept = all.map((step) => {
    const found = news.get(step.id);
    if (!found) return step;
    news.delete(step.id);
    isSorted &&= found.started_at === step.started_at;
    return found;
  });
  if (isSorted && !news.size) return kept;
  return [...kept, ...news.values()].sort((one, other) => (key(one) < key(other) ? -1 : 1));
}

// All times have the same format; steps that have not begun come last.
function key(step) {
  return `${step.phase === "finally" ? 1 : 0} ${step.started_at ?? "~"} ${step.id}`;
}

// Many changes may arrive between two frames; they are drawn together.
function onceAFrame(call) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      call();
    });
  };
}
