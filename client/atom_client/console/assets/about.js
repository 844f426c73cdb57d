// This console: the name of its platform and, if nothing may be changed, why.

export const about = { place: "", read_only: false, why_read_only: "" };

export function learnAbout(found) {
  Object.assign(about, found);
}
