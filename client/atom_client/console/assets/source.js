// A workflow file that a user pastes, chooses or drops, and that this page reads.

import { counted, foreign } from "./format.js";
import { html } from "./vendor/lit-html/lit-html.js";

const MOST_BYTES = 4 * 1024 * 1024;
// A text field with more than this makes typing slow.
const MOST_SHOWN = 300_000;
// What happens to the file.
export const KEPT = "it stays on this machine";
export const SENT = "it is sent with the run, which stores it";

export class Source {
  // `changed` is called after each change, with true if more typing may follow. `fate` says what becomes of the file.
  constructor(changed, { name = "", text = "", fate }) {
    Object.assign(this, { changed, name, text, fate, problem: "" });
  }

  // The file as the server takes it, or null.
  get file() {
    return this.text.trim() ? { name: this.name || "pasted.yaml", text: this.text } : null;
  }

  set(name, text) {
    Object.assign(this, { name, text, problem: "" });
    this.changed(false);
  }

  async read(file) {
    if (!file) return;
    if (file.size > MOST_BYTES) {
      this.problem = `${file.name} has ${counted(file.size, "byte")}; a workflow file may have up to ${counted(MOST_BYTES, "byte")}.`;
      return this.changed(false);
    }
    const text = new TextDecoder("utf-8", { fatal: true });
    try {
      this.set(file.name, text.decode(await file.arrayBuffer()));
    } catch {
      this.problem = `${file.name} is not UTF-8 text.`;
      this.changed(false);
    }
  }

  type(text) {
    Object.assign(this, { text, problem: "" });
    this.changed(true);
  }

  render() {
    const isLong = this.text.length > MOST_SHOWN;
    return html`<div class="source" @dragover=${(event) => event.preventDefault()} @drop=${(event) => this.dropped(event)}>
      <div class="row">
        <label class="field"><span>Workflow file <span class="quiet">(YAML or JSON, up to 4 MB; ${this.fate})</span></span>
          <input type="file" accept=".yaml,.yml,.json" @change=${(event) => this.chosen(event)}></label>
        <label class="field"><span>Name of the file</span>
          <input type="text" spellcheck="false" autocomplete="off" placeholder="pasted.yaml" .value=${this.name}
            @change=${(event) => this.set(event.target.value.trim(), this.text)}></label>
      </div>
      ${isLong
        ? html`<p>${foreign(this.name)}: ${counted(this.text.length, "character")}, too many to be edited here.
            <button type="button" @click=${() => this.set("", "")}>Remove</button></p>`
        : html`<label class="field"><span>Text <span class="quiet">(paste it, drop a file, or edit)</span></span>
            <textarea rows="14" spellcheck="false" autocapitalize="off" .value=${this.text}
              @input=${(event) => this.type(event.target.value)}></textarea></label>`}
      ${this.problem ? html`<p class="problem" role="alert">${foreign(this.problem)}</p>` : ""}
    </div>`;
  }

  chosen({ target }) {
    this.read(target.files[0]);
    // Browsers report no change if the same file is chosen again, although it may have been edited in the meantime.
    target.value = "";
  }

  dropped(event) {
    const [file] = event.dataTransfer.files;
    if (!file) return;
    event.preventDefault();
    this.read(file);
  }
}
