"""Rules for each change of a run, and for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from atom_workflows.core.records import RunRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from simulation.findings import Rule
from simulation.oracle import expected_ends

if TYPE_CHECKING:
    from simulation.watch import Watch

_NEXT: Final = {
    None: {RunState.SEEDING, RunState.RUNNING, RunState.INVALID},
    RunState.SEEDING: {RunState.RUNNING, RunState.FAILED, RunState.CANCELLED},
    RunState.RUNNING: {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED},
    RunState.FAILED: {RunState.SEEDING},
    RunState.CANCELLED: {RunState.SEEDING},
    # The next start under its key takes its place.
    RunState.INVALID: {RunState.SEEDING, RunState.RUNNING},
}


def check(watch: Watch, before: RunRecord | None, run: RunRecord) -> None:
    """Check one change of a run."""
    state = None if before is None else before.state
    if state is not run.state:
        if run.state not in _NEXT.get(state, set()):
            watch.report(Rule.RUN_STATE, f"the run went from {state} to {run.state}")
        if run.state is RunState.INVALID:
            _check_invalid(watch, run)
        elif run.state.is_terminal:
            _check_closed(watch, run)
    is_retried = before is not None and before.state in {RunState.FAILED, RunState.CANCELLED}
    reopened = is_retried and run.state is RunState.SEEDING
    if before is not None and run.retries != before.retries + reopened:
        watch.report(Rule.RUN_STATE, f"the run was retried {before.retries} times, then {run.retries} times")
    _check_stop(watch, before, run, reopened=reopened)


def _check_stop(watch: Watch, before: RunRecord | None, run: RunRecord, *, reopened: bool) -> None:
    stop = run.stop
    if stop == (before and before.stop):
        return
    if stop is None:
        if not reopened:
            watch.report(Rule.STOP, "the run forgot that it is to be stopped")
    elif stop.kind is StopKind.CANCEL:
        if not watch.cancel_was_asked:
            watch.report(Rule.STOP, "no one asked for the run to be cancelled")
    elif stop.kind is StopKind.FAIL:
        if not watch.gone:
            watch.report(Rule.STOP, f"the run was stopped, though all its documents are there: {stop.reason}")
    elif run.deadline is None or run.deadline > watch.latest_now:
        watch.report(Rule.STOP, f"the run was stopped before its deadline {run.deadline}")


def _check_invalid(watch: Watch, run: RunRecord) -> None:
    """Check a run that could not start."""
    if watch.scenario.path not in watch.evidence.gone:
        watch.report(Rule.RUN_STATE, f"the run is INVALID: {run.errors}")
    if watch.steps or not run.errors:
        watch.report(
            Rule.RUN_STATE, f"the run is INVALID with the errors {run.errors} and the steps {list(watch.steps)}"
        )


def _check_closed(watch: Watch, run: RunRecord) -> None:
    """Check a run that ended just now."""
    # Who still seeds a run that was stopped may write more steps; it closes them when it finds out.
    left = [step for name, step in watch.steps.items() if not step.state.is_terminal and name not in watch.gone]
    if any(run.stop is None or step.state is not StepState.PENDING for step in left):
        watch.report(Rule.RUN_STATE, f"the run is {run.state} with open steps: {watch.open_steps()}")
    ended_well = all(step.state is StepState.SUCCEEDED for step in watch.users_steps().values())
    if run.stop is not None:
        due = RunState.CANCELLED if run.stop.kind is StopKind.CANCEL else RunState.FAILED
    else:
        due = RunState.SUCCEEDED if ended_well else RunState.FAILED
    if run.state is not due:
        watch.report(Rule.RUN_STATE, f"the run is {run.state} and should be {due}")
    if run.state is RunState.FAILED and not run.errors:
        watch.report(Rule.RUN_STATE, "the run is FAILED and does not say why")


def check_end(watch: Watch) -> None:
    """Check the run once everything is over."""
    run = watch.run
    if run is None:
        watch.report(Rule.STUCK, "there is no run")
        return
    if run.stop is not None or run.state is RunState.INVALID:
        return
    steps = watch.users_steps()
    if set(steps) != set(watch.scenario.by_id):
        watch.report(Rule.ENDS, f"steps are missing: {set(watch.scenario.by_id) - set(steps)}")
        return
    for step in watch.steps.values():
        if miscount := watch.miscount(step):
            watch.report(Rule.COUNTERS, f"at its end, {miscount}")
    for plan in watch.scenario.steps:
        is_blocked = any(steps[need].state is not StepState.SUCCEEDED for need in plan.depends_on)
        if is_blocked is not (steps[plan.id].state is StepState.SKIPPED):
            watch.report(Rule.ENDS, f"{plan.id} is {steps[plan.id].state}")
    if not run.retries:
        _check_script(watch)


def _check_script(watch: Watch) -> None:
    expected = expected_ends(watch.scenario, watch.excused)
    wrong = {name: step.state.value for name, step in watch.users_steps().items() if step.state is not expected[name]}
    if wrong:
        watch.report(Rule.ENDS, f"the script says otherwise of {wrong}")
