// Requests to the console's own server. The token came in the address's fragment, which browsers never send.

const KEY = "atom-console-token";

export class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

// Both refuse a confirmation because something has changed. Only an outdated preview is certain to have done nothing.
export const OUTDATED = 412;
export const CONFLICT = 409;

const TOKEN = /^#token=([\w-]+)$/;

export function hasToken() {
  return TOKEN.test(location.hash);
}

// Keep the token for this tab, and take it out of the address bar. Return false if there is none.
export async function adoptToken() {
  const found = TOKEN.exec(location.hash);
  if (found) history.replaceState(null, "", "#/runs");
  else if (isForeign()) return false;
  const token = found?.[1] ?? sessionStorage.getItem(KEY) ?? (await askOtherTabs());
  if (token === null) return false;
  sessionStorage.setItem(KEY, token);
  return true;
}

// Take the token of another tab instead of one that was refused. Return false if there is none.
export async function replaceToken() {
  const refused = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  if (isForeign()) return false;
  const token = await askOtherTabs(refused);
  if (token === null) return false;
  sessionStorage.setItem(KEY, token);
  return true;
}

// Answer tabs that ask for a token. Only for a token that the server has accepted.
export function shareToken() {
  const token = sessionStorage.getItem(KEY);
  tabs.onmessage = ({ data }) => {
    if (data === WANTED) tabs.postMessage(token);
  };
}

// A link on another page must bring the token itself; otherwise, it could choose what a reader of the console sees.
function isForeign() {
  const [opening] = performance.getEntriesByType("navigation");
  return "foreign" in document.documentElement.dataset && opening?.type === "navigate";
}

// A link that was opened in a new tab begins without a token. Only pages of this server, at this port, hear each other.
const tabs = new BroadcastChannel(KEY);
const WANTED = "?";
const MOST_WAIT_MS = 500;

// A tab of an earlier start may answer with the token that was refused.
function askOtherTabs(refused = null) {
  return new Promise((resolve) => {
    tabs.onmessage = ({ data }) => data !== WANTED && data !== refused && resolve(data);
    setTimeout(() => resolve(null), MOST_WAIT_MS);
    tabs.postMessage(WANTED);
  });
}

function headers(more = {}) {
  return { "X-Atom-Token": sessionStorage.getItem(KEY) ?? "", ...more };
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The console's server does not answer. If it was started again, open the address that it printed; if not, start it.", 0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Refused(body.error ?? `The console answered ${response.status}.`, response.status);
}

export async function get(path, signal) {
  return (await send(path, { headers: headers(), signal })).json();
}

export async function post(path, body, signal) {
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), signal };
  return (await send(path, { ...options, body: JSON.stringify(body) })).json();
}

// Call `onLine` with each JSON line of an answer that does not end by itself; an empty line is passed as `{}`.
export async function follow(path, onLine, signal) {
  const response = await send(path, { headers: headers(), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) onLine(line ? JSON.parse(line) : {});
  }
}

// Build a path from a template; each value is escaped.
export function path(parts, ...values) {
  return parts.reduce((all, part, number) => all + encodeURIComponent(String(values[number - 1]).toWellFormed()) + part);
}
