// The part of the address that chooses a view, `#/runs?state=FAILED`: it holds every filter, so that going back and
// bookmarks work.

export function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return { path: path || "/runs", query: new URLSearchParams(query) };
}

// Build an address from parts named by others; each is escaped.
export function to(...parts) {
  return `#/${parts.map((part) => encodeURIComponent(String(part).toWellFormed())).join("/")}`;
}

// Return the current address with other values in its query. Empty values are left out; a list adds each of its values.
export function withQuery(changes) {
  const { path, query } = address();
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) query.append(name, one);
  }
  return `#${path}${query.size ? `?${query}` : ""}`;
}

// Go to an address. With `replace`, the previous one is forgotten, so going back skips the letters of a search.
export function go(hash, { replace = false } = {}) {
  if (hash === location.hash) return;
  history[replace ? "replaceState" : "pushState"](replace ? history.state : null, "", hash);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
