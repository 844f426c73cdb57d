// The states of runs and steps, in the order in which they are shown.

export const RUN_STATES = ["QUEUED", "SEEDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "INVALID", "SKIPPED"];
export const OPEN_RUN_STATES = new Set(["QUEUED", "SEEDING", "RUNNING"]);

export const STEP_STATES = ["PENDING", "DISPATCHING", "RUNNING", "RETRYING", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"];
export const ENDED_STEP_STATES = new Set(["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]);
// Several steps together have the first of these states that any of them is in.
export const WORST_FIRST = ["FAILED", "RETRYING", "RUNNING", "DISPATCHING", "CANCELLED", "PENDING", "SKIPPED", "SUCCEEDED"];
