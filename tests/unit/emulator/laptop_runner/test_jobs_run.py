"""Jobs really run: their arguments, environment, files, ends and outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest
import requests

from unit.emulator.laptop_runner.laptop import PYTHON, SECRET, WITHIN_S, Laptop

WAIT: Final = "import time, pathlib; pathlib.Path('up').write_text('up'); time.sleep(600)"
"""A program that reports that it has started, and then runs until it is killed."""

IN_USE: Final = "import json, os, pathlib; pathlib.Path(os.environ['ATOM_OUTPUTS']).write_text(json.dumps({value}))"


def test_a_program_gets_its_arguments_as_they_are(laptop: Laptop) -> None:
    """Arguments reach the program unchanged, and no shell interprets them."""
    words = ["$HOME; touch x", "a b", "", "--x=*", "ü\n世"]
    laptop.python("import sys, json; json.dump(sys.argv[1:], open('words.json', 'w'))", *words)
    assert laptop.ended()["state"] == "SUCCEEDED"
    assert json.loads((laptop.files() / "words.json").read_text()) == words


def test_a_key_finds_its_job(laptop: Laptop) -> None:
    """The lookup of a key is answered as a status call about its job, and one without a job with none."""
    laptop.python("print('done')")
    done = laptop.ended()
    assert laptop.call("GET", "/jobstatus?key=run-1/step/1").json() == {"key": "run-1/step/1", "job": done}
    for key in ("run-1/step/2", "no key at all"):
        answer = laptop.call("GET", f"/jobstatus?key={key}")
        assert (answer.status_code, answer.json()) == (200, {"key": key, "jobId": None})


def test_a_job_has_a_folder_of_its_own_and_a_log(laptop: Laptop) -> None:
    """A job runs in its own folder, and what it prints is in the log there, which only the user can read."""
    laptop.python("import os, sys; print(os.getcwd(), flush=True); print('careful', file=sys.stderr)")
    laptop.ended()
    log = laptop.files() / "job.log"
    assert log.read_text() == f"{laptop.files()}\ncareful\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert laptop.folder.stat().st_mode & 0o777 == 0o700


def test_the_environment_of_a_job_is_built_from_a_list(tmp_path: Path) -> None:
    """A job gets our variables and a few of the user's, but no token or setting, whatever the server has."""
    secrets = {"WORKFLOW_TR_AUTH_JWT": "x", "WORKFLOW_ENV_A": "x", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/x"}
    laptop = Laptop(tmp_path, env={**secrets, "LC_NUMERIC": "C", "TZ": "UTC"})
    try:
        laptop.submit("env", "-0")
        laptop.ended()
    finally:
        laptop.kill()
    found = dict(entry.split("=", 1) for entry in (laptop.files() / "job.log").read_text().split("\0")[:-1])
    ours = {
        "ATOM_RUN_ID": "run-1",
        "ATOM_STEP_ID": "step",
        "ATOM_ATTEMPT": "1",
        "ATOM_WORKFLOW": "daily",
        "ATOM_OUTPUTS": str(laptop.files() / "outputs" / "outputs.json"),
        "ATOM_STARTED_IN": str(laptop.started_in),
        "PYTHONUNBUFFERED": "1",
    }
    assert ours.items() <= found.items()
    assert (found["PATH"], found["LC_NUMERIC"], found["TZ"]) == (os.environ["PATH"], "C", "UTC")
    assert not set(found) & set(secrets)
    assert SECRET not in json.dumps(found)


def test_a_program_is_found_by_path_or_from_where_the_platform_was_started(laptop: Laptop) -> None:
    """A relative path with a slash starts at the folder in which the server was started."""
    program = laptop.started_in / "tools" / "say.sh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho said $1\n")
    program.chmod(0o755)
    laptop.submit("tools/say.sh", "it")
    assert laptop.ended()["state"] == "SUCCEEDED"
    assert (laptop.files() / "job.log").read_text() == "said it\n"


def test_exit_code_zero_is_success_with_outputs(laptop: Laptop) -> None:
    """A job that exits with 0 has SUCCEEDED, and what it wrote to its outputs file is returned."""
    laptop.python(IN_USE.format(value='{"rows": 12, "file": os.path.abspath("a.csv")}'))
    job = laptop.ended()
    assert (job["state"], job["message"], job["jobId"]) == ("SUCCEEDED", "", "run-1/step/1")
    assert job["outputs"] == {"rows": 12, "file": str(laptop.files() / "a.csv")}


