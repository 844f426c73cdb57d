// A form made from the `params` of a workflow: a field for each, with its type, choices, default and problems.

import { clean, counted, foreign, sentence } from "./format.js";
import { html } from "./vendor/lit-html/lit-html.js";
import { live } from "./vendor/lit-html/directives/live.js";

const INPUTS = { date: "date", int: "text", number: "text" };
const MODES = { int: "numeric", number: "decimal" };

// `values` has the texts of the params that were given; a param that is missing has its default. `change` is
// called with a name and a text, or with undefined to restore the default.
export function paramsForm({ params, values, problems, change, legend = "Parameters" }) {
  const named = new Set(params.map((one) => one.name));
  const others = problems.filter((one) => !named.has(one.param));
  if (!params.length && !others.length) return "";
  return html`<fieldset class="params"><legend>${legend}</legend>
    ${others.map((one) => html`<p class="problem">${sentence(one.message)}
      ${one.param !== null && Object.hasOwn(values, one.param)
        ? html`<button type="button" @click=${() => change(one.param, undefined)}>Leave ${foreign(one.param)} out</button>` : ""}</p>`)}
    ${params.map((one) => field(one, Object.hasOwn(values, one.name) ? values[one.name] : undefined, problems.filter((found) => found.param === one.name), change))}
  </fieldset>`;
}

function field(param, given, problems, change) {
  const id = `param-${param.name}`;
  const type = typeof param.type === "string" ? param.type.replace(/ or null$/, "") : "json";
  const parts = { id, type, text: given ?? param.value ?? param.default ?? "", isGiven: given !== undefined && given !== param.value, problems };
  return html`<div class="field">
    <label for=${id}>${foreign(param.name)} <span class="quiet">${foreign(param.type_text)}${rules(param)}</span></label>
    ${input(param, parts, change)}
    <div class="hint" id="${id}-hint">
      ${param.description ? html`<div class="description">${foreign(param.description)}</div>` : ""}
      <span class="quiet">${defaultWords(param)}</span>
      ${parts.isGiven ? html`<button type="button" @click=${() => change(param.name, undefined)}>
        ${param.value !== null ? "Restore" : param.required ? "Clear" : "Use the default"}<span class="unseen"> for ${foreign(param.name)}</span></button>` : ""}
    </div>
    ${problems.length ? html`<div id="${id}-problem">${problems.map((one) => html`<p class="problem">${sentence(one.message)}</p>`)}</div>` : ""}
  </div>`;
}

function input(param, { id, type, text, problems }, change) {
  const set = (event) => change(param.name, event.target.value);
  const about = `${id}-hint${problems.length ? ` ${id}-problem` : ""}`;
  const invalid = problems.length ? "true" : "false";
  const choices = type === "bool" ? ["true", "false", ...(param.may_be_null ? ["null"] : [])] : param.choices;
  if (choices.length) {
    const all = choices.includes(text) ? choices : [text, ...choices];
    return html`<select id=${id} aria-describedby=${about} aria-invalid=${invalid} @change=${set}>${all.map(
      (one) => html`<option value=${one} .selected=${one === text}>${clean(one) || "(choose)"}</option>`,
    )}</select>`;
  }
  if (type === "json" || type === "any" || /^[[{]/.test(type)) {
    return html`<textarea id=${id} rows="3" spellcheck="false" aria-describedby=${about} aria-invalid=${invalid}
      .value=${live(text)} @input=${set}></textarea>`;
  }
  const kind = param.may_be_null ? "text" : INPUTS[type] ?? "text";
  return html`<input id=${id} type=${kind} inputmode=${MODES[type] ?? "text"} autocomplete="off" spellcheck="false"
    ?required=${param.required} aria-describedby=${about} aria-invalid=${invalid} .value=${live(text)} @input=${set}>`;
}

function defaultWords(param) {
  if (param.value !== null) return html`Previous value: ${foreign(clip(param.value))}.`;
  if (param.required) return "Required.";
  if (param.computed !== null) return html`Default: computed by ${foreign(param.computed)}.`;
  return html`Default: ${foreign(clip(param.default))}.`;
}

const long = (limit) => `${limit} long`;
const items = (limit) => counted(limit, "item");
const LIMITS = {
  min: ["at least", String], max: ["at most", String],
  minLength: ["at least", long], maxLength: ["at most", long],
  minItems: ["at least", items], maxItems: ["at most", items],
};

function rules(param) {
  return Object.entries(param.limits)
    .filter(([name]) => name in LIMITS)
    .map(([name, limit]) => `, ${LIMITS[name][0]} ${LIMITS[name][1](limit)}`)
    .join("");
}

function clip(text) {
  return text === "" ? "empty text" : text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
