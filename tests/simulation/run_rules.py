"""Rules for each change of a run, and for its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from simulation.findings import Rule
from simulation.oracle import End, Fate
from simulation.oracle_runs import expected_ends

RETRY_DID_NOT_BEGIN: Final = "its retry did not begin: "

if TYPE_CHECKING:
    from simulation.watch import Watch

_DECIDED_S: Final = 120.0
"""The longest time between the decision to end the main part and the commit."""

_NEXT: Final = {
    None: {RunState.QUEUED, RunState.SEEDING, RunState.RUNNING, RunState.SKIPPED, RunState.INVALID},
    # A retry that could not begin leaves its run FAILED.
    RunState.QUEUED: {RunState.SEEDING, RunState.SKIPPED, RunState.CANCELLED, RunState.FAILED},
    RunState.SEEDING: {RunState.RUNNING, RunState.FAILED, RunState.CANCELLED},
    RunState.RUNNING: {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED},
    RunState.FAILED: {RunState.QUEUED, RunState.SEEDING},
    RunState.CANCELLED: {RunState.QUEUED, RunState.SEEDING},
    # Someone named steps of it.
    RunState.SUCCEEDED: {RunState.QUEUED, RunState.SEEDING},
    # The next start under its key takes its place.
    RunState.INVALID: {RunState.QUEUED, RunState.SEEDING, RunState.RUNNING, RunState.SKIPPED},
}


def check(watch: Watch, before: RunRecord | None, run: RunRecord) -> None:
    """Check one change of a run."""
    state = None if before is None else before.state
    if state is not run.state:
        if run.state not in _NEXT.get(state, set()):
            watch.report(Rule.RUN_STATE, f"the run went from {state} to {run.state}")
        if run.state is RunState.INVALID:
            _check_invalid(watch, run)
        elif run.state.is_terminal and not _did_not_begin(state, run):
            _check_closed(watch, state, run)
    is_retried = before is not None and before.state in {RunState.FAILED, RunState.CANCELLED, RunState.SUCCEEDED}
    reopened = is_retried and run.state in {RunState.QUEUED, RunState.SEEDING}
    if before is not None and before.state is RunState.SUCCEEDED and reopened and not watch.names:
        watch.report(Rule.RERUN, "a run that succeeded was retried, and no step of it was named")
    if before is not None and run.retries != before.retries + reopened:
        watch.report(Rule.RUN_STATE, f"the run was retried {before.retries} times, then {run.retries} times")
    _check_stop(watch, before, run, reopened=reopened)
    _check_main(watch, before, run)
    if before is not None and before.state is RunState.SEEDING and run.state is RunState.RUNNING and run.retries:
        _check_reruns(watch, run)


def _did_not_begin(before: RunState | None, run: RunRecord) -> bool:
    """Return True if a run was skipped, or if its retry was; lines.py checks why."""
    return run.state is RunState.SKIPPED or (before is RunState.QUEUED and run.state is RunState.FAILED)


def _check_stop(watch: Watch, before: RunRecord | None, run: RunRecord, *, reopened: bool) -> None:
    stop = run.stop
    if stop == (before and before.stop):
        return
    if stop is None:
        # When the main part ends, a stop is over, too: it was about that part.
        has_ended_main = before is not None and before.main_state is None and run.main_state is not None
        if not reopened and not has_ended_main:
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
    if not watch.is_refusable:
        watch.report(Rule.RUN_STATE, f"the run is INVALID: {run.errors}")
    if watch.steps or not run.errors:
        watch.report(
            Rule.RUN_STATE, f"the run is INVALID with the errors {run.errors} and the steps {list(watch.steps)}"
        )


def _check_closed(watch: Watch, state: RunState | None, run: RunRecord) -> None:
    """Check a run that ended just now."""
    # Who still seeds a run that was stopped may write more steps; it closes them when it finds out.
    left = [step for step in watch.steps.values() if not step.state.is_terminal and _counts(watch, step)]
    if any(run.stop is None or step.state is not StepState.PENDING for step in left):
        watch.report(Rule.RUN_STATE, f"the run is {run.state} with open steps: {watch.open_steps()}")
    due = _due_state(watch, run)
    if run.state is not due:
        watch.report(Rule.RUN_STATE, f"the run is {run.state} and should be {due}")
    if run.state is RunState.FAILED and not run.errors:
        watch.report(Rule.RUN_STATE, "the run is FAILED and does not say why")
    is_cut_short = run.stop is not None and (run.stop.now or run.stop.kind is StopKind.FAIL)
    if watch.scenario.finally_steps and state is RunState.RUNNING and run.main_state is None and not is_cut_short:
        watch.report(Rule.FINALLY, "the run has ended without its steps under finally")
    if run.state is RunState.SUCCEEDED and dict(run.outputs) != watch.outputs_of_run():
        watch.report(Rule.OUTPUTS, f"the run has the outputs {run.outputs}; they should be {watch.outputs_of_run()}")


def _counts(watch: Watch, step: StepRecord) -> bool:
    return step.id not in watch.gone and watch.is_current(step)


def _due_state(watch: Watch, run: RunRecord) -> RunState:
    """Return the state in which a run has to end."""
    stop = run.stop
    main = run.main_state or _verdict(watch, run)
    if main is RunState.SUCCEEDED and stop is not None:
        return RunState.CANCELLED if stop.kind is StopKind.CANCEL else RunState.FAILED
    if main is RunState.SUCCEEDED and _failed(watch, watch.scenario.finally_ids):
        return RunState.FAILED
    if main is RunState.SUCCEEDED and watch.outputs_of_run() is None:
        return RunState.FAILED
    return main


def _verdict(watch: Watch, run: RunRecord) -> RunState:
    """Return the state in which the main part of a run has to end."""
    if run.stop is not None:
        return RunState.CANCELLED if run.stop.kind is StopKind.CANCEL else RunState.FAILED
    main = {plan.id for plan in watch.scenario.steps}
    return RunState.FAILED if _failed(watch, main) else RunState.SUCCEEDED


def _failed(watch: Watch, names: Collection[str]) -> list[str]:
    """Return the steps that fail the run."""
    ends = {name: watch.end_of(name) for name in names}
    # Of steps that were left as they are, those that were never started count, too.
    return [
        name
        for name, end in ends.items()
        if end is not None and (end.is_failure if name in watch.left else end.fails_run)
    ]


def _check_main(watch: Watch, before: RunRecord | None, run: RunRecord) -> None:
    """Check the end of a run's main part, and that it ends once."""
    main_state = None if before is None else before.main_state
    if run.main_state is main_state:
        return
    if before is None or (main_state is None) is (run.retries > before.retries):
        watch.report(Rule.FINALLY, f"the main part was {main_state} and is {run.main_state}")
    if run.main_state is None or before is None:
        return
    due = _verdict(watch, before)
    if run.main_state is not due:
        watch.report(Rule.RUN_STATE, f"the main part is {run.main_state} and should be {due}")
    names = [plan.id for plan in watch.scenario.steps if plan.id not in watch.gone]
    if left := [name for name in names if watch.end_of(name) is None]:
        watch.report(Rule.FINALLY, f"the main part has ended without {left}")
    if not watch.gone and run.failure_count != watch.failures(names):
        watch.report(Rule.FINALLY, f"the main part has {run.failure_count} failures, not {watch.failures(names)}")
    until = watch.now + timedelta(seconds=watch.scenario.finally_timeout_s - _DECIDED_S)
    if run.deadline is None or run.deadline < until:
        watch.report(Rule.FINALLY, f"the steps under finally have only until {run.deadline}")


