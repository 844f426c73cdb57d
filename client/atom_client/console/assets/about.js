// What the server says about this console: the platform, the user, and whether anything may be changed.

export const about = { place: "", read_only: false, why_read_only: "" };

export function learnAbout(found) {
  Object.assign(about, found);
}