def test_outputs_that_cannot_be_used_are_explained(laptop: Laptop) -> None:
    """Outputs that break a limit are dropped, and the job's message says why."""
    laptop.python(IN_USE.format(value="[1, 2]"))
    job = laptop.ended()
    assert job["state"] == "SUCCEEDED"
    assert "outputs" not in job
    assert "not a JSON object" in job["message"]


@pytest.mark.parametrize(
    "code",
    [
        "os.symlink('/etc/passwd', path)",
        "os.mkfifo(path)",
        "os.mkdir(path)",
    ],
)
def test_only_a_file_is_read_as_outputs(laptop: Laptop, code: str) -> None:
    """A link, a pipe or a folder in the place of the outputs file counts as no outputs and blocks nothing."""
    laptop.python(f"import os; path = os.environ['ATOM_OUTPUTS']; {code}")
    job = laptop.ended()
    assert job["state"] == "SUCCEEDED"
    assert "outputs" not in job


def test_another_exit_code_is_failure_with_the_last_lines(laptop: Laptop) -> None:
    """A job that exits with another code has FAILED; the code is the reason, its last lines are the message."""
    laptop.python("import sys; [print('line', n) for n in range(1000)]; sys.exit(3)")
    job = laptop.ended()
    assert (job["state"], job["reason"]) == ("FAILED", "EXIT_3")
    assert job["message"].startswith("exit code 3")
    assert job["message"].endswith("line 998\nline 999")
    assert len(job["message"].splitlines()) == 11


def test_a_signal_is_a_reason(laptop: Laptop) -> None:
    """A job that a signal ended has FAILED with the signal as its reason."""
    laptop.python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    job = laptop.ended()
    assert (job["state"], job["reason"]) == ("FAILED", "SIGNAL_11")
    assert job["message"].startswith("killed by SIGSEGV")


@pytest.mark.parametrize(
    ("program", "message", "hint"),
    [
        ("no-such-program", "there is no program 'no-such-program'", "searched for on the PATH"),
        ("plain.py", "there is no program 'plain.py'", "write ./plain.py"),
        ("ls -l", "there is no program 'ls -l'", "`args: [ls, -l]`"),
        ("./echo hi | wc -l", "there is no program", '`args: [sh, -c, "./echo hi | wc -l"]`'),
        ("./script.yp", "there is no program", "did you mean `script.py`?"),
        ("./no/such", "there is no program", "in the folder in which the platform was started"),
        ("/no/such", "there is no program '/no/such'", ""),
        ("./plain.py", "permission denied", "run `chmod +x ./plain.py`, and give it a first line such as #!"),
        ("./script.py", "permission denied", "run `chmod +x ./script.py`"),
        ("./no_first_line.py", "exec format error", "a script needs a first line such as #!/usr/bin/env python3"),
        ("./wrong_first_line.py", "there is no program", "the program named in its first line"),
        ("/", "permission denied", "it is a folder"),
    ],
)
def test_a_program_that_cannot_be_run_is_named(laptop: Laptop, program: str, message: str, hint: str) -> None:
    """A program that cannot be started fails its job, and the message says why and what to do."""
    for name, content, mode in (
        ("plain.py", "pass\n", 0o644),
        ("script.py", "#!/usr/bin/env python3\n", 0o644),
        ("no_first_line.py", "pass\n", 0o755),
        ("wrong_first_line.py", "#!/no/such/python\n", 0o755),
    ):
        file = laptop.started_in / name
        file.write_text(content)
        file.chmod(mode)
    laptop.submit(program)
    job = laptop.ended()
    assert (job["state"], job["reason"]) == ("FAILED", "NOT_STARTED")
    found, _, advice = job["message"].partition("; ")
    assert message in found
    assert hint in advice
    assert bool(advice) == bool(hint)


def test_a_script_that_its_interpreter_does_not_find_is_explained(laptop: Laptop) -> None:
    """If a failed job's argument is a file beside the workflow, the message says where a job's relative paths start."""
    (laptop.started_in / "make.py").write_text("print('made')\n")
    laptop.submit(PYTHON, "make.py")
    job = laptop.ended()
    assert job["reason"] == "EXIT_2"
    assert f"`make.py` is in {laptop.started_in}" in job["message"]
    assert "`args: [./make.py]`" in job["message"]
    assert "can't open file" in job["message"]


