"""Every query that the code makes has its index where it is deployed: the emulators would run it without one."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from atom_client.doctor.firestore import state_findings
from atom_client.graph.reading import read_nodes_to_draw
from atom_client.views import live_queries
from atom_client.views.cancellation import plan_cancellation
from atom_client.views.items import count_ended_items, read_loops, read_page, read_some
from atom_client.views.queries import (
    newest_runs,
    read_nodes_of_steps,
    read_outlines,
    read_outlines_without_items,
    read_outputs_of_steps,
    similar_step,
)
from atom_client.views.run_list import OPEN_STATES, RunFilter, count_ended_steps, read_runs_page
from atom_client.views.run_references import LAST, full_run_id, runs_to_offer
from atom_client.views.workflow_history import read_workflow_history
from atom_deploy.resources.firestore import declared
from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from atom_workflows.coordinator.repair import examine
from atom_workflows.coordinator.schedules import list_schedules
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import definition_path, outputs_path, step_path
from atom_workflows.errors import RunNotFound
from atom_workflows.ports import Query, Update
from atom_workflows.schedule_documents import tick_fields
from support import groups, loops
from support.commands import cancel_run, retry_run
from support.repairs import BASE, ended_run, repair
from support.workflows import chain, definition, fan, script

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = [ROOT / "shared" / "atom_workflows", ROOT / "client" / "atom_client"]
FAILING: Final = {f"f{number}": {"always_fail": True} for number in range(300)}
EQUALITIES: Final = frozenset({"==", "in"})


@dataclass(slots=True)
class Seen:
    """The queries that were made, and the functions that made them."""

    queries: list[Query] = field(default_factory=list)
    makers: set[tuple[str, str]] = field(default_factory=set)

    def maker(self, module: str) -> Callable[..., Query]:
        """Return a stand-in for `Query` in a module."""

        def make(**fields: Any) -> Query:
            query = Query(**fields)
            self.queries.append(query)
            # A query made in a comprehension is its function's.
            maker = sys._getframe(1).f_code.co_qualname.partition(".<locals>")[0].rpartition(".")[2]
            self.makers.add((module, maker))
            return query

        return make


def makers() -> set[tuple[str, str]]:
    """Return the functions of library and client that make queries."""
    found = set()
    for place, path in ((package.parent, path) for package in SOURCES for path in package.rglob("*.py")):
        module = ".".join(path.relative_to(place).with_suffix("").parts)
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        found |= {(module, function.name) for function in functions if _makes_query(function)}
    return found


def _makes_query(function: ast.FunctionDef) -> bool:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(isinstance(called, ast.Name) and called.id == "Query" for called in calls)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Record all queries that the library makes while the test lasts."""
    seen = Seen()
    for name in {module for module, _ in makers()}:
        monkeypatch.setattr(importlib.import_module(name), "Query", seen.maker(name))
    return seen


def live(world: World) -> str:
    """Play runs that fail, are retried, cancelled, found standing still, examined, listed and kept for longer."""
    world.task_runner.jobs = World("default: {duration: 15}\nrules: [{step: s1, always_fail: true}]").task_runner.jobs
    run_id = world.start(chain(3))
    world.run_to_end(run_id)
    retry_run(world.services, run_id)
    world.run_to_end(run_id)
    other = world.start(fan(400), run_key="wide")
    world.settle_down()
    plan_cancellation(world.store, world.run(other), now=True)
    cancel_run(world.services, other)
    stuck = world.start(chain(2), run_key="stuck")
    world.bus.take_all("steps")
    world.store.commit([Update(path=step_path(stuck, next(iter(world.states(stuck)))), fields={"remaining": 5})])
    for _ in range(20):
        world.clock.move(timedelta(minutes=1))
        world.tick()
    examine(world.services, stuck, fixing=True)
    read_nodes_of_steps(world.store, world.run(run_id))
    newest_runs(world.store, limit=10)
    list_in_every_way(world)
    listen_in_every_way(world)
    world.start(json.dumps({**json.loads(chain(1)), "name": "flow-0a"}), run_key="named like a run")
    full_run_id(world.store, "flow-0a")
    for name in (LAST, run_id[:-1], "flow", "flow.yaml"):
        full_run_id(world.store, name)
    for text in ("", run_id[:2]):
        runs_to_offer(world.store, text, most=10)
    world.clock.move(timedelta(days=20))
    retry_run(world.services, run_id)
    live_again(world)
    live_in_full(world)
    live_in_loops(world)
    live_in_turns(world)
    live_in_line(world)
    live_by_schedule(world)
    return run_id


