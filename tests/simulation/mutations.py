"""The planted bugs by name, each with what it makes wrong and where.

Most change what passes a port (planting.py). What no port shows, as a decision taken before anything is written, is
replaced under the name by which other modules import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from unittest.mock import patch

from atom_workflows.coordinator import (
    advance,
    conditions,
    dispatch,
    expansion,
    groups,
    line,
    repair,
    retry,
    seed,
    submission,
)
from atom_workflows.coordinator import stopping as stopping_of_coordinator
from atom_workflows.coordinator.checker import audit, burst
from atom_workflows.coordinator.services import Services
from atom_workflows.core import groups as groups_of_core
from atom_workflows.core import hints, items, polling, selection, stopping, transitions
from simulation import (
    handling,
    planted,
    planted_checker,
    planted_language,
    planted_lines,
    planted_loops,
    planted_marks,
    planted_places,
    planted_selections,
    planted_stopping,
)
from simulation.instances import Instances
from simulation.planting import Bug, Scene
from simulation.scheduler import Instance

Patch: TypeAlias = tuple[Any, str, Any]
"""Whose attribute, its name, what to put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A bug: what is wrong at ports, and what is replaced.

    `seed` is one that is known to find it, tried first to save time.
    """

    name: str
    bugs: tuple[Bug, ...] = ()
    patches: tuple[Patch, ...] = ()
    seed: int = 0

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Give every handler ports with the bug."""
        of_instances = Instances.one_of

        def one_of(instances: Instances, function: str) -> tuple[Instance, Services]:
            instance, services = of_instances(instances, function)
            scene = Scene.of(function, services)
            for bug in self.bugs:
                services = bug(scene, services)
            return instance, services

        with ExitStack() as stack:
            for owner, name, value in (*self.patches, (Instances, "one_of", one_of)):
                stack.enter_context(patch.object(owner, name, value))
            yield


def _at_port(name: str, *bugs: Bug, seed: int = 0) -> Mutation:
    return Mutation(name=name, bugs=bugs, seed=seed)


def _in_code(name: str, *patches: Patch, seed: int = 0) -> Mutation:
    return Mutation(name=name, patches=patches, seed=seed)


