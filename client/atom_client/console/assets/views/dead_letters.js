// The events that could not be handled, newest first.

import { toolbar } from "../actions.js";
import { to } from "../address.js";
import { get } from "../api.js";
import { counted, foreign, moment, sentence } from "../format.js";
import { openDrop, openReplay } from "../letters.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

export async function deadLetters({ redraw }) {
  const page = new LettersPage(redraw);
  await page.read();
  return { title: "Dead letters", render: () => page.render() };
}

class LettersPage {
  constructor(redraw) {
    Object.assign(this, { redraw, found: null, chosen: new Set(), isReading: false, error: "" });
  }

  async read() {
    Object.assign(this, { isReading: true, error: "" });
    this.redraw();
    try {
      this.found = await get("/dead-letters");
      const ids = new Set(this.found.dead_letters.map((one) => one.id));
      this.chosen = new Set([...this.chosen].filter((id) => ids.has(id)));
    } catch (error) {
      if (this.found === null) throw error;
      this.error = error.message;
    } finally {
      this.isReading = false;
    }
    this.redraw();
  }

  choose(id, isChosen) {
    if (isChosen) this.chosen.add(id);
    else this.chosen.delete(id);
    this.redraw();
  }

  render() {
    const { found, chosen } = this;
    const letters = found.dead_letters;
    const after = () => this.read();
    const ids = [...chosen];
    const none = letters.length ? (ids.length ? "" : "Choose letters first.") : "There is nothing to replay or drop.";
    const empty = letters.length ? "" : none;
    return html`<h1>Dead letters</h1>
      <p class="quiet">Events that could not be handled. Reading letters holds them for a moment, so any that another
        command is reading now are missing here. <button type="button" aria-disabled=${this.isReading ? "true" : "false"} @click=${() => this.isReading || this.read()}>${
          this.isReading ? "Reading …" : "Read again"}</button></p>
      ${this.error ? html`<p class="problem" role="alert">${sentence(this.error)}</p>` : ""}
      ${toolbar("Actions on dead letters", [
        [`Replay ${ids.length ? counted(ids.length, "letter") : "chosen"} …`, () => openReplay({ ids }, after), none],
        [`Drop ${ids.length ? counted(ids.length, "letter") : "chosen"} …`, () => openDrop({ ids }, after), none],
        ["Replay all that may succeed …", () => openReplay({ all: true }, after), empty],
        ["Drop all hopeless …", () => openDrop({ hopeless: true }, after), empty],
      ])}
      ${letters.length ? this.renderTable(letters) : html`<p>There are no dead letters: every event has been handled or is still being delivered.</p>`}
      ${found.total > letters.length || !found.is_all
        ? html`<p class="quiet">The newest ${letters.length} of ${found.total}${found.is_all ? "" : " or more"}.</p>` : ""}`;
  }

  renderTable(letters) {
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Dead letters"><table class="letters cards">
      <thead><tr><th scope="col">Choose</th><th scope="col">Letter</th><th scope="col">Topic</th><th scope="col">Dead since</th>
        <th scope="col">Deliveries</th><th scope="col">Run</th><th scope="col">Reason</th></tr></thead>
      <tbody>${repeat(letters, (one) => one.id, (one) => html`<tr>
        <td><input type="checkbox" aria-label="Choose letter ${one.id}" .checked=${this.chosen.has(one.id)}
          @change=${(event) => this.choose(one.id, event.target.checked)}></td>
        <th scope="row"><a href=${to("dead-letters", one.id)}>${foreign(one.id)}</a></th>
        <td data-name="Topic">${foreign(one.topic)}</td><td data-name="Dead since">${moment(one.dead_since)}</td>
        <td data-name="Deliveries">${one.deliveries ?? ""}</td>
        <td data-name="Run">${one.run_id ? html`<a href=${to("runs", one.run_id)}>${foreign(one.run_id)}</a>` : ""}</td>
        <td data-name="Reason">${sentence(one.reason)}${one.replay_may_succeed ? "" : html` <span class="quiet">(a replay cannot help)</span>`}</td>
      </tr>`)}</tbody></table></div>`;
  }
}
