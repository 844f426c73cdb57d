"""The pipelines among the examples: each branch of each one, played in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from atom_emulator.testing import Played, play
from atom_workflows.language.parser import parse_workflow

PIPELINES: Final = Path(__file__).parents[2] / "examples" / "pipelines"
FILES: Final = sorted(path for path in PIPELINES.glob("*.yaml") if ".mock." not in path.name)
DAY: Final = "2026-03-01"

Rules = Mapping[str, Mapping[str, Any]]


def mock(name: str) -> Path:
    """Return a script that stands beside the pipelines."""
    return PIPELINES / f"{name}.mock.yaml"


def rules(**steps: Mapping[str, Any]) -> dict[str, Any]:
    """Return a script with a rule for each step, in whose name `_` stands for `-`."""
    return {"rules": [{"step": name.replace("_", "-"), **behavior} for name, behavior in steps.items()]}


def args(played: Played, step: str) -> Any:
    """Return the arguments of a step's only job."""
    (job,) = played.jobs(step)
    return job["args"]


def skipped_by_choice(played: Played) -> list[str]:
    """Return the steps that were skipped without a failure."""
    return [name for name, step in played.steps.items() if step.skipped_by_choice]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_each_is_valid_without_a_warning(file: Path) -> None:
    """No pipeline has a problem or a doubtful value."""
    assert parse_workflow(file.read_bytes(), filename=file.name).warnings == ()


# -- daily_sales -----------------------------------------------------------------------------------------------------


def daily_sales(script: Any, **params: Any) -> Played:
    """Play the daily sales."""
    return play(PIPELINES / "daily_sales.yaml", script, params=params)


def test_the_sales_of_a_chosen_day_are_loaded() -> None:
    """The date reaches each job in the form that it needs, and the outputs reach the steps behind."""
    played = daily_sales(mock("daily_sales"), day=DAY, region="us")
    assert played.state == "SUCCEEDED"
    assert args(played, "extract") == {"day": DAY, "into": "gs://acme-sales/us/2026/03/01"}
    assert args(played, "load") == {"table": "sales_us_20260301", "files": ["part-0.csv", "part-1.csv"]}
    assert args(played, "check") == {"table": "sales_eu", "expected": 1200, "loaded": 1200}
    assert args(played, "mail")["subject"] == "Sales of 01.03.2026: 1200 rows"
    assert played.outputs == {"day": DAY, "rows": 1200, "table": "sales_eu"}


def test_without_a_day_it_is_yesterday() -> None:
    """The default is worked out once, when the run starts."""
    played = daily_sales(mock("daily_sales"))
    assert played.params == {"day": "2025-12-31", "region": "eu"}


def test_a_day_without_sales_is_reported_and_not_loaded() -> None:
    """`load` is skipped with the number that decided it, `check` follows, and the mail is sent."""
    played = daily_sales(mock("daily_sales.holiday"), day=DAY)
    assert played.state == "SUCCEEDED"
    assert skipped_by_choice(played) == ["load", "check"]
    assert played.step("load").because == "`steps.extract.outputs.rows > 0` was false (`rows` = 0)"
    assert args(played, "mail") == {"subject": "Sales of 01.03.2026: 0 rows", "table": "no table"}
    assert played.outputs == {"day": DAY, "rows": 0, "table": None}


def test_an_extract_that_does_not_say_how_many_rows_it_has_fails() -> None:
    """The step that breaks its word is tried again and then fails, not the one that would read the output."""
    played = daily_sales(rules(extract={"outputs": {"files": []}}))
    assert (played.state, played.step("extract").attempts) == ("FAILED", 3)
    assert "`rows` is missing; the job returned: files" in played.step("extract").message
    assert played.step("mail").cause == "extract"
    assert played.outputs == {}


def test_no_mail_is_sent_if_the_check_fails() -> None:
    """A failed check blocks the mail, which would otherwise also be sent on a day without sales."""
    script = rules(
        extract={"outputs": {"files": ["a"], "rows": 2}},
        load={"outputs": {"table": "t", "loaded": 1}},
        check={"always_fail": True, "message": "1 row is missing"},
    )
    played = daily_sales(script)
    assert played.errors == ("check: 1 row is missing",)
    assert (played.step("mail").state, played.step("mail").cause) == ("SKIPPED", "check")


def test_wrong_parameters_start_nothing() -> None:
    """All problems are reported at once, and no job is submitted."""
    played = daily_sales(None, day="1 March", regoin="eu")
    assert (played.state, played.submissions) == ("INVALID", ())
    assert len(played.errors) == 2
    assert any("did you mean `region`?" in error for error in played.errors)
    assert any("`params.day`" in error for error in played.errors)


