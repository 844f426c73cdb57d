// The problems and warnings of a file, each with the line that it refers to.

import { foreign, sentence } from "./format.js";
import { html } from "./vendor/lit-html/lit-html.js";

export function drawFindings(findings) {
  if (!findings.length) return "";
  return html`<ul class="findings">${findings.map((one) => {
    const position = one.line ? `${one.file}:${one.line}:${one.column}` : one.file;
    return html`<li data-kind=${one.kind}>
      <p><strong>${one.kind === "problem" ? "✘ Problem" : "⚠ Warning"}</strong> ${foreign(position)}: ${sentence(one.message)}${
        one.suggestion ? html`; ${sentence(one.suggestion)}` : ""}</p>
      ${one.excerpt.length ? html`<pre tabindex="0" aria-label="Line ${one.line}">${one.excerpt.join("\n")}</pre>` : ""}
    </li>`;
  })}</ul>`;
}
