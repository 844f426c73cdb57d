"""The promises that a simulation checks, and the violations that it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulation.trace import Trace


class Rule(StrEnum):
    """The rules that must never be broken."""

    STUCK = "a run is terminal within a bounded time after the faults stop"
    ENDS = "each step ends as its workflow and script say"
    RUN_STATE = "a run goes through its states, and ends as its steps did"
    STEP_STATE = "a step goes through its states"
    OUTCOME = "an attempt ends by the Task Runner's word, a timeout or a loss, and is tried again as its policy says"
    ATTEMPTS = "a step keeps the attempts that have ended, each once, with its job and how it ended"
    ONE_OUTCOME = "an attempt has one outcome"
    DEPENDENCIES = "nothing is submitted or skipped before its dependencies allow it"
    OUTPUTS = "a step has the outputs that the job of its last successful attempt returned, and else none"
    BODY = "a job is given the values that its file says"
    ITEMS = "a loop has an item for each element of its list, in order; those of a list that is over are left alone"
    PLACES = "no more items of a loop are under way than it has places, and none of these is lost"
    FINALLY = "steps under finally run once a round and always, when the main part has ended, unless nothing started"
    RERUN = "a retry runs again what failed, was blocked or stopped, all behind it, and nothing else"
    MARKED = "a step ends as a person marked it only if one did, after what it waits for, and then without a job"
    HELD = "a submission is for the attempt that the step is at"
    ONCE = "a job is asked for again if none was accepted; if that is unknown, with onLost: retry alone"
    WINDOW = "nothing is submitted with too little of a lease left"
    LEASE = "no one takes what another holds, nor before it is due"
    BACK_OFF = "a failed attempt is followed by the next one after its back-off"
    COUNTERS = "counters say what the states imply"
    PUBLISHED = "no event is acknowledged before what it released was published"
    STOP = "a run is stopped only if someone asked or its time was up, and then claims nothing"
    COMMAND = "what a command did has happened when it returns"
    NO_ERROR = "a handler raises nothing but outages and lost races"
    ALONE = "no job is submitted while an earlier one of its step runs, if the Task Runner can stop that"
    HINTED = "hints about a job cost one status call in five seconds"
    NOTICED = "the end of a job is noticed soon, once nothing goes wrong"
    LOOKED = "whatever is due is looked at soon, once nothing goes wrong, however much else there is"
    APART = "what one run does changes nothing of another"
    GROUP = "no more runs of a group are at work than its file allows"
    LINE = "runs that wait begin in order, as soon as there is a place, or are skipped as their file says"
    RETAINED = "nothing of a run expires before the run does, nor while it is open, and all of it does in the end"
    KEPT = "an event is given up only if it is kept as a dead letter, as it came"
    BUDGET = "a simulation ends"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that was broken, and how."""

    rule: Rule
    text: str

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.rule.value}: {self.text}"


class Findings:
    """All violations that one simulation found; the trace shows where."""

    def __init__(self, trace: Trace) -> None:
        self.all: list[Finding] = []
        self._trace = trace

    def report(self, rule: Rule, text: str) -> None:
        """Record that a rule was broken."""
        self.all.append(Finding(rule, text))
        self._trace.note("BROKEN", rule.name, text)
