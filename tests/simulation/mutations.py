"""The planted bugs by name, each with what it puts in the place of what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from atom_workflows.coordinator import advance, close, commits, dispatch, repair, retry, run_graph, seed, start
from atom_workflows.coordinator.advance import Advance
from atom_workflows.coordinator.checker import audit, burst, due_handler
from atom_workflows.core import polling, transitions
from atom_workflows.core.records import StepRecord
from atom_workflows.errors import SourceError
from atom_workflows.handlers import delivery
from simulation import handling, planted, planted_checker
from simulation.task_runner import FaultyTaskRunner

Patch: TypeAlias = tuple[Any, str, Any]
"""Whose attribute, its name, what to put there."""

_AGES: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A bug. `seed` is one that is known to find it, tried first to save time."""

    name: str
    patches: tuple[Patch, ...]
    seed: int = 0

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Replace parts of the coordinator by the bug."""
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in self.patches]
        for owner, name, value in self.patches:
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


def _mutation(name: str, *patches: Patch, seed: int = 0) -> Mutation:
    return Mutation(name=name, patches=patches, seed=seed)


MUTATIONS: Final = (
    _mutation(
        "publish before commit",
        (Advance, "_save_and_go_on", planted.publish_first),
        (Advance, "_go_on", planted.go_on_in_silence),
        seed=130,
    ),
    _mutation("no guard on the claim", (commits, "_guarded_write", planted.unguarded_claim), seed=44),
    _mutation("no guard on the outcome", (commits, "_guarded_write", planted.unguarded_outcome)),
    _mutation("count down again on redelivery", (dispatch, "_republish_below_ended", planted.count_again)),
    _mutation("count in a second commit", (commits, "_commit", planted.commit_twice)),
    _mutation(
        "count skipped dependencies as succeeded", (commits, "_count_dependents", planted.count_failed_only), seed=6
    ),
    _mutation(
        "hand over without counting", (Advance, "_claims_of_sole_dependents", planted.claims_without_counting), seed=1
    ),
    _mutation("skip the republish on redelivery", (dispatch, "republish_below", planted.nothing), seed=10),
    _mutation("acknowledge although it failed", (handling, "handle_steps", planted.acknowledge_anyway), seed=38),
    _mutation("a lease that is never over", (advance, "claim", planted.claim_for_ages)),
    _mutation("a new attempt for an expired lease", (advance, "claim", planted.claim_anew)),
    _mutation("submit whatever is left of the lease", (advance, "SUBMIT_BUDGET", -_AGES), seed=382),
    _mutation("a failed status call fails the job", (due_handler, "ask", planted.poll_strictly), seed=23),
    _mutation("no grace for a job that is unknown", (polling, "MISSING_GRACE", timedelta(0)), seed=30),
    _mutation("a lost job uses up a try", (transitions, "_retry", planted.losses_are_tries), seed=212),
    _mutation("one try too many", (transitions, "_retry", planted.one_try_more)),
    _mutation("no back-off", (transitions, "_retry", planted.no_back_off), seed=37),
    _mutation("take an outcome for any attempt's", (dispatch, "apply_outcome", planted.settle_whatever_comes), seed=25),
    _mutation(
        "no timeout",
        (due_handler, "end_dispatch", planted.nothing),
        (due_handler, "judge_overdue", planted.found_as_it_is),
    ),
    _mutation(
        "onLost: fail submits again",
        (due_handler, "end_dispatch", planted.nothing),
        (dispatch, "may_claim", planted.claim_what_may_be_lost),
    ),
    _mutation(
        # Without the second, the start function would publish it once nothing is under way.
        "the audit publishes nothing",
        (audit, "publish_released", planted.no_events),
        (audit, "request_repair", planted.no_events),
        seed=110,
    ),
    _mutation("the audit leaves a half-seeded run", (audit, "seed_message", planted.no_seed), seed=20),
    _mutation("a burst's lease is never over", (burst._Burst, "take_lease", planted.take_for_ages), seed=6),
    _mutation(
        "finish without checking the end",
        (commits, "_result_of", planted.end_with_any_leaf),
        (advance, "finish_run", planted.finish_early),
    ),
    _mutation(
        # With the consistency check this heals within minutes, and nothing is left that breaks a rule.
        "reset roots first, unmended",
        (retry, "_dependents_first", planted.roots_first),
        (audit, "request_repair", planted.no_events),
        seed=7,
    ),
    _mutation("reset without counters", (retry, "reset", planted.reset_without_counters)),
    _mutation("a stop that is not recorded", (close, "_record_stop", planted.forget_the_stop), seed=8),
    _mutation("set running without a guard", (seed, "_set_running", planted.set_running_anyway), seed=327),
    _mutation("a barrier passed twice", (commits, "_guarded_write", planted.unguarded_barrier), seed=26),
    _mutation("a late outcome undoes a stop", (dispatch, "apply_outcome", planted.settle_what_was_stopped), seed=97),
    _mutation("no one looks at a job", (advance, "record_job", planted.submitted_unwatched), seed=6),
    _mutation(
        "another key for the same attempt", (StepRecord, "idempotency_key", property(planted.another_key)), seed=7
    ),
    _mutation("a retry counts earlier rounds", (retry, "reset", planted.reset_without_first_attempt), seed=6),
    _mutation("the audit never looks", (run_graph, "first_audit", planted.nothing), seed=7),
    _mutation("the audit looks once", (audit, "_set_next_audit", planted_checker.look_once), seed=7),
    _mutation("one audit a page", (due_handler, "_audit", planted_checker.audit_some), seed=7),
    _mutation(
        "outcomes of a page for its first run",
        (due_handler.DueHandler, "_publish", planted_checker.publish_for_one_run),
        seed=171,
    ),
    _mutation("a burst's lease for two", (burst, "save_document", planted_checker.save_unguarded), seed=75),
    _mutation(
        "no look after a status call that failed",
        (due_handler, "poll_failed", planted_checker.put_off_for_ever),
        seed=230,
    ),
    _mutation(
        "a large run without its definition", (seed, "_opening", planted_checker.open_without_definition), seed=27
    ),
    _mutation("a large run that no one watches", (seed, "_opening", planted_checker.open_without_end), seed=7),
    _mutation("a run for each message", (start, "_new_run", planted_checker.run_for_each_message)),
    _mutation("a file that cannot be read is invalid", (start, "SourceTooLarge", SourceError), seed=6),
    _mutation("the consistency check never runs", (audit, "request_repair", planted.no_events), seed=7),
    _mutation("half a consistency check", (repair, "check_counters", planted_checker.miscount_what_remains), seed=50),
    _mutation("a broken run is never ended", (repair, "fail_run", planted.nothing), seed=23),
    _mutation("a retry passes over what is gone", (retry, "_reset", planted_checker.reset_for_what_is_there), seed=23),
    _mutation("given up without a dead letter", (delivery, "_publish_dead_letter", planted_checker.kept), seed=5),
    _mutation("a job times out unheard", (due_handler, "ask", planted_checker.poll_in_time_only), seed=6),
    _mutation(
        "a lost answer is taken for not accepted", (FaultyTaskRunner, "_lost", planted_checker.not_accepted), seed=10
    ),
    _mutation(
        "interrupted 404s lose a job", (due_handler, "poll_failed", planted_checker.unanswered_in_between), seed=63
    ),
    _mutation("a round ends with its burst", (burst, "load_round", planted_checker.load_round_of_burst), seed=15),
    _mutation("an open run expires", (audit, "needs_renewal", planted.nothing), seed=46),
    _mutation("what a retry keeps expires", (retry, "keep_all", planted_checker.kept), seed=40),
    _mutation("a dead letter of no event", (delivery, "dead_letter_message", planted_checker.nameless_letter), seed=5),
)

BY_NAME: Final = {mutation.name: mutation for mutation in MUTATIONS}
