// Notices in the corner of the page, until they are dismissed or their reader has moved on twice.

import { foreign, moment, sentence } from "./format.js";
import { html, render } from "./vendor/lit-html/lit-html.js";

let shown = [];
const MOST = 4;

// `lines` are sentences; `link`, if given, is [address, words] or a promise of them, which appears once it resolves.
// A notice takes the place of an earlier one with the same `about`.
export async function notify(lines, { link = null, about = null } = {}) {
  const notice = { lines, about, link: null, at: new Date().toISOString(), isWaiting: link !== null, isSeen: false };
  shown = [notice, ...shown.filter((one) => about === null || one.about !== about)].slice(0, MOST);
  draw();
  notice.link = await link;
  notice.isWaiting = false;
  if (notice.link) draw();
}

// The reader goes to another page. Notices from two pages ago are outdated unless their links are still to come.
export function ageNotices() {
  shown = shown.filter((one) => one.isWaiting || !one.isSeen);
  for (const one of shown) one.isSeen = !one.isWaiting;
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
        <p class="quiet">${moment(one.at)}</p>
        ${one.lines.map((line) => html`<p>${sentence(line)}</p>`)}
        ${one.link ? html`<p><a href=${one.link[0]}>${foreign(one.link[1])}</a></p>` : ""}
        <button type="button" @click=${() => dismiss(one)}>Dismiss</button>
      </div>`,
    ),
    document.getElementById("notices"),
  );
}
