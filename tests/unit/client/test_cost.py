"""`atom-workflows cost`: the arithmetic, what it says, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_client.cost.alternatives import quotes
from atom_client.cost.bill import Line, added, dollars, price_of, times
from atom_client.cost.estimate import Estimate, chain, estimate
from atom_client.cost.measurement import measure, measure_tick
from atom_client.cost.prices import AS_OF, PRICES, Item, Price
from atom_client.cost.usage import Assumptions, Tally, billed, idle_month
from atom_client.planning.walk import Known
from atom_workflows.language.parser import parse_workflow
from atom_workflows.settings import Settings
from support.workflows import fan

ROOT: Final = Path(__file__).parents[3]
NIGHTLY: Final = str(ROOT / "examples" / "nightly_pipeline.yaml")
BAD: Final = "steps:\n  - id: a\n    dependsOn: [b]\n    task: {imageUri: x}\n  - id: a\n    task: {imageUri: x}\n"
TEN_MINUTES: Final = Assumptions(job=timedelta(minutes=10))


def call(*args: str, stdin: str | None = None, **environment: str) -> Result:
    """Call the command."""
    return CliRunner().invoke(cli, ["cost", *args], input=stdin, env=environment, catch_exceptions=False)


def measured(definition: bytes | str, given: Assumptions) -> Tally:
    """What a run of that workflow takes."""
    return estimate(definition.encode() if isinstance(definition, str) else definition, given).tally


# -- the arithmetic --------------------------------------------------------------------------------------------------


def test_a_bill_is_amount_times_price() -> None:
    """Worked by hand: 3,000,000 writes, 1,000,000 reads and 100 vCPU-seconds."""
    bill = price_of({Item.WRITES: 3_000_000, Item.READS: 1_000_000, Item.CPU: 100}, PRICES)
    assert [line.usd for line in bill.lines] == pytest.approx([2.70, 0.30, 0.0024])
    assert bill.usd == pytest.approx(3.0024)
    assert bill.by_service() == pytest.approx({"Firestore": 3.0, "Cloud Run functions": 0.0024})


def test_a_line_shows_its_formula() -> None:
    """The amount, the price and what that is for, so that anybody can check the product."""
    (line,) = price_of({Item.WRITES: 305}, PRICES).lines
    assert line.formula == "305 documents written * $0.09 / 100,000"
    messages = Line(item=Item.MESSAGES, amount=2000, price=PRICES[Item.MESSAGES])
    assert messages.formula == "2,000 bytes published and delivered * $40 / 2^40"


def test_usages_add_up_and_multiply() -> None:
    """Usages are vectors."""
    one = {Item.READS: 1.5, Item.WRITES: 2.0}
    assert added([one, one, {Item.CPU: 0.5}]) == {Item.READS: 3.0, Item.WRITES: 4.0, Item.CPU: 0.5}
    assert times(one, 2) == {Item.READS: 3.0, Item.WRITES: 4.0}


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0"),
        (357.7, "$357.70"),
        (0.4, "$0.40"),
        (0.00734, "$0.0073"),
        (0.0000031, "$0.0000031"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_keeps_two_digits_that_tell_something(usd: float, text: str) -> None:
    """A millionth of a dollar is not rounded to nothing, and has no exponent."""
    assert dollars(usd) == text


@pytest.mark.parametrize(("seconds", "bills"), [(0, 0.1), (0.1, 0.1), (0.101, 0.2), (0.30000000004, 0.3), (50, 50.0)])
def test_requests_are_billed_by_tenths_of_a_second(seconds: float, bills: float) -> None:
    """Rounded up, at least one tenth."""
    assert billed(seconds) == pytest.approx(bills)


def test_each_publish_and_each_push_counts_a_thousand_bytes_at_least() -> None:
    """Small messages that are published together share the minimum of the request, but each is pushed by itself."""
    tally = Tally()
    tally.publish([100, 100, 100], delivered=True)
    assert (tally.publishes, tally.messages, tally.deliveries, tally.message_bytes) == (1, 3, 3, 4000)
    tally.publish([30_000], delivered=False)
    assert tally.message_bytes == 34_000


def test_every_price_has_a_unit_a_source_and_no_two_ways() -> None:
    """All items have one price each, with the page it comes from."""
    assert set(PRICES) == set(Item)
    assert all(price.usd > 0 and price.per > 0 and price.source.startswith("https://") for price in PRICES.values())
    assert AS_OF.year >= 2026


# -- a run -----------------------------------------------------------------------------------------------------------


def test_a_chained_step_takes_three_writes_one_read_and_no_message() -> None:
    """A further step of a chain is created, claimed and ended, and read once."""
    quick = replace(Assumptions(), read_s=0, commit_s=0, publish_s=0, task_runner_s=0, cpu_s=0)
    short, long = measured(chain(10), quick), measured(chain(110), quick)
    assert (long.writes - short.writes, long.reads - short.reads) == (300, 100)
    assert long.messages - short.messages <= 2


def test_a_thousand_chained_steps_cost_less_than_a_cent() -> None:
    """The promise, at list prices, with storage and logs."""
    found = estimate(chain(1000), Assumptions())
    assert 0.005 < found.run.usd < 0.01
    assert found.per_1000_steps(found.run.usd) == pytest.approx(found.run.usd)


def test_a_chain_whose_jobs_report_their_ends_costs_less_than_a_cent() -> None:
    """Chained jobs of ten minutes keep nothing awake if their ends are reported; a hundred cost less than a cent."""
    jobs, given = 20, Assumptions(job=timedelta(minutes=10), notifies=True)
    reported, polled = (estimate(chain(jobs), one) for one in (given, replace(given, notifies=False)))
    assert reported.run.usd * 100 / jobs < 0.01 < polled.run.usd * 100 / jobs
    assert reported.tally.polls <= 2 * jobs
    assert reported.tally.watched_s < 2 * jobs


def test_costs_grow_with_steps_and_edges() -> None:
    """Ten times as wide costs about ten times as much."""
    narrow, wide = measured(fan(100), Assumptions()), measured(fan(1000), Assumptions())
    assert 9 < wide.writes / narrow.writes < 11
    assert 9 < wide.messages / narrow.messages < 11


def test_jobs_at_the_same_time_share_the_checker() -> None:
    """Two hundred jobs of ten minutes keep it awake hardly longer than one."""
    one, many = measured(chain(1), TEN_MINUTES), measured(fan(200), TEN_MINUTES)
    assert many.watched_s < 3.2 * one.watched_s
    assert one.watched_s < 600


def test_a_checker_that_looks_once_a_minute_is_hardly_awake() -> None:
    """`WORKFLOW_BURST_SEC` decides what waiting costs."""
    rarely = replace(TEN_MINUTES, settings=Settings(burst=timedelta(seconds=1)))
    assert measured(chain(3), rarely).watched_s < measured(chain(3), TEN_MINUTES).watched_s / 50


def test_an_engine_is_named_only_if_the_file_has_it() -> None:
    """The first line names the steps that are assumed to end at once, and the rest says what is left out."""
    image, edge = "{id: a, task: {imageUri: x}}", "{id: b, task: {engine: edge, url: u}}"
    plain = call("-", "--duration", "1m", stdin=f"steps: [{image}]").stdout
    assert "edge" not in plain.partition("\n")[0]
    assert "the machines that run the jobs are not included" in plain
    first = call("-", "--duration", "1m", stdin=f"steps: [{image}, {edge}]").stdout.partition("\n")[0]
    assert first.endswith("each job takes 1m, except for `b`: `engine: edge` jobs are assumed to end immediately")


def test_steps_without_a_task_and_edge_tasks_wait_for_no_checker() -> None:
    """A barrier takes no job, and an edge task is answered at once however long the others take."""
    steps = [{"id": "a", "task": {"engine": "edge", "url": "https://edge.example"}}, {"id": "b", "dependsOn": ["a"]}]
    tally = measured(json.dumps({"steps": steps}), TEN_MINUTES)
    assert (tally.submissions, tally.polls, tally.watched_s) == (1, 0, 0)


def test_each_new_state_of_a_job_is_a_write() -> None:
    """A state that a job goes through while it is polled is written once."""
    none, three = (measured(chain(1), replace(TEN_MINUTES, new_states=states)).writes for states in (0, 3))
    assert three == none + 3


def test_an_idle_month_is_a_query_a_minute() -> None:
    """43,200 ticks: each one read, two times a thousand bytes, one request of a tenth of a second; and one schedule."""
    usage = idle_month(measure_tick(Assumptions()), Assumptions())
    assert usage[Item.READS] == usage[Item.REQUESTS] == 43_200
    assert usage[Item.MESSAGES] == 86_400_000
    assert usage[Item.CPU] == pytest.approx(4_320 * 0.167)
    assert usage[Item.SCHEDULES] == 1
    assert not usage[Item.WRITES]
    assert price_of(usage, PRICES).usd < 0.30


# -- the peers -------------------------------------------------------------------------------------------------------


def test_peers_are_priced_by_their_own_units() -> None:
    """Ten jobs that are looked at 20 times, worked by hand, 30 times a month."""
    tally = Tally(submissions=10, polls=20, took_s=100)
    by_name = {quote.name: quote for quote in quotes(tally, 30, PRICES)}
    assert by_name["Cloud Workflows, Task Runner on *.run.app"].run == pytest.approx(80 * 0.01 / 1000)
    assert by_name["Cloud Workflows, Task Runner elsewhere"].run == pytest.approx((30 * 0.025 + 50 * 0.01) / 1000)
    assert by_name["Step Functions Standard, polling"].run == pytest.approx(81 * 0.025 / 1000)
    assert by_name["Step Functions Standard, polling"].month == pytest.approx(30 * 81 * 0.025 / 1000)
    assert by_name["Amazon MWAA, mw1.small"].month == pytest.approx(357.70)
    assert by_name["Amazon MWAA, mw1.small"].run == pytest.approx(357.70 / 30)


def test_express_workflows_end_after_five_minutes() -> None:
    """What a peer cannot run has no price."""
    (express,) = (quote for quote in quotes(Tally(took_s=301), 1, PRICES) if quote.name.endswith("Express"))
    assert (express.run, express.month) == (None, None)


# -- the command -----------------------------------------------------------------------------------------------------


def test_cost_tells_the_three_figures_and_the_peers() -> None:
    """What a run costs, what a month does with and without runs, and what others take."""
    result = call(NIGHTLY, "--runs-per-month", "60")
    assert result.exit_code == 0
    assert result.stdout.startswith("nightly-pipeline: 6 steps (8 with all items), each job takes 10m")
    for text in (
        "A run costs $",
        "With no run in flight",
        "A month with 60 runs costs $",
        "Cloud Workflows",
        "60 RUNS A MONTH",
    ):
        assert text in result.stdout
    assert "documents written * $0.09 / 100,000" in result.stdout


def test_without_a_file_it_is_a_chain() -> None:
    """`--steps` prices a workflow that is not written yet."""
    assert call().stdout.startswith("a chain of 1,000: 1,000 steps, each job ends immediately")
    assert call("--steps", "7", "--duration", "90").stdout.startswith("a chain of 7: 7 steps, each job takes 1m30s")


def test_cost_reads_stdin() -> None:
    """`-` is stdin."""
    assert call("-", "--duration", "0", stdin="steps: [{id: a}]").stdout.startswith("<stdin>: 1 step, each job ends")


def test_programs_get_numbers_that_add_up() -> None:
    """With --json the lines are the sum, and the month is its runs and the idle platform."""
    printed = json.loads(call(NIGHTLY, "--json").stdout)
    assert sum(line["usd"] for line in printed["run"]["lines"]) == pytest.approx(printed["run"]["usd"])
    assert printed["month"]["usd"] == pytest.approx(30 * printed["run"]["usd"] + printed["idle_month"]["usd"])
    assert printed["counts"]["submissions"] == 7
    assert printed["prices_as_of"] == AS_OF.isoformat()
    assert {peer["name"] for peer in printed["peers"]} >= {"Amazon MWAA, mw1.small", "Step Functions Express"}


def test_the_deployments_settings_count() -> None:
    """The variables of the functions are read from the environment, and a wrong one is reported."""
    usual, rare = (json.loads(call(NIGHTLY, "--json", **env).stdout) for env in ({}, {"WORKFLOW_BURST_SEC": "1"}))
    assert rare["run"]["usd"] < usual["run"]["usd"] / 10
    assert "WORKFLOW_BURST_SEC" in call(NIGHTLY, WORKFLOW_BURST_SEC="much").stderr


def test_the_settings_that_count_are_named() -> None:
    """Whoever asks in a terminal that is set up for a local platform learns that its settings were taken."""
    assert "WORKFLOW_CHECK_STATE_DURATION_SEC=10 and WORKFLOW_BURST_SEC=50, as deployed" in call(NIGHTLY).stdout
    local = call(NIGHTLY, WORKFLOW_CHECK_STATE_DURATION_SEC="1").stdout
    assert "WORKFLOW_CHECK_STATE_DURATION_SEC=1 and WORKFLOW_BURST_SEC=50, from your environment" in local


def test_a_larger_checker_is_dearer() -> None:
    """`--checker-cpu` says what it is deployed with."""
    usual, large = (json.loads(call(NIGHTLY, "--json", *args).stdout) for args in ((), ("--checker-cpu", "1")))
    assert large["run"]["usd"] > usual["run"]["usd"] * 3


def test_an_invalid_file_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    """The usual list, on stderr, and for programs as JSON."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    result = call(str(bad))
    assert (result.exit_code, len(result.stderr.splitlines()), result.stdout) == (2, 2, "")
    assert [problem["line"] for problem in json.loads(call(str(bad), "--json").stdout)["problems"]] == [3, 5]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["none.yaml"], "none.yaml cannot be read"),
        ([""], "the name of the workflow file is empty"),
        (["--checker-cpu", "nan"], "'nan' is not a number"),
        ([NIGHTLY, "--steps", "3"], "not both"),
        (["--steps", "0"], "--steps"),
        (["--steps", "-1"], "--steps"),
        (["--steps", "10001"], "--steps"),
        (["--duration", "-3"], "--duration is '-3'"),
        (["--duration", "soon"], "--duration is 'soon'"),
        (["--duration", "nan"], "--duration is 'nan'"),
        (["--duration", "99999999d"], "with jobs that take 99999999d, step s0 would time out after 10h"),
        (["--duration", "10h"], "step s0 would time out after 10h; give a shorter --duration"),
        ([NIGHTLY, "--duration", "11d"], "step load-orders would time out after 1h"),
        (["--steps", "1000", "--duration", "1h"], "the run would take more than 15 days"),
        (["--runs-per-month", "0"], "--runs-per-month"),
        (["--runs-per-month", "-5"], "--runs-per-month"),
        (["--checker-cpu", "0"], "--checker-cpu"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(args: list[str], sentence: str) -> None:
    """A user's mistake ends with exit code 2 and says what is wrong."""
    result = call(*args)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("steps: [{id: a, task: {imageUri: x}}]", 10),
        ("steps: [{id: a, timeout: 5m, task: {imageUri: x}}]", 2.5),
        ("timeout: 8m\nsteps: [{id: a, task: {imageUri: x}}, {id: b, dependsOn: a, task: {imageUri: x}}]", 2),
        ("steps: [{id: a, timeout: 5m}, {id: b, dependsOn: a, task: {imageUri: x}}]", 10),
        ("steps: [{id: a, timeout: 1s, task: {engine: edge, url: 'https://e.example'}}]", 10),
    ],
    ids=["none", "of a step", "of the run", "of a barrier", "of an edge task"],
)
def test_jobs_are_assumed_to_keep_the_timeouts_of_a_file(text: str, minutes: float, tmp_path: Path) -> None:
    """Without --duration no file is refused for its short timeouts."""
    file = tmp_path / "short.yaml"
    file.write_text(text)
    assert json.loads(call(str(file), "--json").stdout)["job_s"] == minutes * 60


