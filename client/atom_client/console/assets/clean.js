// Make foreign text visible as what it is: characters that turn the text around them, or that no one sees, are escaped.

// The same as in text.py: control characters, marks of direction, separators of lines, and invisible characters.
const UNSEEN = new RegExp(
  "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f" +
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}]|\\p{Surrogate}",
  "gu",
);

export function clean(text) {
  return String(text ?? "").replaceAll(UNSEEN, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}