def test_data_that_a_program_does_not_find_is_explained(laptop: Laptop) -> None:
    """Of a file that is no script, only its full path is advised."""
    (laptop.started_in / "rows.csv").touch()
    laptop.submit("cat", "rows.csv")
    assert "; use the full path; the end of its log:" in laptop.ended()["message"]


def test_a_failure_of_another_kind_gets_no_advice(laptop: Laptop) -> None:
    """No path is explained for a job whose files are where it expects them."""
    laptop.python("import sys; open('there', 'w'); sys.exit(2)", "there", "x" * 5000)
    assert laptop.ended()["message"] == "exit code 2"


def test_what_a_killed_python_program_printed_is_in_its_log(laptop: Laptop) -> None:
    """Python writes each line at once, so that a job that is stopped keeps its log."""
    laptop.submit(PYTHON, "-c", "import time; print('step 1 of 2'); open('up', 'w').write('up'); time.sleep(600)")
    laptop.started("up")
    laptop.stop_job()
    assert laptop.ended()["state"] == "CANCELLED"
    assert (laptop.files() / "job.log").read_text() == "step 1 of 2\n"


def test_more_jobs_than_slots_wait_in_their_order(laptop: Laptop) -> None:
    """With two slots, the third job is QUEUED until one of the first two has ended."""
    code = "import time, pathlib\nwhile not pathlib.Path('../../go').exists(): time.sleep(0.01)"
    for step in ("a", "b", "c", "d"):
        laptop.python(code, step=step)
    assert [laptop.status(step)["state"] for step in "abcd"] == ["RUNNING", "RUNNING", "QUEUED", "QUEUED"]
    assert laptop.status("c")["message"] == "waiting for a free processor, as at most 2 jobs run at a time"
    (laptop.folder / "run-1" / "go").touch()
    assert [laptop.ended(step)["state"] for step in "abcd"] == ["SUCCEEDED"] * 4


def test_a_key_is_one_job(laptop: Laptop) -> None:
    """A submission with a known key starts nothing and answers that key's job, running or ended."""
    code = "open('../starts', 'a').write('x')"
    first = laptop.python(code)
    again = laptop.python(code)
    assert first["jobId"] == again["jobId"]
    laptop.ended()
    assert laptop.python(code)["state"] == "SUCCEEDED"
    assert (laptop.files().parent / "starts").read_text() == "x"


def test_a_key_is_one_job_across_restarts(tmp_path: Path) -> None:
    """A server that was restarted knows the jobs of the one before, with their outputs."""
    first = Laptop(tmp_path)
    first.python(IN_USE.format(value='{"rows": 3}'))
    ended = first.ended()
    assert first.stop() == 0
    second = Laptop(tmp_path)
    try:
        again = second.python("raise SystemExit(1)")
        assert {**again, "logsUrl": ""} == {**ended, "logsUrl": ""}
        assert requests.get(again["logsUrl"], timeout=WITHIN_S).status_code == 200
    finally:
        second.kill()


def test_two_servers_share_a_folder(tmp_path: Path, laptop: Laptop) -> None:
    """A second server leaves the jobs of the first one alone, and reports them as they are."""
    laptop.python(WAIT)
    laptop.started("up")
    (laptop.started_in / "ready.json").rename(tmp_path / "first.json")
    second = Laptop(tmp_path)
    try:
        assert second.status()["state"] == "QUEUED"
        assert second.python(WAIT)["state"] == "QUEUED"
        assert laptop.status()["state"] == "RUNNING"
    finally:
        second.kill()


def test_a_log_is_served_to_whoever_has_its_address(laptop: Laptop) -> None:
    """A browser reads a log without a token, as plain text that it does not interpret."""
    job = laptop.python("print('<script>alert(1)</script>')")
    laptop.ended()
    answer = requests.get(job["logsUrl"], timeout=WITHIN_S)
    assert answer.text == "<script>alert(1)</script>\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert requests.get(f"{job['logsUrl'][:-1]}x", timeout=WITHIN_S).status_code == 404


