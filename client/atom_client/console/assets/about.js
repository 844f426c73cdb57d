// This console: the name of its platform, and why nothing may be changed, if so.

export const about = { place: "", read_only: false, why_read_only: "" };

export function learnAbout(found) {
  Object.assign(about, found);
}
