// Ticking times: each is an element that shows how long ago something was, by the server's clock.

import { duration } from "./format.js";

const callbacks = new Set();
let offset = 0;
let timer = 0;

// Set the clock from a time that the server has just sent.
export function setClock(text) {
  offset = Date.parse(text) - Date.now();
}

// The server's time, in milliseconds.
export function serverNow() {
  return Date.now() + offset;
}

// Call something every second while the page is visible, until the returned function is called.
export function everySecond(call) {
  callbacks.add(call);
  look();
  return () => {
    callbacks.delete(call);
    look();
  };
}

function look() {
  const isWanted = callbacks.size > 0 && document.visibilityState !== "hidden";
  if (isWanted) timer ||= setInterval(() => callbacks.forEach((call) => call()), 1000);
  if (isWanted) return;
  clearInterval(timer);
  timer = 0;
}

document.addEventListener("visibilitychange", () => {
  look();
  if (timer) callbacks.forEach((call) => call());
});

class TickingTime extends HTMLElement {
  static observedAttributes = ["since"];
  #stop = null;

  connectedCallback() {
    this.tick();
    this.#stop = everySecond(() => this.tick());
  }

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.tick();
  }

  tick() {
    const seconds = (serverNow() - Date.parse(this.getAttribute("since"))) / 1000;
    const text = duration(Math.max(0, Math.floor(seconds)));
    if (this.textContent !== text) this.textContent = text;
  }
}

customElements.define("ticking-time", TickingTime);