MUTATIONS: Final = (
    _at_port("publish before commit", planted.publish_first, seed=9),
    _at_port("no guard on the claim", planted.unguarded_claim, seed=44),
    _at_port("no guard on the outcome", planted.unguarded_outcome, seed=8),
    _at_port("count down again on redelivery", planted.count_again, seed=28),
    _at_port("an attempt is lost on redelivery", planted.lose_attempt),
    _at_port("an attempt is kept twice on redelivery", planted.keep_attempt_again),
    _at_port("count in a second commit", planted.commit_twice),
    _at_port("count skipped dependencies as succeeded", planted.count_failed_only, seed=6),
    _at_port("count internal barriers themselves", planted.count_barriers_themselves, seed=8),
    _at_port("forget what a retry keeps", planted.forget_kept_counts),
    _at_port("hand over without counting", planted.claim_without_counting, seed=194),
    _in_code("skip the republish on redelivery", (dispatch, "republish_below", planted.nothing), seed=49),
    _in_code("acknowledge although it failed", (handling, "handle_steps", planted.acknowledge_anyway), seed=10),
    _at_port("a lease that is never over", planted.claim_for_ages, seed=323),
    _in_code("a new attempt for an expired lease", (advance, "claim", planted.claim_anew)),
    _in_code("submit whatever is left of the lease", (submission, "SUBMIT_BUDGET", -planted.AGES), seed=110),
    _at_port("a failed status call fails the job", planted.poll_strictly, seed=11),
    _in_code("no grace for a job that is unknown", (polling, "MISSING_GRACE", timedelta(0)), seed=351),
    _at_port("a lost job uses up a try", planted.losses_are_tries, seed=212),
    _at_port("one try too many", planted.one_try_more),
    _at_port("no back-off", planted.no_back_off, seed=72),
    _in_code("take an outcome for any attempt's", (dispatch, "apply_outcome", planted.settle_whatever_comes), seed=47),
    _at_port("no timeout", planted.no_timeouts, seed=26),
    _at_port("onLost: fail submits again", planted.take_for_answered),
    _at_port(
        # Without the second, the start function would publish it once nothing is under way.
        "the audit publishes nothing",
        planted_checker.audit_publishes_nothing,
        planted_checker.audit_repairs_nothing,
        seed=12,
    ),
    _at_port("the audit leaves a half-seeded run", planted_checker.audit_seeds_nothing, seed=107),
    Mutation(
        # A lease that is longer than any would count as a mistake.
        name="a burst's lease is never over",
        bugs=(planted_checker.burst_for_ages,),
        patches=((burst, "LONGEST_LEASE", 2 * planted.AGES),),
        seed=6,
    ),
    _at_port("finish without checking the end", planted.finish_early, seed=3),
    _at_port(
        # With the consistency check this heals within minutes, and nothing is left that breaks a rule.
        "reset roots first, unrepaired",
        planted.roots_first,
        planted_checker.audit_repairs_nothing,
        seed=4,
    ),
    _at_port("reset without counters", planted.reset_without_counters, seed=3),
    _at_port("a stop that is not recorded", planted.forget_the_stop, seed=107),
    _at_port("set running without a guard", planted.set_running_anyway, seed=295),
    _at_port("a barrier passed twice", planted.unguarded_barrier, seed=26),
    _at_port("a late outcome undoes a stop", planted.take_for_running, seed=97),
    _at_port("no one looks at a job", planted.submitted_unwatched, seed=6),
    _at_port("another key for the same attempt", planted.another_key, seed=7),
    _at_port("a retry counts earlier rounds", planted.reset_without_first_attempt, seed=6),
    _at_port("the audit never looks", planted_checker.never_audited, seed=7),
    _at_port("the audit looks once", planted_checker.look_once, seed=334),
    _at_port("the audit looks at every other run", planted_checker.audit_some, seed=7),
    _at_port("outcomes for the first run of all", planted_checker.publish_for_one_run, seed=7),
    _at_port("a burst's lease for two", planted_checker.unguarded_burst, seed=75),
    _at_port("no look after a status call that failed", planted_checker.put_off_for_ever, seed=19),
    _at_port("a large run without its definition", planted_checker.open_without_definition, seed=27),
    _at_port("a large run that no one watches", planted_checker.open_without_end, seed=395),
    _in_code("a run for each message", (handling, "read_start_event", planted_checker.run_for_each_message)),
    _at_port("a file that cannot be read is invalid", planted_checker.unreadable_is_invalid, seed=19),
    _at_port("the consistency check never runs", planted_checker.audit_repairs_nothing, seed=350),
    _at_port("half a consistency check", planted_checker.repair_one_counter, seed=50),
    _at_port("a broken run is never ended", planted.forget_what_is_broken, seed=376),
    _at_port("a retry passes over what is gone", planted.reset_for_what_is_there, seed=60),
    _at_port("given up without a dead letter", planted_checker.no_letter, seed=91),
    _at_port("a job times out unheard", planted.poll_in_time_only, seed=12),
    _at_port("a lost answer is taken for not accepted", planted.not_accepted, seed=8),
    _at_port("interrupted 404s lose a job", planted_checker.unanswered_in_between, seed=129),
    _at_port("a round ends with its burst", planted_checker.round_of_burst, seed=15),
    _at_port("an open run expires", planted_checker.open_run_expires, seed=46),
    _at_port("what a retry keeps expires", planted_checker.retried_run_expires, seed=40),
    _at_port("a dead letter of no event", planted_checker.nameless_letter, seed=7),
    _at_port("a condition is forgotten", planted_language.without_conditions),
    _at_port("a trigger is forgotten", planted_language.without_triggers, seed=19),
    _at_port("a run's constants are forgotten", planted_language.without_constants),
    _in_code(
        "a condition without an answer is false",
        (conditions, "evaluate_condition", planted_language.false_without_an_answer),
        seed=55,
    ),
    _in_code(
        "a condition is evaluated twice, with a difference",
        (conditions, "evaluate_condition", planted_language.decide_otherwise),
    ),
    _at_port("outputs are lost when a commit is repeated", planted_language.lose_outputs_when_repeated, seed=64),
    _at_port("outputs in a second commit", planted_language.outputs_afterwards),
    _at_port("a retry leaves old outputs", planted_language.keep_outputs_of_before),
    _at_port("outputs are lost with their message", planted_language.lose_outputs_of_pages),
    _in_code("outputs are not checked", (transitions, "check_outputs", planted_language.take_any_outputs)),
    _at_port("a run's outputs are lost", planted_language.lose_outputs_of_run),
    _at_port("arguments lose their types", planted_language.args_as_text, seed=4),
    _at_port("the last failure is forgotten", planted_language.forget_the_last_failure, seed=12),
    _in_code("whatever failed is tried again", (transitions, "may_retry", planted_language.retry_anyway), seed=12),
    _at_port("an internal barrier forgets a failure", planted_language.barriers_forget_failures, seed=133),
    _at_port("an internal barrier forgets a skip", planted_language.barriers_forget_skips, seed=52),
    _at_port("a tolerated failure counts as one", planted_language.tolerated_is_failure),
    _at_port("a skip reaches past a step that ran", planted_language.skip_over_what_ran, seed=19),
    _at_port("every failure is tolerated", planted_language.tolerate_everything),
    _at_port("the verdict forgets the stain", planted_language.forget_the_stain, seed=45),
    _at_port("a failed clean-up goes unnoticed", planted_language.pass_over_the_last_steps, seed=77),
    _at_port("a clean-up hides the first cause", planted_language.hide_the_first_cause),
    _at_port("the main part ends twice", planted_language.end_main_twice, seed=105),
    _at_port("finally begins with the first leaf", planted_language.main_ends_early),
    _at_port("no finally after a stop", planted_language.no_finally_after_a_stop, seed=23),
    _at_port("a stop ends finally, too", planted_language.stop_ends_finally_too, seed=23),
    _at_port("finally has no time of its own", planted_language.no_time_for_finally),
    _at_port("finally runs though nothing was started", planted_language.finally_of_nothing, seed=5),
    _in_code("a retry forgets handlers", (retry, "steps_to_rerun", planted_language.rerun_failures_alone), seed=29),
    _in_code("a retry keeps finally", (retry, "steps_to_rerun", planted_language.keep_finally)),
    _in_code("a retry runs skipped steps again", (retry, "steps_to_rerun", planted_language.rerun_skips)),
    _at_port("a reset step remembers its end", planted_language.reset_remembers),
    _at_port("no job is ever stopped", planted_stopping.never_stop, seed=6),
    _at_port("a request to stop is taken for the end", planted_stopping.take_request_for_end, seed=6),
    _at_port("the job of an earlier attempt is forgotten", planted_stopping.forget_what_is_left, seed=16),
    _at_port("an attempt without a known job is forgotten", planted_stopping.forget_what_is_unresolved, seed=8),
    _at_port("no key is ever looked up", planted_stopping.never_look_up),
    _at_port("the key of the next attempt is looked up", planted_stopping.look_up_the_next, seed=3),
    _in_code(
        "a job that may still be submitted is believed not to be",
        (stopping_of_coordinator, "judge_lookup", planted_stopping.believe_none_at_once),
        seed=2218,
    ),
    _at_port("a job is waited for for ever", planted_stopping.wait_for_ages, seed=39),
    _at_port("no job is waited for", planted_stopping.wait_for_nothing, seed=6),
    _in_code("the end of a run waits for its jobs for ever", (stopping, "RUN_WAIT", planted_stopping.AGES), seed=39),
    _in_code(
        "a stopped attempt ends as its job does",
        (stopping, "time_out_stopped", planted_stopping.keep_the_end),
        (transitions, "time_out_stopped", planted_stopping.keep_the_end),
        seed=6,
    ),
    _at_port("a place is handed on twice", planted_places.hand_on_twice),
    _at_port("one place is handed on a commit", planted_places.hand_on_one, seed=494),
    _at_port("a skipped item keeps its place", planted_places.keep_place_when_skipped, seed=58),
    _at_port("items begin without places", planted_places.let_all_begin, seed=7),
    _at_port("a place is given back at each attempt", planted_places.free_on_retry, seed=48),
    _at_port("a reset item needs no place", planted_places.reset_waiting_as_placed, seed=7),
    _in_code("a retry does not deal the places out", (retry, "deal_again", planted_places.deal_nothing), seed=7),
    _in_code(
        "no one finds an item that was handed a place",
        (audit, "audit_places", planted_places.find_nothing),
        (repair, "publish_placed", planted_places.find_nothing),
        (seed, "publish_placed", planted_places.find_nothing),
        (dispatch, "publish_next", planted_places.find_nothing),
        seed=186,
    ),
    _in_code("a hint is believed", (handling, "handle_hint", planted_stopping.believe_the_hint)),
    _in_code("every hint costs a call", (hints, "HINT_GAP", timedelta(0)), seed=20),
    _at_port("places are given away without a guard", planted_lines.no_guard_on_the_group, seed=53),
    _at_port("a run keeps its place when it ends", planted_lines.keep_the_place, seed=65),
    _at_port("a run that waited begins without a place", planted_lines.take_no_place, seed=10),
    _at_port("a run less is counted at work", planted_lines.count_one_less, seed=10),
    _at_port("the last in line comes first", planted_lines.last_comes_first, seed=148),
    _at_port("no one seeds a run that may begin", planted_lines.forget_to_seed, planted_lines.forget_to_look, seed=5),
    _in_code(
        "a wait never ends",
        (groups_of_core, "is_expired", planted_lines.never_expire),
        (groups, "wait_ends", planted_lines.wait_for_ages),
        (line, "wait_ends", planted_lines.wait_for_ages),
        seed=911,
    ),
    _in_code("the newest run in line is replaced", (line, "decide", planted_lines.replace_the_newest), seed=148),
    _in_code("no run may wait", (line, "decide", planted_lines.skip_whatever_waits), seed=10),
    _at_port("a wait counts against the timeout", planted_lines.count_the_wait, seed=22),
    _at_port("a batch of items without a guard", planted_loops.unguarded_batch, seed=668),
    _at_port("no note of how far items are created", planted_loops.forget_the_last_batch, seed=72),
    _at_port("items counted from one", planted_loops.count_from_one),
    _at_port("a loop waits for one item only", planted_loops.end_with_the_first_item),
    _in_code("the last item is left out", (expansion, "compute_items", planted_loops.leave_out_the_last)),
    _in_code("lists are combined in another order", (items, "product", planted_loops.first_list_fastest), seed=58),
    _at_port("a failed item stains", planted_loops.items_stain),
    _at_port("a skipped item counts as done", planted_loops.forget_skipped_items, seed=58),
    _at_port("one failed item too many is tolerated", planted_loops.tolerate_one_more, seed=9),
    _in_code(
        # Without the second, they would be counted again, as the counters lack some items.
        "expressions see no failed items",
        (conditions, "counts_of", planted_loops.count_no_failures),
        (conditions, "count_after_stop", planted_loops.count_no_more),
    ),
    _at_port("an empty list skips its loop", planted_loops.skip_the_empty),
    _at_port("outputs gathered in another order", planted_loops.gather_backwards, seed=58),
    _at_port("items without outputs are left out", planted_loops.gather_without_nulls, seed=58),
    _in_code("a retry runs all items again", (retry, "steps_to_rerun", planted_loops.rerun_all_items), seed=287),
    _in_code("a retry evaluates the list again", (retry, "steps_to_rerun", planted_loops.rerun_lists), seed=287),
    _at_port("items of a list that is over are counted", planted_loops.keep_old_items, seed=55),
    _at_port("items anew under old ids", planted_loops.keep_the_number),
    _at_port("a retry that is continued forgets the choice", planted_selections.forget_the_choice, seed=48),
    _in_code(
        "a run does not wait for a step that runs alone",
        (selection, "open_before_kept", planted_selections.wait_for_none),
        seed=84,
    ),
    _in_code(
        "a step that runs alone takes all behind it", (selection, "choose", planted_selections.run_all_behind), seed=11
    ),
    _at_port("a dispatcher begins a marked step", planted_marks.forget_marks, seed=179),
    _at_port("a mark counts in later rounds", planted_marks.keep_marks, seed=24),
    _at_port("a retry forgets a mark without effect", planted_marks.forget_open_marks, seed=755),
    _at_port("a marked job is not stopped", planted_marks.end_marked_at_once, seed=84),
    _at_port("the outputs of a mark get lost", planted_marks.forget_outputs, seed=197),
    _in_code("jobs that notify are never polled", (polling, "NOTIFIED_POLL", planted_stopping.AGES), seed=132),
)

BY_NAME: Final = {mutation.name: mutation for mutation in MUTATIONS}
