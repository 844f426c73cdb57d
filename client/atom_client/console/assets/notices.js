// What has been done, said in the corner of the page until it is dismissed.

import { foreign, sentence } from "./format.js";
import { html, render } from "./vendor/lit-html/lit-html.js";

let shown = [];
const MOST = 4;

// `lines` are sentences; `link`, if given, is [address, words].
export function notify(lines, link) {
  shown = [{ lines, link }, ...shown].slice(0, MOST);
  draw();
}

function dismiss(notice) {
  shown = shown.filter((one) => one !== notice);
  draw();
}

function draw() {
  render(
    shown.map(
      (one) => html`<div class="notice">
        ${one.lines.map((line) => html`<p>${sentence(line)}</p>`)}
        ${one.link ? html`<p><a href=${one.link[0]}>${foreign(one.link[1])}</a></p>` : ""}
        <button type="button" @click=${() => dismiss(one)}>Dismiss</button>
      </div>`,
    ),
    document.getElementById("notices"),
  );
}