# -- promote_model ---------------------------------------------------------------------------------------------------


def promote_model(script: Any, **params: Any) -> Played:
    """Play the promotion of a model."""
    return play(PIPELINES / "promote_model.yaml", script, params=params)


def measured(new: float, old: float | None) -> dict[str, Any]:
    """Return a script in which the models have this quality."""
    return rules(
        train={"outputs": {"model": "gs://models/new", "examples": 10}},
        evaluate={"outputs": {"auc": new}},
        production={"outputs": {"auc": old}},
    )


def test_a_better_model_is_promoted() -> None:
    """The model that was trained is the one that is promoted, and the run says so."""
    played = promote_model(mock("promote_model"))
    assert args(played, "promote") == {"model": "gs://acme-models/churn/new"}
    assert args(played, "report")["verdict"] == "promoted"
    assert played.outputs == {"auc": 0.91, "promoted": True}


def test_a_model_that_is_hardly_better_is_not() -> None:
    """The promotion is skipped, and the report behind it runs all the same."""
    played = promote_model(mock("promote_model.worse"))
    assert (played.state, skipped_by_choice(played)) == ("SUCCEEDED", ["promote"])
    assert args(played, "report") == {
        "verdict": "kept the old model",
        "examples": 250000,
        "auc": 0.884,
        "before": 0.88,
    }
    assert played.outputs == {"auc": 0.884, "promoted": False}


@pytest.mark.parametrize(("margin", "promoted"), [(0, True), (0.03, True), (0.031, False)])
def test_the_margin_is_a_parameter(margin: float, promoted: bool) -> None:  # noqa: FBT001 (from a table)
    """A margin that is just reached promotes, a larger one does not."""
    assert promote_model(measured(0.91, 0.88), margin=margin).outputs["promoted"] is promoted


def test_the_first_model_has_nothing_to_beat() -> None:
    """Without a model in production the new one is promoted, and the report leaves out what there is not."""
    played = promote_model(measured(0.5, None))
    assert played.outputs == {"auc": 0.5, "promoted": True}
    assert "before" not in args(played, "report")


def test_nothing_is_promoted_if_the_model_cannot_be_measured() -> None:
    """A failed evaluation blocks the promotion and the report."""
    played = promote_model(
        rules(
            train={"outputs": {"model": "gs://m/a", "examples": 1}},
            production={"outputs": {"auc": 0.5}},
            evaluate={"always_fail": True},
        )
    )
    assert played.state == "FAILED"
    assert (played.step("promote").cause, played.step("report").cause) == ("evaluate", "evaluate")
    assert played.step("production").state == "SUCCEEDED"


# -- full_or_delta ---------------------------------------------------------------------------------------------------


def full_or_delta(script: Any, **params: Any) -> Played:
    """Play the load in full or of what has changed."""
    return play(PIPELINES / "full_or_delta.yaml", script, params=params)


def test_a_delta_skips_the_full_load() -> None:
    """The whole branch behind the condition is skipped, and the join runs."""
    played = full_or_delta(mock("full_or_delta"), since=DAY)
    assert played.state == "SUCCEEDED"
    assert skipped_by_choice(played) == ["full", "full-orders", "full-customers", "rebuild-index"]
    assert args(played, "delta") == {"since": DAY}
    assert args(played, "report") == {"mode": "delta", "rows": 312}


def test_a_full_load_skips_the_delta() -> None:
    """The report adds up what the tables had, and the index is built anew."""
    played = full_or_delta(mock("full_or_delta"), mode="full")
    assert (played.state, skipped_by_choice(played)) == ("SUCCEEDED", ["delta"])
    assert args(played, "report") == {"mode": "full", "rows": 57000}
    assert played.attempts["rebuild-index"] == 1


def test_a_table_that_fails_blocks_the_report() -> None:
    """A skipped branch holds up no one, but a failed one does."""
    played = full_or_delta(
        rules(full_orders={"always_fail": True}, full_customers={"outputs": {"rows": 1}}), mode="full"
    )
    assert played.state == "FAILED"
    blocked = {name: step.cause for name, step in played.steps.items() if step.cause}
    assert blocked == {"loaded": "full-orders", "report": "full-orders", "rebuild-index": "full-orders"}
    assert skipped_by_choice(played) == ["delta"]


# -- score_on_cluster ------------------------------------------------------------------------------------------------


def score_on_cluster(script: Any, **options: Any) -> Played:
    """Play the work on a rented cluster."""
    return play(PIPELINES / "score_on_cluster.yaml", script, **options)


