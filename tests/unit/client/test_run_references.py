"""Ways to name a run: its id, its beginning, its workflow's name or file, or `--last`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from atom_client.errors import Failure
from atom_client.views.run_references import LAST, full_run_id, require_run_to_change, started_from
from atom_emulator.testing.world import START, World
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.ports import Create
from support.command_line import call_runs as call
from support.workflows import chain


def with_runs(*runs: tuple[str, str, str]) -> World:
    """Return a world with these runs, each a second newer than the one before: id, workflow and path."""
    world = World()
    fields = {"schema": 1, "state": "SUCCEEDED", "step_count": 1}
    creates = [
        Create(
            path=run_path(run_id),
            fields={
                **fields,
                "workflow": workflow,
                "source": {"path": path},
                "created_at": START + timedelta(seconds=number),
            },
        )
        for number, (run_id, workflow, path) in enumerate(runs)
    ]
    for begin in range(0, len(creates), 500):
        world.store.commit(creates[begin : begin + 500])
    return world


ETL = ("etl-0000000000a1", "Nightly", "etl.yaml")
ETL_LATER = ("etl-0000000000a0", "Nightly", "etl.yaml")
TEAM = ("team-0000000000c1", "ads/spend", "team.yaml")
OTHER = ("other-0000000000b1", "other", "gs://bucket/flows/other.yaml")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("etl-0000000000a1", ETL),
        ("other-", OTHER),
        ("Nightly", ETL_LATER),
        ("etl.yaml", ETL_LATER),
        ("flows/etl.yaml", ETL_LATER),
        ("./etl.yaml", ETL_LATER),
        ("gs://bucket/flows/other.yaml", OTHER),
        ("ads/spend", TEAM),
        (LAST, OTHER),
    ],
)
def test_a_run_has_many_names(text: str, meant: tuple[str, str, str]) -> None:
    """An id and its beginning name a run, and a workflow's name or file its newest run."""
    assert full_run_id(with_runs(ETL, ETL_LATER, TEAM, OTHER).store, text) == meant[0]


def test_a_workflows_name_also_begins_the_ids_of_its_runs() -> None:
    """The name of a workflow means its newest run though the ids of its runs, and of others, begin with it."""
    runs = [("etl-00000000000b", "etl", "etl.yaml"), ("etl-00000000000a", "etl", "etl.yaml")]
    others = [("etl-daily-00000000000a", "etl-daily", "etl-daily.yaml")]
    assert full_run_id(with_runs(*runs, *others).store, "etl") == "etl-00000000000a"


def test_a_name_that_singles_out_another_run_is_ambiguous() -> None:
    """A workflow's name that is also the beginning of another run's id, digest included, is refused with both ids."""
    world = with_runs(("etl-3cca0fea0000", "etl", "etl.yaml"), ("etl-3-00000000000a", "etl-3", "etl-3.yaml"))
    with pytest.raises(Failure) as error:
        full_run_id(world.store, "etl-3")
    assert str(error.value.message) == (
        "etl-3 is the name of a workflow, whose newest run is etl-3-00000000000a, and the beginning of "
        "`etl-3cca0fea0000`; give the whole id of the run"
    )


@pytest.mark.parametrize("count", [11, 1_000])
def test_an_ambiguous_name_is_noticed_among_many_runs(count: int) -> None:
    """However many runs a workflow has, its name is refused if it singles out another run, and few are read."""
    own = [(f"nightly-a-{number:012x}", "nightly-a", "nightly-a.yaml") for number in range(count)]
    longer = [(f"nightly-a1-{number:012x}", "nightly-a1", "nightly-a1.yaml") for number in range(count)]
    world = with_runs(("nightly-a1b2c3d4e5f6", "Nightly", "nightly.yaml"), *longer, *own)
    world.store.reads = 0
    with pytest.raises(Failure, match="and the beginning of `nightly-a1b2c3d4e5f6`; give the whole id"):
        full_run_id(world.store, "nightly-a")
    assert world.store.reads <= 850


def test_no_run_yet_is_said_in_a_sentence() -> None:
    """Without any run, `--last` says how to start one."""
    result = call(World(), "show", "--last")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: there are no runs yet; `atom-workflows start FILE` starts one\n",
    )