def list_in_every_way(world: World) -> None:
    """List runs by every condition that the store checks, and count what has ended of one."""
    since = world.clock.now() - timedelta(days=1)
    of_state, of_flow = {"states": (RunState.FAILED, RunState.INVALID)}, {"workflow": "flow"}
    for wanted in ({}, of_state, of_flow, {**of_state, **of_flow}, {"labels": {"a": "b"}}, {"since": since}):
        read_runs_page(world.store, RunFilter(**wanted), number=1, size=1, now=world.clock.now())
    read_runs_page(world.store, RunFilter(), number=2, size=1, now=world.clock.now())
    read_runs_page(world.store, RunFilter(id_begins="f"), number=1, size=1, now=world.clock.now())
    read_workflow_history(world.store, "flow", most_runs=5)
    count_ended_steps(world.store, newest_runs(world.store, limit=1)[0])


def listen_in_every_way(world: World) -> None:
    """Listen to runs by every condition, and to a run's steps and to schedules."""
    listener = MemoryListener(world.store.inner)
    run = newest_runs(world.store, limit=1)[0]
    for wanted in (RunFilter(), RunFilter(states=OPEN_STATES), RunFilter(states=OPEN_STATES, workflow="flow")):
        live_queries.listen_to_runs(listener, wanted).close()
    live_queries.listen_to_steps(listener, run).close()
    live_queries.listen_to_schedule_names(listener).close()


def live_in_loops(world: World) -> None:
    """Play a run whose items fail, show it while they run and afterwards, and stop another one."""
    world.task_runner.jobs = World(script(train={"always_fail": True, "duration": 5})).task_runner.jobs
    train = loops.step("train", for_each=loops.each([1, 2]))
    run_id = loops.start(world, loops.workflow(train))
    world.settle_down()
    for _ in range(2):
        run = world.run(run_id)
        nodes = read_nodes_of_steps(world.store, run)
        read_nodes_to_draw(world.store, run)
        found = read_loops(world.store, run, nodes)["train"]
        read_page(world.store, found, number=1, size=2)
        read_some(world.store, found, StepState.FAILED)
        count_ended_items(world.store, run)
        read_outlines_without_items(world.store, run)
        similar_step(world.store, run, "trian")
        world.run_to_end(run_id)
    world.task_runner.jobs = World(script(train={"duration": 10_000})).task_runner.jobs
    last, minute = loops.step("last", args={"n": "steps.train.counts.failed"}), timedelta(minutes=1)
    flow = loops.workflow(train, finally_steps=(last,), finally_timeout=minute, timeout=minute)
    loops.run(world, flow, run_id="stopped")


def live_again(world: World) -> None:
    """Play a run with a loop, and another one that keeps all of it but its last step."""
    earlier = ended_run(world=world)
    repair(earlier, BASE.replace("publish:1", "publish:2"))


def live_in_turns(world: World) -> None:
    """Play a run whose items run one after the other, long enough for an audit to find one waiting."""
    world.task_runner.jobs = World("default: {duration: 100}").task_runner.jobs
    each = loops.each([1, 2, 3], max_parallel=1)
    loops.run(world, loops.workflow(loops.step("train", for_each=each)), run_id="in-turns")


def live_in_line(world: World) -> None:
    """Play runs of which only one may be at work: one waits, one is skipped, and one is cancelled."""
    world.task_runner.jobs = World("default: {duration: 1000}").task_runner.jobs
    ids = [groups.start(world, groups.limited(maxQueued=1), f"key-{number}") for number in range(3)]
    world.settle_down()
    cancel_run(world.services, ids[0])
    world.settle_down()


def live_by_schedule(world: World) -> None:
    """Have a schedule start a run, and look at the schedules."""
    world.upload("schedules: [{cron: 0 * * * *}]\ndeadline: {after: 3h}\nsteps: [{id: a, task: {imageUri: i}}]")
    world.clock.move(timedelta(hours=1))
    world.tick()
    world.settle_down()
    assert [one.path for one in list_schedules(world.services)] == ["gs://bucket/workflows/flow.yaml"]