def test_an_address_of_a_log_outlives_its_server(tmp_path: Path) -> None:
    """A server that was restarted serves the logs of the one before at their addresses, and only there."""
    first = Laptop(tmp_path)
    first.python(
        "print('so far', flush=True); import pathlib, time; pathlib.Path('up').write_text('up'); time.sleep(600)"
    )
    first.started("up")
    path = first.status()["logsUrl"].removeprefix(first.url)
    first.kill()
    second = Laptop(tmp_path)
    try:
        assert requests.get(f"{second.url}{path}", timeout=WITHIN_S).text == "so far\n"
        key, _, log_id = path.rpartition("/")
        others = (
            f"{key}/",
            f"{key}/{log_id[:-1]}",
            f"/logs/{log_id}",
            f"/logs/run-1/other/1/{log_id}",
            f"{key}/%ff%ed",
        )
        for other in (*others, f"/logs/../../../{log_id}"):
            assert requests.get(f"{second.url}{other}", timeout=WITHIN_S).status_code == 404, other
    finally:
        second.kill()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {SECRET}"}, 401),
        ({"Authorization": "Bearer \xff"}, 401),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_no_one_else_runs_programs(laptop: Laptop, headers: dict[str, str], status: int) -> None:
    """Each call of the contract needs the secret, and none may come from a web page or through another name."""
    for call in (("POST", "/job"), ("GET", "/jobstatus"), ("DELETE", "/job")):
        assert laptop.call(*call, headers=headers).status_code == status, call
    assert not (laptop.folder / "run-1").exists()


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_a_log_is_not_for_web_pages(laptop: Laptop, headers: dict[str, str]) -> None:
    """A web page reads no log, even if it knows the address."""
    url = laptop.python("print('private')")["logsUrl"]
    answer = requests.get(url, headers=headers, timeout=WITHIN_S)
    assert (answer.status_code, "private" in answer.text) == (403, False)


def test_a_step_with_another_engine_is_refused(laptop: Laptop) -> None:
    """A task without `engine: process`, or without a program, is refused with what to do."""
    body = {"job_name": "step", "imageUri": "alpine", "labels": {"workflow": "daily"}}
    headers = {"Idempotency-Key": "run-1/step/1"}
    answer = laptop.call("POST", "/job", json=body, headers=headers)
    assert answer.status_code == 400
    assert "--runner docker" in answer.json()["message"]
    assert laptop.post().status_code == 400
    assert laptop.call("POST", "/job", json=body).status_code == 400


def test_a_server_can_be_limited_to_one_run(tmp_path: Path) -> None:
    """With --only-run, jobs of other runs are refused, so that no uploaded file runs programs."""
    laptop = Laptop(tmp_path, "--only-run=run-2")
    try:
        answer = laptop.post("true")
        assert answer.status_code == 400
        assert "local up" in answer.json()["message"]
    finally:
        laptop.kill()


@pytest.mark.parametrize("job_id", ["", "nonsense", "run-1/step/2", "a/../b", "../../../1", "\x00/a/1"])
def test_an_unknown_job_is_reported_as_such(laptop: Laptop, job_id: str) -> None:
    """Whatever is asked for that is no job's id is an unknown job, to be stopped or shown."""
    assert laptop.call("GET", "/jobstatus", params={"job_id": job_id}).status_code == 404
    assert laptop.call("DELETE", "/job", params={"job_id": job_id}).status_code == 404


def test_odd_names_stay_within_the_folder(laptop: Laptop) -> None:
    """A run or step whose name is no folder's name gets a folder beside the others."""
    body = {"engine": "process", "args": ["true"]}
    for key in ("../../x/..//1", "./" + "é" * 300 + "/1"):
        headers = {"Idempotency-Key": key.encode().decode("latin-1")}
        assert laptop.call("POST", "/job", json=body, headers=headers).status_code in {200, 400}
    made = {path.relative_to(laptop.started_in).parts[0] for path in laptop.started_in.rglob("*")}
    assert made == {"jobs", "secret", "ready.json"}


def test_a_job_whose_record_cannot_be_written_is_not_started(laptop: Laptop) -> None:
    """If its folder cannot be made, nothing is started, and the same submission may come again."""
    laptop.folder.joinpath("run-1").write_text("in the way")
    answer = laptop.post("true")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert laptop.call("GET", "/jobstatus?job_id=run-1/step/1").status_code == 503
    laptop.folder.joinpath("run-1").unlink()
    laptop.submit("true")
    assert laptop.ended()["state"] == "SUCCEEDED"


def test_a_damaged_record_starts_nothing(laptop: Laptop) -> None:
    """A job whose record was damaged is refused rather than run twice."""
    laptop.files().mkdir(parents=True)
    (laptop.files() / ".job.json").write_text("{}")
    answer = laptop.post("true")
    assert answer.status_code == 400
    assert "remove that folder" in answer.json()["message"]