@pytest.mark.parametrize("file", ["never.yaml", "flows/never.yaml", "gs://bucket/etl.yaml", "/", "no/such"])
def test_a_file_that_was_never_run_is_said_in_a_sentence(file: str) -> None:
    """A file without runs is not taken for an unknown id."""
    result = call(with_runs(ETL), "show", file)
    starts = "`atom-workflows start FILE` starts one, and `atom-workflows runs list` shows others"
    assert (result.exit_code, result.stderr) == (1, f"Error: there is no run of {file} yet; {starts}\n")


@pytest.mark.parametrize(
    ("path", "file", "same"),
    [
        ("etl.yaml", "../flows/etl.yaml", True),
        ("etl.yaml", "etl.yml", False),
        ("gs://a/etl.yaml", "etl.yaml", False),
        ("etl.yaml", "gs://a/etl.yaml", False),
    ],
)
def test_a_files_folder_is_not_known(path: str, file: str, same: bool) -> None:  # noqa: FBT001 (a row of the table)
    """A local file is recognized by its name, and an object only by its whole path."""
    assert started_from(path, file) is same


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_a_file_of_another_folder_changes_nothing(command: str) -> None:
    """A local path with a folder does not say which run to change, and the refusal names the newest one."""
    world = World("default: {duration: 100}")
    run_id = world.start(chain(1), path="flow.yaml")
    for path in ("some/other/flow.yaml", "/srv/flow.yaml", "../flow.yaml"):
        result = call(world, command, path)
        refused = (
            f"Error: the newest run of a file named flow.yaml is {run_id}, but the folder of its file is not known, so "
            f"it may not be a run of {path}; to change this run, give its id, {run_id}\n"
        )
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", refused)
    assert world.run(run_id).state is RunState.RUNNING
    assert call(world, "show", "some/other/flow.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("flow.yaml", "flow.yaml"),
        ("flow.yaml", "./flow.yaml"),
        ("gs://bucket/flows/flow.yaml", "gs://bucket/flows/flow.yaml"),
        ("flows/flow.yaml", "flows/flow.yaml"),
    ],
)
def test_a_file_whose_folder_is_known_or_left_out_can_be_cancelled(path: str, named: str) -> None:
    """A bare name, an object and the very path of the run mean its newest run for changes, too."""
    world = with_runs(("flow-0000000000a1", "team", path))
    assert require_run_to_change(world.store, named).id == "flow-0000000000a1"


@pytest.mark.parametrize("name", ["/", "./", "//"])
def test_an_empty_name_of_a_file_means_no_run(name: str) -> None:
    """A folder without a name does not mean a run without a source path."""
    result = call(with_runs(("run-0000000000a1", "etl", "")), "cancel", name)
    assert (result.exit_code, f"there is no run of {name} yet" in result.stderr) == (1, True)


@pytest.mark.parametrize("command", ["show", "cancel", "retry", "doctor", "why"])
def test_every_command_takes_the_newest_run(command: str) -> None:
    """`--last` is an option of every command that takes a run."""
    world = World("default: {duration: 100}")
    older = world.start(chain(1), run_key="one")
    world.clock.sleep(1)
    newest = world.start(chain(1), run_key="two")
    result = call(world, command, "--last")
    assert newest in result.stdout + result.stderr
    assert older not in result.stdout + result.stderr


def test_why_takes_a_step_of_the_newest_run() -> None:
    """`why --last STEP` explains a step."""
    world = World()
    run_id = world.start(chain(1))
    assert call(world, "why", "--last", "s0").stdout == call(world, "why", run_id, "s0").stdout


@pytest.mark.parametrize(
    ("args", "said"), [(["flow", "--last"], "both RUN and --last name a run"), ([], "RUN is missing")]
)
def test_one_run_is_to_be_named(args: Sequence[str], said: str) -> None:
    """RUN and --last exclude each other, and one of them is required."""
    result = call(World(), "show", *args)
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_finding_a_workflows_newest_run_reads_little() -> None:
    """A recent run is found in few documents, and an old one without reading those of other workflows."""
    old = [(f"old-{number:012x}", "old", "old.yaml") for number in range(20)]
    world = with_runs(*old, *((f"new-{number:012x}", "new", "new.yaml") for number in range(450)))
    for name, run_id, most in (("new", "new-0000000001c1", 220), ("old", "old-000000000013", 240)):
        world.store.reads = 0
        assert full_run_id(world.store, name) == run_id
        assert world.store.reads <= most
