// Requests to the console's own server. The token came in the address's fragment, which browsers never send.

const KEY = "atom-console-token";

export class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

const TOKEN = /^#token=([\w-]+)$/;
const ANSWER_MS = 300;
// A tab that was opened from another one has no token of its own. Only pages of this very console share the channel.
const tabs = new BroadcastChannel(KEY);

export function hasToken() {
  return TOKEN.test(location.hash);
}

// Keep the token for this tab, and take it out of the address bar. Return false if there is none.
export async function adoptToken() {
  const [, found] = TOKEN.exec(location.hash) ?? [];
  if (found) {
    sessionStorage.setItem(KEY, found);
    history.replaceState(null, "", "#/runs");
  } else if (isForeign()) return false;
  else if (sessionStorage.getItem(KEY) === null) await askTabs();
  const token = sessionStorage.getItem(KEY);
  if (token !== null) tabs.onmessage = ({ data }) => data.ask && tabs.postMessage({ token });
  return token !== null;
}

// A link on another page must bring the token itself: it may not choose what a reader of the console sees.
function isForeign() {
  const [opening] = performance.getEntriesByType("navigation");
  return "foreign" in document.documentElement.dataset && opening?.type === "navigate";
}

function askTabs() {
  return new Promise((resolve) => {
    setTimeout(resolve, ANSWER_MS);
    tabs.onmessage = ({ data }) => {
      if (!data.token) return;
      sessionStorage.setItem(KEY, data.token);
      resolve();
    };
    tabs.postMessage({ ask: true });
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
    throw new Refused("The console's server does not answer. Is the terminal in which it runs still open?", 0);
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

// Call `onLine` with each JSON line of an answer that does not end by itself; an empty line has no members.
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

// Build a path from a template: each value is escaped.
export function path(parts, ...values) {
  return parts.reduce((all, part, number) => all + encodeURIComponent(values[number - 1]) + part);
}
