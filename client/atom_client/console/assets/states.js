// The states of runs and steps, in the order in which they are shown.

export const RUN_STATES = ["QUEUED", "SEEDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "INVALID", "SKIPPED"];
export const OPEN_RUN_STATES = new Set(["QUEUED", "SEEDING", "RUNNING"]);

export const STEP_STATES = ["PENDING", "DISPATCHING", "RUNNING", "RETRYING", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"];
export const ENDED_STEP_STATES = new Set(["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]);
// The state that stands for several steps is the first of these that one of them is in.
export const WORST_FIRST = ["FAILED", "RETRYING", "RUNNING", "DISPATCHING", "CANCELLED", "PENDING", "SKIPPED", "SUCCEEDED"];