# -- the page --------------------------------------------------------------------------------------------------------


def cost_page() -> Any:
    """The script that writes docs/explanation/cost.md."""
    spec = importlib.util.spec_from_file_location("cost_page", ROOT / "docs" / "cost_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_code_says() -> None:
    """Writing docs/explanation/cost.md again changes nothing; if this fails, run `python docs/generate.py`."""
    assert (ROOT / "docs" / "explanation" / "cost.md").read_text(encoding="utf-8") == cost_page().page()


def test_a_changed_price_changes_every_figure() -> None:
    """The price table is the one place where a price stands."""
    dearer = {item: replace(price, usd=2 * price.usd) for item, price in PRICES.items()}
    usual, twice = (_estimate(prices) for prices in (PRICES, dearer))
    assert twice.run.usd == pytest.approx(2 * usual.run.usd)
    assert twice.month == pytest.approx(2 * usual.month)
    assert [q.run for q in twice.peers] == pytest.approx([q.run and 2 * q.run for q in usual.peers])


def _estimate(prices: Any) -> Estimate:
    return estimate(chain(10), Assumptions(), prices=prices)


def test_a_price_is_for_so_many() -> None:
    """A price for a thousand is a thousandth for one."""
    assert Price(service="x", usd=5, per=1000, source="https://x").of(1) == pytest.approx(0.005)


# -- parameters, conditions and outputs ------------------------------------------------------------------------------

BRANCHES: Final = """
params:
  mode: {type: text, enum: [full, delta]}
  day: {type: date}
timeout: 9h
steps:
  - id: list
    task: {imageUri: i, args: ["${{ params.day }}"]}
    outputs: {files: [text], rows: int}
  - {id: full, dependsOn: [list], when: params.mode == 'full', task: {imageUri: i}}
  - {id: delta, dependsOn: [list], when: params.mode == 'delta', task: {imageUri: i}}
  - id: load
    dependsOn: [full, delta]
    when: steps.list.outputs.rows > 5 and len(steps.list.outputs.files) > 1
    task: {imageUri: i, args: {n: "${{ steps.list.outputs.files[0] }}", s: "${{ steps.full.state }}"}}
    outputs: {model: {name: text}}
  - {id: alarm, dependsOn: [load], trigger: any-failed, task: {imageUri: i}}
finally:
  - {id: clean, when: run.state == 'FAILED', task: {imageUri: i, args: ["${{ len(run.failures) }}"]}}
outputs: {rows: "${{ steps.list.outputs.rows }}", name: "${{ steps.load.outputs.model.name ?? '' }}"}
"""


def test_steps_whose_conditions_are_false_are_not_counted() -> None:
    """What the parameters skip is left out, what is unknown is assumed to run, and both are named."""
    found = json.loads(call("-", "--param", "mode=full", "--json", stdin=BRANCHES).stdout)
    assert (found["skipped"], found["assumed_to_run"]) == (["delta", "alarm"], ["load", "clean"])
    assert found["counts"]["submissions"] == 4
    printed = call("-", "--param", "mode=full", stdin=BRANCHES).stdout
    assert "Skipped, so not counted as jobs: `delta` and `alarm`." in printed
    assert "Assumed to run, as their conditions are not known in advance: `load` and `clean`." in printed


def test_parameters_may_be_left_out() -> None:
    """Without a parameter that a condition reads, both branches are assumed to run."""
    found = json.loads(call("-", "--json", stdin=BRANCHES).stdout)
    assert found["assumed_to_run"] == ["full", "delta", "load", "clean"]
    assert found["counts"]["submissions"] == 5


def test_wrong_parameters_of_an_estimate_are_refused() -> None:
    """A parameter that does not fit is a mistake, and so is one without a file."""
    result = call("-", "--param", "mode=both", stdin=BRANCHES)
    assert (result.exit_code, "not one of full, delta" in result.stderr) == (2, True)
    assert call("--param", "mode=full").exit_code == 2


@pytest.mark.parametrize("job", [timedelta(0), timedelta(minutes=3)])
def test_decided_conditions_cost_what_they_cost_in_a_run(job: timedelta) -> None:
    """The workflow that is played instead reads, writes and publishes as much as the real one with the same ends."""
    flow = """
steps:
  - {id: list, task: {imageUri: i}, outputs: {rows: int, more: int}}
  - id: load
    dependsOn: [list]
    when: steps.list.outputs.rows > 0
    task: {imageUri: i, args: {n: "${{ steps.list.outputs.rows }}", m: "${{ steps.list.state }}"}}
    outputs: {n: int}
  - {id: quick, task: {engine: edge, url: u}, outputs: {rows: int, more: int}}
  - {id: skip, dependsOn: [list], when: run.id == '', task: {imageUri: i}}
  - id: report
    dependsOn: [load, skip, quick]
    task: {imageUri: i, args: ["${{ steps.load.outputs.n ?? 0 }}", "${{ steps.skip.message }}"]}
  - {id: alarm, dependsOn: [load], trigger: any-failed, task: {imageUri: i}}
finally:
  - {id: clean, when: run.state == 'SUCCEEDED', task: {imageUri: i, args: ["${{ run.failureCount }}"]}}
outputs: {rows: "${{ steps.list.outputs.rows }}"}
"""
    given = Assumptions(job=job)
    real = measure(parse_workflow(flow, filename="flow.yaml"), flow.encode(), given)
    modelled = estimate(flow.encode(), given, known=Known(run={"id": "some-run"})).tally
    assert (modelled.writes, modelled.reads, modelled.submissions) == (real.writes, real.reads, real.submissions)
    assert (modelled.publishes, modelled.messages, modelled.deliveries) == (
        real.publishes,
        real.messages,
        real.deliveries,
    )
    assert modelled.submissions == 5
