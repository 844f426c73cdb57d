// An action in a modal dialog, which first shows what would be done, and does exactly that once it is confirmed.
//
// A preview is requested whenever the options change. Only a preview of the current options can be confirmed, and
// the server refuses the confirmation if the effect has changed in the meantime.

import { CONFLICT, OUTDATED, post } from "./api.js";
import { counted, foreign, sentence } from "./format.js";
import { notify } from "./notices.js";
import { html, render } from "./vendor/lit-html/lit-html.js";

const MOST_ROWS = 100;
const PAUSE_MS = 300;
// Members of a preview that list why it cannot be confirmed.
const PROBLEMS = ["problems", "param_problems", "output_problems"];

let opened = null;

// An action has a `title`, the words of its `confirm` button, the `path` to post to, the first `options`, and
// `fields(options, change)`, which draws what can be chosen. `body(options)` turns the options into the request, `show`
// draws what a preview has besides words, `missing(options)` says what must be given before there is one,
// `reword` may change its sentences, and `after` is called with the answer. `prepare()`, if given, reads what the fields
// need; `link(answer)` returns the link of the notice, perhaps as a promise; `about` is what the notice is about.
export function openAction(action) {
  opened?.close();
  opened = new ActionDialog(action);
}

export function closeDialog() {
  opened?.close();
}

class ActionDialog {
  constructor(action) {
    this.action = { fields: () => "", body: (options) => options, show: () => "", missing: () => "", reword: (text) => text, after: () => {}, prepare: null, ...action };
    this.options = { ...action.options };
    Object.assign(this, { plan: null, error: "", sending: false, asking: null, timer: 0, key: "", isPrepared: !action.prepare });
    this.element = document.createElement("dialog");
    this.element.className = "action";
    this.element.setAttribute("aria-labelledby", "action-title");
    this.element.addEventListener("close", () => this.closed());
    document.body.append(this.element);
    this.draw();
    // The browser moves the focus into the dialog, closes it on Escape, and then gives the focus back.
    this.element.showModal();
    this.begin();
  }

  async begin() {
    try {
      await this.action.prepare?.();
    } catch (error) {
      this.error = error.message;
      return this.draw();
    }
    Object.assign(this, { isPrepared: true, error: "" });
    // It may have been closed in the meantime.
    if (this.element.open) this.preview();
  }

  askAgain() {
    if (this.isPrepared) return this.preview();
    this.error = "";
    this.draw();
    this.begin();
  }

  close() {
    if (this.element.open) this.element.close();
    else this.closed();
  }

  closed() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.element.remove();
    if (opened === this) opened = null;
  }

  // Options that affect what will be done require another preview once typing stops; a reason does not.
  change(changed, { affectsPlan = true, isTyping = false } = {}) {
    Object.assign(this.options, changed);
    if (affectsPlan) {
      Object.assign(this, { plan: null, key: "" });
      this.asking?.abort();
      this.asking = null;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.preview(), isTyping ? PAUSE_MS : 0);
    }
    this.draw();
  }

  async preview(said = "") {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    Object.assign(this, { plan: null, error: said });
    this.draw();
    if (this.action.missing(this.options)) return;
    try {
      const body = { ...this.action.body(this.options), ...(this.key && { key: this.key }), dry_run: true };
      const plan = await post(this.action.path, body, asking.signal);
      if (asking === this.asking) this.plan = plan;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (asking === this.asking) this.error = error.message;
    }
    if (asking === this.asking) this.draw();
  }

  get canConfirm() {
    const { plan } = this;
    if (plan === null || this.sending || plan.refused || plan.ids?.length === 0) return false;
    return !PROBLEMS.some((name) => plan[name]?.length);
  }

  async confirm() {
    if (!this.canConfirm) return;
    this.sending = true;
    this.draw();
    // Letters are named one by one, and everything else by its preview's digest; a new run gets the preview's key.
    const { ids, seen, key } = this.plan;
    const named = ids ? { ids, all: false, hopeless: false } : { seen, key };
    try {
      const answer = await post(this.action.path, { ...this.action.body(this.options), ...named });
      this.close();
      notify(answer.lines ?? [], { link: this.action.link?.(answer) ?? null, about: this.action.about ?? null });
      await this.action.after(answer);
    } catch (error) {
      this.sending = false;
      // The new run may have been requested, so trying again must not request another one.
      if (key && error.status !== OUTDATED) this.key = key;
      if (opened !== this) notify([error.message]);
      else if ([CONFLICT, OUTDATED].includes(error.status)) await this.preview(error.message);
      else Object.assign(this, { error: error.message });
      this.draw();
    }
  }

  draw() {
    const { action, options, plan, error, sending } = this;
    const missing = this.isPrepared ? action.missing(options) : error ? "" : "Reading …";
    const content = html`<h2 id="action-title" tabindex="-1" autofocus>${foreign(action.title)}</h2>
      <fieldset class="fields" ?disabled=${sending}>${this.isPrepared ? action.fields(options, (...args) => this.change(...args), this) : ""}</fieldset>
      <section class="preview" aria-label="What it will do" aria-live="polite" aria-busy=${!plan && !error && !(this.isPrepared && missing)}>
        ${plan ? [drawPreview(plan, action.reword), action.show(plan)] : error ? "" : html`<p class="quiet">${missing || "Asking what it will do …"}</p>`}
      </section>
      ${error ? html`<p class="problem" role="alert">${sentence(error)}</p>` : ""}
      ${error && !plan && !missing ? html`<button type="button" @click=${() => this.askAgain()}>Ask again</button>` : ""}
      <div class="buttons">
        <button type="button" @click=${() => this.close()}>${sending ? "Close (still working)" : "Change nothing"}</button>
        <button type="button" class=${action.isFinal ? "final" : "main"} ?disabled=${!this.canConfirm}
          @click=${() => this.confirm()}>${sending ? "Working …" : action.confirm}</button>
      </div>`;
    render(content, this.element);
  }
}

// The sentences of a preview and the table of what it affects.
function drawPreview(plan, reword) {
  return html`${plan.refused ? html`<p class="problem">${sentence(plan.refused)}</p>` : ""}
    ${(plan.lines ?? []).map((line) => html`<p>${sentence(reword(line))}</p>`)}
    ${plan.table?.rows.length ? drawTable({ ...plan.table, rows: plan.table.rows.map((row) => row.map(reword)) }) : ""}`;
}

function drawTable({ heading, rows }) {
  const more = rows.length - MOST_ROWS;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="What is affected"><table>
      <thead><tr>${heading.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>${rows.slice(0, MOST_ROWS).map(
        ([first, ...cells]) => html`<tr><th scope="row">${sentence(first)}</th>
          ${cells.map((cell) => html`<td>${sentence(cell)}</td>`)}</tr>`,
      )}</tbody>
    </table></div>
    ${more > 0 ? html`<p class="quiet">and ${counted(more, "more row")}</p>` : ""}`;
}

// The field for the reason, which is recorded with the change and the user's name.
export function reasonField(options, change) {
  return html`<label class="field"><span>Reason <span class="quiet">(optional; recorded with your name)</span></span>
    <input type="text" maxlength="500" autocomplete="off" .value=${options.reason}
      @input=${(event) => change({ reason: event.target.value }, { affectsPlan: false })}></label>`;
}

// One of several values of an option.
export function choice(name, value, words, options, change) {
  return html`<label class="check"><input type="radio" name=${name} .checked=${options[name] === value}
    @change=${() => change({ [name]: value })}> ${words}</label>`;
}
