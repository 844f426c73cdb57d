// Times that go on by themselves: each is an element that shows how long it has been since a time, by the server's clock.

import { duration } from "./format.js";

const shown = new Set();
let offset = 0;
let timer = 0;

// Set the clock by a time that the server has just sent.
export function setClock(text) {
  offset = Date.parse(text) - Date.now();
}

class TickingTime extends HTMLElement {
  static observedAttributes = ["since"];

  connectedCallback() {
    shown.add(this);
    this.tick();
    timer ||= setInterval(() => shown.forEach((one) => one.tick()), 1000);
  }

  disconnectedCallback() {
    shown.delete(this);
    if (shown.size) return;
    clearInterval(timer);
    timer = 0;
  }

  attributeChangedCallback() {
    if (this.isConnected) this.tick();
  }

  tick() {
    const seconds = (Date.now() + offset - Date.parse(this.getAttribute("since"))) / 1000;
    const text = duration(Math.max(0, Math.floor(seconds)));
    if (this.textContent !== text) this.textContent = text;
  }
}

customElements.define("ticking-time", TickingTime);
