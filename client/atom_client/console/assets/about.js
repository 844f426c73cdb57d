// What the server says about this console: the platform, the user, and whether anything may be changed.

export const about = { place: "", actor: "", read_only: false };

export function learnAbout(found) {
  Object.assign(about, found);
}

export const READ_ONLY = "This console is read-only; start it without --read-only to change anything.";
