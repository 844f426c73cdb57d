// Wait until the platform has begun a run: it does so once it has read the message that requests the run.

import { to } from "./address.js";
import { get, path } from "./api.js";

const MOST_LOOKS = 20;
const BETWEEN_LOOKS_MS = 500;

// Return true once the run exists, or false if it does not after a while or `isWanted()` is false.
export async function waitForRun(runId, isWanted = () => true) {
  for (let look = 0; look < MOST_LOOKS && isWanted(); look++) {
    // A look that fails says nothing about the run, which has been requested.
    const found = await get(path`/starts/${runId}`).catch(() => null);
    if (found?.has_begun) return true;
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS_MS));
  }
  return false;
}

// Return the link of a notice to a run, once the run exists, or after a while without it.
export async function linkToRun(runId) {
  await waitForRun(runId);
  return [to("runs", runId), `Run ${runId}`];
}
