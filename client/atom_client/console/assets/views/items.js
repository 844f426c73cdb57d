// The items of a step with `forEach`, a page at a time, failed ones first.

import { to } from "../address.js";
import { get, path } from "../api.js";
import { clean, duration, foreign, secondsBetween, sentence, state } from "../format.js";
import { headings, moveInRows, pager } from "../parts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

const LONGEST_VALUE = 120;

export class Items {
  #asked = 0;

  // `onOpen` is called once another page is shown; `isLive` returns true if changes appear without a refresh.
  constructor({ run, step, redraw, onOpen = () => {}, isLive = () => false }) {
    Object.assign(this, { runId: run, stepId: step, redraw, onOpen, isLive, page: null, error: null, asked: 1 });
  }

  get number() {
    return this.page?.page ?? 1;
  }

  // Only the answer to the latest request counts, in whatever order answers arrive.
  async open(number = this.number) {
    const asked = ++this.#asked;
    this.asked = number;
    try {
      const page = await get(path`/runs/${this.runId}/steps/${this.stepId}/items?page=${number}`);
      if (asked !== this.#asked) return;
      const isOther = this.page?.page !== page.page;
      Object.assign(this, { page, error: null });
      if (isOther) this.onOpen();
    } catch (error) {
      if (asked === this.#asked) this.error = error.message;
    }
    this.redraw();
  }

  // Apply a page that was read again, or some of its items.
  take({ items, ...page }) {
    // The answer may be about the previous page.
    if (page.page !== undefined && page.page !== this.number) return;
    const news = new Map(items.map((item) => [item.index, item]));
    const isWhole = page.page !== undefined;
    const shown = isWhole ? items : this.page?.items.map((item) => news.get(item.index) ?? item);
    if (shown) this.page = { ...this.page, ...page, items: shown };
    if (isWhole) this.error = null;
    this.redraw();
  }

  render() {
    if (this.error) {
      return html`<p class="problem" role="alert">${sentence(this.error)}</p>
        <p><button type="button" @click=${() => this.open(this.asked)}>Try again</button></p>`;
    }
    if (!this.page) return html`<p class="quiet">Loading the items …</p>`;
    const { items, text, page, page_size: size, step } = this.page;
    const total = step.items.total ?? items.length;
    const open = (number) => this.open(number);
    const label = `Items of ${clean(this.stepId)}`;
    if (!items.length) {
      return html`<p class="quiet">${foreign(text || "There are no items yet.")}${origin(step, this.stepId)}</p>`;
    }
    return html`<table class="cards items" aria-label=${label} @keydown=${moveInRows}>
        ${headings("Item", "State", "Attempts", "Duration", "Value", "Message")}
        <tbody>${repeat(items, (item) => item.id, (item) => this.row(item))}</tbody>
      </table>
      ${pager({ page, size, total, noun: "item", label: `Pages of ${label}`, open })}`;
  }

  // While the page is live, the duration of an item that has not ended keeps growing.
  lasting({ duration_s: taken, started_at: begun, state: name }) {
    const goesOn = this.isLive() && taken === undefined && begun && name !== "PENDING";
    if (goesOn) return html`<ticking-time since=${begun}></ticking-time>`;
    return duration(taken ?? secondsBetween(begun, this.page.as_of));
  }

  row(item) {
    const value = JSON.stringify(item.item);
    // Clip before cleaning, which removes a character that was cut in two.
    const shown = clean(value.length > LONGEST_VALUE ? `${value.slice(0, LONGEST_VALUE)}…` : value);
    return html`<tr>
      <th scope="row"><a href=${to("runs", this.runId, "steps", item.id)}>${foreign(item.id)}</a></th>
      <td data-name="State">${state(item.state)}</td>
      <td data-name="Attempts" class="number">${item.attempts || ""}</td>
      <td data-name="Duration" class="number">${this.lasting(item)}</td>
      <td data-name="Value"><bdi>${shown}</bdi></td>
      <td data-name="Message">${item.remark ? foreign(item.remark) : nothing}</td>
    </tr>`;
  }
}

function origin(step, stepId) {
  if (!step.kept_from) return nothing;
  const link = html`<a href=${to("runs", step.kept_from, "steps", stepId)}>${foreign(step.kept_from)}</a>`;
  return html` They ran in ${link}, from which the step was kept.`;
}