def live_in_full(world: World) -> str:
    """Play a run with conditions, outputs, many failures and steps under `finally`, and look at it."""
    world.task_runner.jobs = World(script(a={"outputs": {"n": 1}}, **FAILING)).task_runner.jobs
    flow = json.loads(definition({"a": [], "b": ["a"], **dict.fromkeys(FAILING, ())}, a={"outputs": {"n": "int"}}))
    flow["steps"][1]["when"] = "steps.a.outputs.n == params.n and env.stage == 'test'"
    flow |= {"params": {"n": 1}, "outputs": {"n": "${{ steps.a.outputs.n }}"}}
    flow["finally"] = [{"id": "last", "task": {"imageUri": "i", "args": {"all": "${{ run.failures }}"}}}]
    run_id = world.start(json.dumps(flow), run_key="full", params={"n": 1})
    world.run_to_end(run_id)
    read_outlines(world.store, run_id, but_succeeded=True)
    read_outputs_of_steps(world.store, run_id)
    similar_step(world.store, world.run(run_id), "las")
    with pytest.raises(RunNotFound):
        full_run_id(world.store, "no-such-run")
    list(state_findings(world.services, tick_fix=""))
    return run_id


def test_every_query_has_its_index(seen: Seen) -> None:
    """Every query of the code has an index, of the file or automatic."""
    live(World(burst=timedelta(seconds=30), env={"stage": "test"}))
    assert makers() - seen.makers - {("atom_client.views.queries", "read_pages")} == set()
    assert [query for query in seen.queries if not has_index(query)] == []


@pytest.mark.parametrize(
    ("query", "has"),
    [
        (Query(collection="runs/r/steps", where=[("state", "in", ["PENDING"])]), True),
        (Query(collection="runs/r/steps", where=[("state", "==", "PENDING"), ("remaining", "==", 0)]), True),
        (Query(collection="runs", order_by=[("created_at", "descending")]), True),
        (Query(collection="runs", order_by=[("finished_at", "descending")]), False),
        (Query(collection="runs", where=[("state", "==", "X")], order_by=[("created_at", "descending")]), False),
        (Query(collection="steps", group=True, where=[("state", "==", "X")]), False),
        (Query(collection="steps", group=True, where=[("schema", "==", 1), ("due_at", "<=", 0)]), True),
        (Query(collection="steps", group=True, where=[("schema", "==", 1), ("claimed_at", "<=", 0)]), False),
        (Query(collection="runs", where=[("a", "<", 0), ("b", ">", 0)]), False),
    ],
)
def test_the_rules_are_productions(query: Query, has: bool) -> None:  # noqa: FBT001 (a row of the table)
    """Queries need an index by the rules of Firestore."""
    assert has_index(query) is has


def test_what_is_exempted_is_stored() -> None:
    """Exemptions and TTL policies are for fields that documents have."""
    world = World(env={"stage": "test"})
    run_id = live(world)
    wide = next(run.id for run in newest_runs(world.store, limit=20) if run.step_count > 100)
    stored: dict[str, set[str]] = {name: set() for name in ("runs", "steps", "definition", "outputs", "groups")}
    for document in world.store.query(Query(collection="runs")):
        stored["runs"] |= set(document.fields)
    kept = next(run.id for run in newest_runs(world.store, limit=20) if run.repairs)
    full = next(run.id for run in newest_runs(world.store, limit=20) if run.params and run.workflow == "flow")
    for path in (
        *(step_path(run_id, step) for step in (*world.states(run_id), END_ID)),
        *of_language(full),
        step_path(kept, "extract"),
    ):
        [found] = world.store.get([path])
        stored[path.split("/")[2]] |= set(found.fields if found else ())
    for found in world.store.get([definition_path(wide), definition_path(kept)]):
        stored["definition"] |= set(found.fields if found else ())
    for document in world.store.query(Query(collection="groups")):
        stored["groups"] |= set(document.fields)
    [schedules] = list_schedules(world.services)
    stored["steps"] |= set(tick_fields(schedules))
    exempted = {(one["collectionGroup"], one["fieldPath"]) for one in declared()["fieldOverrides"]}
    # Of runs that were started with values, and of one that succeeded with outputs of its own.
    rare = {("steps", "barriers"), ("runs", "params"), ("runs", "labels"), ("runs", "outputs")}
    rare |= {("runs", "warnings"), ("runs", "defaulted")}
    # Of steps whose jobs were stopped, or whose Task Runner shows logs or reports ends.
    rare |= {
        ("steps", name) for name in ("hinted_at", "leftovers", "logs_url", "stop_since", "unresolved", "unstopped")
    }
    # Of jobs that were accepted late, or had to wait in their Task Runner.
    rare |= {("steps", "submitted_at"), ("steps", "running_at")}
    # Of loops without a list, and of steps that a person marked.
    rare |= {("steps", "problem"), ("steps", "mark")}
    assert {(group, name) for group, name in exempted - rare if name not in stored[group]} == set()
    assert {group for group in stored if "expire_at" in stored[group]} == set(stored)