CLUSTER: Final = {"outputs": {"cluster": "cluster-17"}}
SCORES: Final = {"outputs": {"scored": 9}}


def test_a_cluster_is_given_back_after_a_success() -> None:
    """No one is alerted."""
    played = score_on_cluster(rules(create_cluster=CLUSTER, score=SCORES))
    assert played.state == "SUCCEEDED"
    assert args(played, "delete-cluster") == {"cluster": "cluster-17"}
    assert skipped_by_choice(played) == ["tell-scientists", "alert"]


def test_a_cluster_is_given_back_after_a_failure() -> None:
    """Those who wrote the job and those on call are told what failed, and the run is FAILED."""
    played = score_on_cluster(mock("score_on_cluster"))
    assert (played.state, played.errors) == ("FAILED", ("score: a column is missing: age",))
    assert args(played, "tell-scientists")["text"] == "Scoring failed: a column is missing: age"
    assert args(played, "delete-cluster") == {"cluster": "cluster-17"}
    alert = args(played, "alert")
    assert (alert["text"], alert["failed"]) == ("score-on-cluster is FAILED, failures: 1", ["score"])
    assert alert["details"] == [
        {"step": "score", "kind": "failed", "reason": "BAD_INPUT", "message": "a column is missing: age"}
    ]


def test_a_cluster_that_never_was_is_not_deleted() -> None:
    """The condition asks whether there is one."""
    played = score_on_cluster(rules(create_cluster={"always_fail": True}))
    assert (played.state, skipped_by_choice(played)) == ("FAILED", ["delete-cluster"])
    assert args(played, "alert")["failed"] == ["create-cluster"]


def test_a_cluster_is_given_back_when_the_time_is_up() -> None:
    """The steps under `finally` run after the run's own timeout, too."""
    played = score_on_cluster(rules(create_cluster={"duration": 4 * 3600, **CLUSTER}, score={"duration": 7 * 3600}))
    assert played.state == "FAILED"
    assert played.attempts["delete-cluster"] == 1
    assert args(played, "alert")["text"].startswith("score-on-cluster is FAILED")


def test_a_cluster_that_cannot_be_deleted_fails_the_run() -> None:
    """A clean-up that failed is a failure, after as many attempts as it has."""
    played = score_on_cluster(rules(create_cluster=CLUSTER, score=SCORES, delete_cluster={"always_fail": True}))
    assert (played.state, played.attempts["delete-cluster"]) == ("FAILED", 5)


def test_an_alert_that_fails_changes_nothing() -> None:
    """The run's error is still that of the step that failed first."""
    failing = {"always_fail": True, "message": "no GPU"}
    played = score_on_cluster(rules(create_cluster=CLUSTER, score=failing, alert={"always_fail": True}))
    assert played.step("alert").tolerated
    assert played.errors == ("score: no GPU",)


# -- larger_machine --------------------------------------------------------------------------------------------------


def larger_machine(script: Any) -> Played:
    """Play the training on a larger machine."""
    return play(PIPELINES / "larger_machine.yaml", script)


def training(**behavior: Any) -> dict[str, Any]:
    """Return a script in which `train` behaves like this."""
    return rules(prepare={"outputs": {"file": "gs://m/f"}}, train={"outputs": {"model": "gs://m/eu"}, **behavior})


def machines(played: Played) -> list[Any]:
    """Return the machine of each attempt of `train`."""
    return [job["masterType"] for job in played.jobs("train")]


def test_a_job_that_ran_out_of_memory_gets_a_larger_machine() -> None:
    """Only the attempt behind such a failure asks for one."""
    played = larger_machine(mock("larger_machine"))
    assert (played.state, machines(played)) == ("SUCCEEDED", ["n1-highmem-8", "n1-highmem-32"])
    assert played.outputs == {"model": "gs://acme-models/eu"}


def test_a_job_that_was_preempted_gets_the_same_machine() -> None:
    """The reason of the last attempt counts, not that of an earlier one."""
    played = larger_machine(training(fail_times=3, reason=["OOM", "PREEMPTED", "OOM"]))
    assert machines(played) == ["n1-highmem-8", "n1-highmem-32", "n1-highmem-8", "n1-highmem-32"]
    assert played.state == "SUCCEEDED"


def test_bad_input_is_not_tried_again() -> None:
    """A failure that `retry.when` does not name is final."""
    played = larger_machine(mock("larger_machine.bad_input"))
    assert (played.state, machines(played)) == ("FAILED", ["n1-highmem-8"])
    assert (played.step("train").reason, played.step("publish").cause) == ("BAD_INPUT", "train")


