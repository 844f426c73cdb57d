// Words for states, times and durations: one form of each in every view.

import { clean } from "./clean.js";
import { html } from "./vendor/lit-html/lit-html.js";

// A state is told by its sign and its word; the color only helps.
export const SIGNS = {
  QUEUED: "⋯", SEEDING: "◌", PENDING: "○", DISPATCHING: "◔", RUNNING: "▶", RETRYING: "↻",
  SUCCEEDED: "✔", FAILED: "✘", INVALID: "✘", SKIPPED: "⤼", CANCELLED: "■",
};

export function state(name) {
  return html`<span class="state" data-state=${name}><span aria-hidden="true">${SIGNS[name] ?? "?"}</span> ${name}</span>`;
}

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const MOMENT = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

// A time in the reader's zone; the title holds it in UTC.
export function moment(text) {
  if (!text) return "";
  return html`<time datetime=${text} title="${text} (UTC)">${MOMENT.format(new Date(text))}</time>`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [minutes, hours] = [Math.floor(whole / 60), Math.floor(whole / 3600)];
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
}

export function secondsSince(text) {
  return text ? Math.max(0, (Date.now() - Date.parse(text)) / 1000) : null;
}

export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// Text from jobs and files: isolated, so that it cannot turn the text around it, and with what is unseen in it escaped.
export function foreign(text) {
  return html`<bdi>${clean(text)}</bdi>`;
}
