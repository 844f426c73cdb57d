// The parts of d3 that the graph needs. They are plain scripts that share the global `d3`, and are loaded with the
// first graph, since other views do not need them.

const NAMES = ["dispatch", "timer", "ease", "color", "interpolate", "selection", "transition", "drag", "zoom", "quadtree"];

let loading = null;

export function loadD3() {
  loading ??= Promise.all(NAMES.map(load)).then(
    () => globalThis.d3,
    (error) => {
      // Let the next graph try again.
      loading = null;
      throw error;
    },
  );
  return loading;
}

function load(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `/assets/vendor/d3-${name}.min.js`;
    // Scripts that are not asynchronous run in the order in which they were added.
    script.async = false;
    script.onload = resolve;
    script.onerror = () => reject(new Error("A part of the console could not be loaded. Is the terminal in which it runs still open?"));
    document.head.append(script);
  });
}