def test_a_job_that_hangs_is_tried_again() -> None:
    """A timeout has a kind and no reason, so the machine stays what it was."""
    played = larger_machine(training(duration=3 * 3600))
    assert (played.state, machines(played)) == ("FAILED", ["n1-highmem-8"] * 4)
    assert played.took > timedelta(hours=8)


# -- load_partitions -------------------------------------------------------------------------------------------------


def load_partitions(script: Any, **params: Any) -> Played:
    """Play the load of the files of a day."""
    return play(PIPELINES / "load_partitions.yaml", script, params={"day": DAY, **params})


def sent(*sizes: int) -> dict[str, Any]:
    """Return a rule in which shops have sent files of these sizes."""
    files = [{"shop": f"s{index}", "uri": f"gs://b/{index}", "size": size} for index, size in enumerate(sizes)]
    return {"step": "list", "outputs": {"files": files}}


LOADED: Final = {"step": "load", "outputs": {"rows": 10}}


def test_each_file_is_loaded_into_a_partition_of_its_own() -> None:
    """Its name comes from the day and the shop alone, so a second job would write to the same place."""
    played = load_partitions({"rules": [sent(1, 2), LOADED]})
    assert [job["args"]["replace"] for job in played.jobs("load")] == [
        "sales/day=2026-03-01/shop=s0",
        "sales/day=2026-03-01/shop=s1",
    ]
    assert played.jobs("load[1]")[0]["args"]["from"] == "gs://b/1"
    assert args(played, "mail") == {"once": "sales-2026-03-01", "shops": "2 of 2", "rows": 20}
    assert played.outputs == {"failed": 0}


def test_a_file_that_cannot_be_read_is_tolerated_and_not_tried_again() -> None:
    """The others are loaded, and the mail counts them."""
    bad = {"step": "load[1]", "always_fail": True, "reason": "BAD_INPUT"}
    played = load_partitions({"rules": [sent(1, 2, 3), bad, LOADED]})
    assert (played.state, played.step("load").attempts) == ("SUCCEEDED", 0)
    assert [(item.state, item.attempts) for item in played.items_of("load").values()] == [
        ("SUCCEEDED", 1),
        ("FAILED", 1),
        ("SUCCEEDED", 1),
    ]
    assert args(played, "mail")["shops"] == "2 of 3"
    assert played.outputs == {"failed": 1}


def test_other_failures_are_tried_again_one_by_one() -> None:
    """Each item has attempts of its own."""
    lost = {"step": "load[0]", "fail_times": 2, "outputs": {"rows": 1}}
    played = load_partitions({"rules": [sent(1, 2), lost, LOADED]})
    assert [item.attempts for item in played.items_of("load").values()] == [3, 1]
    assert args(played, "mail")["rows"] == 11


def test_two_bad_files_fail_the_load() -> None:
    """The script of the page has two, and one is allowed."""
    played = load_partitions(mock("load_partitions"))
    assert (played.state, played.step("mail").cause) == ("FAILED", "load")
    assert played.step("load").message == "2 of 4 items failed; at most 1 may fail; first: load[1]: line 17: no amount"


def test_empty_files_are_skipped_and_no_files_are_no_failure() -> None:
    """What is behind the load runs."""
    played = load_partitions({"rules": [sent(0, 5), LOADED]})
    assert [item.skipped_by_choice for item in played.items_of("load").values()] == [True, False]
    assert args(played, "mail")["shops"] == "1 of 2"
    assert args(load_partitions({"rules": [sent()]}), "mail")["shops"] == "0 of 0"


def test_every_test_runs_for_every_region() -> None:
    """Two lists give every combination."""
    played = load_partitions({"rules": [sent(1), LOADED]}, regions=["eu", "us", "asia"])
    assert [(job["args"]["region"], job["args"]["test"]) for job in played.jobs("check")] == [
        (region, test) for region in ("eu", "us", "asia") for test in ("duplicates", "totals")
    ]


def test_at_most_twenty_files_are_loaded_at_a_time() -> None:
    """With jobs of a minute, a hundred files take five."""
    slow = {**LOADED, "duration": 60}
    played = load_partitions({"rules": [sent(*range(1, 101)), slow]})
    begun = [item.began for item in played.items_of("load").values() if item.began is not None]
    assert max(sum(other <= one < other + timedelta(minutes=1) for other in begun) for one in begun) == 20


@pytest.mark.parametrize("name", ["load[9]", "lod"])
def test_an_item_that_does_not_exist_is_named(name: str) -> None:
    """A test that asks for it learns what there is."""
    with pytest.raises(LookupError, match=r"load has 1 items|the steps are list, load, check, mail"):
        load_partitions({"rules": [sent(1), LOADED]}).jobs(name)
