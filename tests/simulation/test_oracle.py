"""The oracle's rules on small examples, and the files that are drawn."""

from __future__ import annotations

import pytest

from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Trigger
from atom_workflows.language.parser import parse_workflow
from simulation.drawing import draw
from simulation.language import Divides, HasEnded, IsMore, MainIs, Quotient, RetryRule
from simulation.oracle import End
from simulation.oracle_retries import runs_again
from simulation.oracle_runs import expected_ends
from simulation.scenario import Ending, Scenario, StepPlan

FAILS = (Ending.FAILS,)
BLOCKED = End(state=StepState.SKIPPED)
SKIPPED = End(state=StepState.SKIPPED, by_choice=True)
DONE = End(state=StepState.SUCCEEDED)
FAILED = End(state=StepState.FAILED)
NEVER = IsMore("first", 100)

RUNS_OR_NOT = {
    Trigger.NO_FAILURE: (DONE, DONE, SKIPPED, BLOCKED),
    Trigger.ALL_SUCCEEDED: (DONE, SKIPPED, SKIPPED, BLOCKED),
    Trigger.ANY_FAILED: (SKIPPED, SKIPPED, SKIPPED, DONE),
    Trigger.ALWAYS: (DONE, DONE, DONE, DONE),
}
"""The end of a step by its trigger, if of two steps before it both succeeded, one or both were skipped, one failed."""


def ends(*steps: StepPlan, finally_steps: tuple[StepPlan, ...] = ()) -> dict[str, End]:
    """Return the ends that the oracle expects."""
    return expected_ends(Scenario(steps=steps, finally_steps=finally_steps), {})


@pytest.mark.parametrize("trigger", RUNS_OR_NOT)
@pytest.mark.parametrize("column", range(4))
def test_a_trigger_decides_by_the_dependencies(trigger: Trigger, column: int) -> None:
    """Each cell of the table of triggers."""
    first = StepPlan(id="first", numbers=(1,))
    a = StepPlan(id="a", depends_on=("first",), when=NEVER if column in {1, 2} else None)
    b = StepPlan(id="b", depends_on=("first",), when=NEVER if column == 2 else None)
    b = StepPlan(id="b", depends_on=("first",), endings=FAILS) if column == 3 else b
    last = StepPlan(id="last", depends_on=("a", "b"), trigger=trigger)
    assert ends(first, a, b, last)["last"] == RUNS_OR_NOT[trigger][column]


def test_a_tolerated_failure_counts_as_a_success_without_outputs() -> None:
    """Its dependents run, and read its state."""
    found = ends(
        StepPlan(id="a", endings=FAILS, allows_failure=True, numbers=(7,)),
        StepPlan(id="b", depends_on=("a",), when=HasEnded("a", StepState.FAILED)),
        StepPlan(id="c", depends_on=("a",), when=IsMore("a", 0)),
    )
    assert found == {"a": End(state=StepState.FAILED, is_tolerated=True), "b": DONE, "c": SKIPPED}


def test_what_has_no_answer_fails_its_step() -> None:
    """A condition or an argument without a value is a failure that is never tolerated."""
    found = ends(
        StepPlan(id="a", numbers=(0,)),
        StepPlan(id="b", depends_on=("a",), when=Divides("a"), allows_failure=True),
        StepPlan(id="c", depends_on=("a",), args=(("n", Quotient("a")),), allows_failure=True),
    )
    assert (found["b"], found["c"]) == (FAILED, FAILED)


def test_a_retry_rule_says_what_is_tried_again() -> None:
    """By kind or reason, and nothing if it has no answer."""
    scripted = {"endings": (Ending.FAILS, Ending.SUCCEEDS), "max_attempts": 2, "reasons": ("OOM",)}
    rules = [RetryRule(kinds=("failed",)), RetryRule(kinds=("lost",), reasons=("OOM",)), RetryRule(kinds=("outputs",))]
    rules.append(RetryRule(is_broken=True))
    plans = [StepPlan(id=f"s{number}", retried=rule, **scripted) for number, rule in enumerate(rules)]  # type: ignore[arg-type] # the script of each
    assert list(ends(*plans).values()) == [DONE, DONE, FAILED, FAILED]


def test_the_last_steps_follow_whatever_becomes_of_the_others() -> None:
    """They read the state of the main part, and are skipped only if every other step was."""
    last = StepPlan(id="f0", when=MainIs("FAILED"))
    assert ends(StepPlan(id="a", endings=FAILS), finally_steps=(last,))["f0"] == DONE
    assert ends(StepPlan(id="a"), finally_steps=(last,))["f0"] == SKIPPED
    assert ends(StepPlan(id="a", has_task=False), finally_steps=(StepPlan(id="f0"),))["f0"] == DONE
    assert ends(StepPlan(id="a", trigger=Trigger.ANY_FAILED), finally_steps=(StepPlan(id="f0"),))["f0"] == SKIPPED


def test_a_retry_runs_failures_and_all_behind_them_again() -> None:
    """What was skipped by choice or tolerated is kept, unless something before it runs again."""
    steps = (
        StepPlan(id="a"),
        StepPlan(id="b", depends_on=("a",)),
        StepPlan(id="handler", depends_on=("b",), trigger=Trigger.ANY_FAILED),
        StepPlan(id="apart", depends_on=("a",)),
        StepPlan(id="skipped", depends_on=("a",)),
    )
    found = {"a": DONE, "b": FAILED, "handler": DONE, "skipped": SKIPPED}
    tolerated = End(state=StepState.FAILED, is_tolerated=True)
    again = runs_again(Scenario(steps=steps, finally_steps=(StepPlan(id="f0"),)), {**found, "apart": tolerated}, {})
    assert again == {"b", "handler", "f0"}


def test_every_drawn_file_is_valid() -> None:
    """The validator accepts each definition and its newer version, and about half of them are plain."""
    drawn = [one for seed in range(200) for one in draw(seed).scenarios]
    for scenario in drawn:
        for version in (scenario, scenario.newer):
            assert parse_workflow(version.definition.encode(), filename="flow.json").is_plain is version.is_plain
    plain = sum(scenario.is_plain for scenario in drawn)
    assert 0.4 * len(drawn) < plain < 0.7 * len(drawn)
