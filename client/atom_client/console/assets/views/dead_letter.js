// One dead letter: its facts, its event, and what to do about it.

import { toolbar } from "../actions.js";
import { go, to } from "../address.js";
import { get, path } from "../api.js";
import { foreign, sentence } from "../format.js";
import { openDrop, openReplay } from "../letters.js";
import { factList } from "../parts.js";
import { html } from "../vendor/lit-html/lit-html.js";

export async function deadLetter({ params: [id] }) {
  const letter = await get(path`/dead-letters/${id}`);
  const { hash } = location;
  // The reader may have left the page while the letter was being replayed.
  const after = () => {
    if (location.hash === hash) go("#/dead-letters");
  };
  return { title: `Dead letter ${id}`, render: () => draw(letter, after) };
}

function draw(letter, after) {
  return html`<p><a href="#/dead-letters">All dead letters</a></p>
    <h1>Dead letter ${foreign(letter.id)}</h1>
    ${toolbar("Actions on this letter", [
      ["Replay …", () => openReplay({ ids: [letter.id] }, after), letter.topic ? "" : "Its origin is unknown, so it cannot be replayed."],
      ["Drop …", () => openDrop({ ids: [letter.id] }, after), ""],
    ])}
    ${factList(letter.facts, (_, value) => sentence(value))}
    ${letter.run_id ? html`<p><a href=${to("runs", letter.run_id)}>Run ${foreign(letter.run_id)}</a></p>` : ""}
    <h2>Event</h2><pre tabindex="0" aria-label="The event">${letter.body_text}</pre>
    <h2>What to do</h2>${letter.advice.map((line) => html`<p>${sentence(line)}</p>`)}`;
}
