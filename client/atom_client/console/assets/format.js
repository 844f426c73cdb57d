// Words for states, times and durations, the same in every view.

import { serverNow } from "./ticking.js";
import { html } from "./vendor/lit-html/lit-html.js";

// A state has a sign and a word; color is only an aid.
export const SIGNS = {
  QUEUED: "⋯", SEEDING: "◌", PENDING: "○", DISPATCHING: "◔", RUNNING: "▶", RETRYING: "↻",
  SUCCEEDED: "✔", FAILED: "✘", INVALID: "✘", SKIPPED: "⤼", CANCELLED: "■",
};

export function state(name) {
  return html`<span class="state" data-state=${name}><span aria-hidden="true">${SIGNS[name] ?? "?"}</span> ${name}</span>`;
}

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const MOMENT = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

// A time in the reader's zone; the title has it in UTC.
export function moment(text) {
  if (!text) return "";
  return html`<time datetime=${text} title="${text} (UTC)">${MOMENT.format(new Date(text))}</time>`;
}

// As `lasted` of the command line formats it.
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return `${Math.round(Math.max(0, seconds) * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [minutes, hours] = [Math.floor(whole / 60), Math.floor(whole / 3600)];
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
}

// How long a run took: since its retry and in all, if it was retried.
export function timeTaken(run) {
  const taken = duration(run.taken_s);
  if (!run.taken_since || !taken) return taken;
  return html`${taken} <small class="in-all">since ${run.taken_since}, ${duration(run.in_all_s)} in all</small>`;
}

export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// Control characters, marks that change the writing direction, and invisible characters: those that `clean` of the
// command line removes, and the escapes that begin with one.
const ESCAPES = /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?/gu;
const UNSEEN =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

export function clean(text) {
  return String(text ?? "").replaceAll(ESCAPES, "").replaceAll(UNSEEN, "");
}

// Text from jobs and files, on one line and isolated, so that it cannot reverse the text around it.
export function foreign(text) {
  return html`<bdi>${clean(text)}</bdi>`;
}

// The server marks the times in its sentences, which are in its own zone. A time that a job wrote has no marks.
const STAMP = /\u2063((?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d (?:UTC|[+-]\d\d:\d\d))\u2063/u;

// A sentence with names in backticks, as the command line writes them, and with times in the reader's zone.
export function sentence(text) {
  const parts = String(text ?? "").split(STAMP);
  return html`<bdi>${parts.map((part, number) => (number % 2 ? readerTime(part) : withNames(part)))}</bdi>`;
}

function withNames(text) {
  return clean(text).split(/`([^`]+)`/u).map((part, number) => (number % 2 ? html`<code>${part}</code>` : part));
}

// The server omits the date if a time is on its current day, so the missing date comes from its clock.
function readerTime(text) {
  const [zone, time, day] = text.split(" ").reverse();
  const offset = zone === "UTC" ? "Z" : zone;
  const today = () => new Date(serverNow() + Date.parse("1970-01-01T00:00Z") - Date.parse(`1970-01-01T00:00${offset}`));
  const at = new Date(`${day ?? today().toISOString().slice(0, 10)}T${time}${offset}`);
  if (Number.isNaN(at.getTime())) return text;
  const shown = MOMENT.format(at);
  const isShort = !day && shown.slice(0, 10) === MOMENT.format(new Date(serverNow())).slice(0, 10);
  return html`<time datetime=${at.toISOString()} title=${text}>${isShort ? shown.slice(11) : shown}</time>`;
}

// A value as JSON. Characters that would not be seen are written as escapes, so that nothing is hidden.
export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? "";
  return text.replaceAll(UNSEEN, (found) => [...found].map((one) => `\\u{${one.codePointAt(0).toString(16)}}`).join(""));
}

// An address from a job. Only a web address becomes a link, and its text is the address itself.
export function outside(text) {
  const url = URL.parse(text);
  if (!url || !["http:", "https:"].includes(url.protocol)) return foreign(text);
  return html`<a href=${url.href} target="_blank" rel="noopener noreferrer"><bdi>${clean(url.href)}</bdi></a>`;
}

// The seconds between two times, or null if one of them is not known.
export function secondsBetween(start, end) {
  return start && end ? Math.max(0, (Date.parse(end) - Date.parse(start)) / 1000) : null;
}