def _check_reruns(watch: Watch, run: RunRecord) -> None:
    """Check that a retry has reset all that it must, and nothing else."""
    again = watch.reruns[run.retries]
    added = [
        name for name, step in watch.steps.items() if step.each and not _is_barrier(step) and watch.is_current(step)
    ]
    for name in {*watch.scenario.by_id, *added} - watch.gone:
        step = watch.steps.get(name)
        if step is None or step.each in watch.gone:
            # Without a loop itself, the run cannot go on.
            continue
        if (step.retries == run.retries) is not (name in again):
            expected = "runs again" if name in again else "is kept"
            watch.report(Rule.RERUN, f"retry {run.retries} begins, in which {name} {expected}; it is {step.state}")


def _is_barrier(step: StepRecord) -> bool:
    return step.kind in {NodeKind.INTERNAL, NodeKind.PLACES}


def _check_counters(watch: Watch, retries: int) -> None:
    # What a step that was left as it is depends on may have ended otherwise since, and so may what its barriers count.
    counted = [one for one in watch.steps.values() if watch.is_current(one) and (one.each or one.id) not in watch.left]
    if watch.left:
        # A marked loop may leave the node that creates its items as a stop has ended it.
        of_compiler = [one for one in counted if _is_barrier(one) or one.kind is NodeKind.EXPAND]
        counted = [one for one in counted if one not in of_compiler or one.retries == retries]
    for step in counted:
        # No counter decides that an item is left out.
        if not watch.is_unstarted(step) and (miscount := watch.miscount(step)):
            watch.report(Rule.COUNTERS, f"at its end, {miscount}")


