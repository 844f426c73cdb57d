// A run that is open in a view: what was read of it, and the changes that come while it is followed.

import { follow, get, path } from "../api.js";

const OPEN = new Set(["QUEUED", "SEEDING", "RUNNING"]);

export class RunModel {
  #followed = null;
  #onChange;

  // `onChange` is called after each change, at most once per frame.
  constructor(data, onChange) {
    this.data = data;
    this.isBusy = false;
    this.isLive = false;
    this.error = null;
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

  get isOpen() {
    return OPEN.has(this.run.state);
  }

  async refresh() {
    this.isBusy = true;
    this.#onChange();
    try {
      this.data = await get(path`/runs/${this.run.id}`);
      this.error = null;
      this.refreshes += 1;
    } catch (error) {
      this.error = error.message;
    }
    this.isBusy = false;
    this.#onChange();
  }

  // Take a change: members that it brings replace those that were read; steps are replaced one by one, by their ids.
  apply(change) {
    const { steps = [], run, ...others } = change;
    Object.assign(this.data, others);
    if (run) this.data.run = { ...this.data.run, ...run };
    if (steps.length) {
      const changed = new Map(steps.map((step) => [step.id, step]));
      const kept = this.data.steps.map((step) => changed.get(step.id) ?? step);
      const known = new Set(this.data.steps.map((step) => step.id));
      this.data.steps = [...kept, ...steps.filter((step) => !known.has(step.id))];
    }
    this.#onChange();
  }

  // Follow the run until it is closed. The server sends JSON lines, `{"run": {...}}` and `{"steps": [...]}`.
  async follow() {
    this.#followed = new AbortController();
    this.isLive = true;
    try {
      await follow(path`/runs/${this.run.id}/live`, (change) => this.apply(change), this.#followed.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.error = error.message;
    }
    this.isLive = false;
    this.#onChange();
  }

  close() {
    this.#followed?.abort();
  }
}

// Many changes may come between two frames; one drawing shows them all.
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