SMALL: Final[Mapping[str, str]] = {
    "runs": "created_at digest failure_count finally_timeout_s given_digest item_count late main_state no_queue place "
    "reopened_at retries schema source state step_count stop task_runner_url timeout_s touches trigger workflow",
    "steps": "allow_failure answered attempt by_choice cause counted deferrals each expansion failed first_attempt "
    "hands_over_to index items job_state kind last_kind last_reason limit losses missing_since next notifies "
    "number phase places reason remaining retries schema shard shards size skipped stained state stop_attempt "
    "stop_for stop_stage stopped task_runner_url tolerate tolerated total touches trigger unanswered "
    "unanswered_since unheard_since unresolved_since unstarted unsuccessful unsure_attempt waits_at written",
}
"""Stored fields of a few bytes, which may keep their automatic index."""


def test_what_may_be_large_is_exempted() -> None:
    """A stored field that is not known to be small has no index, since each write of it would update that index."""
    world = World(env={"stage": "test"})
    live(world)
    run_names = {one.name for one in dataclasses.fields(RunRecord)} - {"id", "timeout", "finally_timeout"}
    step_names = {one.name for one in dataclasses.fields(StepRecord)} - {"run_id", "id", "request"}
    stored = {"runs": {*run_names, "timeout_s", "finally_timeout_s"}, "steps": {*step_names, "task"}}
    for document in world.store.query(Query(collection="runs")):
        stored["runs"] |= set(document.fields)
        for step in world.store.query(Query(collection=f"{document.path}/steps")):
            stored["steps"] |= set(step.fields)
    indexed = {(group, name) for group, names in stored.items() for name in names if not _is_exempted(group, name)}
    assert {(group, name) for group, name in indexed if name not in SMALL[group].split()} == set()


def of_language(run_id: str) -> list[str]:
    """Return the documents that only a run with the whole language has."""
    of_loop = [step_path(loops.RUN, step) for step in ("~each.train", "train", "train[0]")]
    return [outputs_path(run_id, "a"), *(step_path(run_id, step) for step in ("a", "b", "last")), *of_loop]


def has_index(query: Query) -> bool:
    """Return True if production would run the query.

    By what is automatic, or by a composite index of the file.
    """
    group = query.collection.rpartition("/")[2]
    equal = {name for name, operator, _ in query.where if operator in EQUALITIES}
    ranged = [name for name, operator, _ in query.where if operator not in EQUALITIES]
    order = dict(query.order_by) or dict.fromkeys(ranged, "ascending")
    fields = equal | set(ranged) | set(order)
    if not fields:
        return not query.group
    if len(set(ranged)) <= 1 and not query.group and (not order or not equal - set(order)):
        return not any(_is_exempted(group, name) for name in fields)
    return any(_serves(index, query, equal, order) for index in declared()["indexes"])


def _is_exempted(group: str, name: str) -> bool:
    overrides = declared()["fieldOverrides"]
    return any((one["collectionGroup"], one["fieldPath"]) == (group, name) for one in overrides if not one["indexes"])


def _serves(index: Mapping[str, Any], query: Query, equal: set[str], order: Mapping[str, str]) -> bool:
    """Equalities first, in any order, then the order that is asked for."""
    scope = "COLLECTION_GROUP" if query.group else "COLLECTION"
    named = [(one["fieldPath"], one["order"].lower()) for one in index["fields"]]
    prefix, rest = named[: len(equal)], named[len(equal) :]
    return (
        index["collectionGroup"] == query.collection.rpartition("/")[2]
        and index["queryScope"] == scope
        and {name for name, _ in prefix} == equal
        and rest == list(order.items())
    )