def check_end(watch: Watch) -> None:
    """Check the run once everything is over."""
    run = watch.run
    if run is None:
        watch.report(Rule.STUCK, "there is no run")
        return
    if watch.was_stopped or run.state in {RunState.INVALID, RunState.SKIPPED}:
        return
    if any(str(error["message"]).startswith(RETRY_DID_NOT_BEGIN) for error in run.errors):
        # Its steps are those of the round before.
        return
    steps = watch.users_steps()
    if set(steps) != set(watch.scenario.by_id):
        watch.report(Rule.ENDS, f"steps are missing: {set(watch.scenario.by_id) - set(steps)}")
        return
    _check_counters(watch, run.retries)
    _check_ends(watch)
    for plan in watch.scenario.all_steps:
        # A loop that was left as it is may have been stopped in an earlier round, which gives no places back.
        if plan.loop is not None and plan.id not in watch.left and (lost := watch.lost_places(plan.id)):
            watch.report(Rule.PLACES, lost)
    if not run.retries and not any(map(watch.is_unstarted, watch.steps.values())):
        _check_script(watch)


def _check_ends(watch: Watch) -> None:
    """Check that each step and item has ended as its file says."""
    steps = watch.users_steps()
    items = [item for plan in watch.scenario.all_steps for item in watch.items_of(plan.id) or ()]
    for step in [*steps.values(), *items]:
        fate = watch.fate_of(step.id)
        was_skipped = fate in {Fate.IS_BLOCKED, Fate.IS_SKIPPED}
        is_right = step.by_choice is (fate is Fate.IS_SKIPPED) and was_skipped is (step.state is StepState.SKIPPED)
        if (not is_right or fate is None) and not watch.is_unstarted(step) and (step.each or step.id) not in watch.left:
            watch.report(Rule.ENDS, f"{step.id} is {step.state}, and by its file it {fate}")


def _check_script(watch: Watch) -> None:
    expected = expected_ends(watch.scenario, watch.excused, watch.kept)
    ends = {name: _without_job(watch.end_of(name)) for name in watch.users_steps()}
    wrong = {name: (end, expected[name]) for name, end in ends.items() if end != _without_job(expected[name])}
    if wrong:
        watch.report(Rule.ENDS, f"the script says otherwise: {wrong}")


def _without_job(end: End | None) -> End | None:
    """Leave out which job returned the outputs, as no script knows that."""
    if end is None or end.outputs is None:
        return end
    return replace(end, outputs={"n": end.outputs.get("n")})
