"""Prepare a project's history for a platform, while nothing of an earlier platform is still running.

An earlier platform may have been killed. What it was doing is in the documents, and its successor would go on with it,
but only once the leases of processes that no longer exist have run out, which takes minutes. So they end here. Jobs may
have ended, or died with their Task Runner, while no one could be notified, so each is to be polled at once.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.history import History
from atom_emulator.firestore.stored_fields import encode_stored
from atom_emulator.firestore.values import Fields, to_micros
from atom_emulator.firestore.writes import Record
from atom_emulator.log_files import make_folder
from atom_emulator.platform.errors import ForeignFile, HistoryUnusable, RunnerMissing
from atom_emulator.pubsub.kept_messages import MESSAGES
from atom_emulator.sqlite_file import SqliteFileError, check, open_file
from atom_workflows.core.graph import END_ID
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import BURST_LEASE_PATH, RUNS

_RUNNER: Final = "task runner "
"""The name of a note about a platform's own Task Runner is this prefix and its URL. The value is its kind."""

_SCRIPT: Final = "mock script "
"""The name of a note about a mock Task Runner is this prefix and its URL. The value is its script's path, or ""."""

_MESSAGES: Final = "inode of messages"

_OPEN: Final = frozenset(state for state in RunState if not state.is_terminal)

_DIRECTLY_IN_A_COLLECTION: Final = "database = ? AND instr(substr(path, instr(path, '/') + 1), '/') = 0"
_WAITING: Final = (
    "database = ? AND path GLOB 'runs/*/steps/*' "
    f"""AND (instr(fields, '"state":"{StepState.DISPATCHING}"') > 0 OR """
    f"""instr(fields, '"state":"{StepState.RUNNING}"') > 0 OR path GLOB '*/steps/{END_ID}' OR updated > ?)"""
)
_NAMES_A_RUNNER: Final = (
    "SELECT path, fields FROM documents WHERE database = ? AND instr(fields, '\"http://127.0.0.1:') > 0"
)
_REPLACE: Final = "UPDATE documents SET fields = ? WHERE database = ? AND path = ?"
_CHANGE: Final = "UPDATE documents SET fields = ?, updated = ? WHERE database = ? AND path = ?"
_DELETE: Final = "DELETE FROM documents WHERE database = ? AND (path = ? OR (path > ? AND path < ?))"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRunner:
    """What runs a platform's jobs. `kind` is mock, process, docker or other, which is not its own and has no `url`.

    `script` is the path of a mock's script, as the user named it.
    """

    kind: str
    url: str = ""
    script: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The ids of the runs that a platform goes on with, and of those that were deleted since they had expired.

    `script` is the mock's script that the open runs began with, if the platform's own mock has none.
    """

    open_runs: Sequence[str]
    expired_runs: Sequence[str]
    script: str = ""


def last_port(file: Path) -> int:
    """Return the port of the Task Runner that the history was last used with, or 0.

    Raises `HistoryUnusable`.
    """
    with _opened(file) as history:
        return int(history.note("port") or 0)


def join_history(file: Path, runner: OwnRunner) -> None:
    """Note the Task Runner of a platform that only adds its own run. Raises `HistoryUnusable`."""
    with _opened(file) as history:
        _note_runner(history, runner)


def recover(
    file: Path, database: str, runner: OwnRunner, *, may_use: Callable[[str], bool] = lambda _: True
) -> Recovered:
    """Let a platform go on with the open runs of a history.

    Ends the leases of processes that no longer exist, makes every job due for a poll and every open run for an audit,
    gives the jobs of earlier Task Runners of this kind to the new one, and deletes what has expired. `may_use` says if
    the platform may use a Task Runner that is not its own.

    Raises `HistoryUnusable`, `ForeignFile`, and `RunnerMissing` if an open run needs a Task Runner of another kind, or
    one that the platform may not use. Nothing is changed then.
    """
    now = datetime.now(UTC)
    with _opened(file) as history:
        history.check()
        if not history.is_own:
            raise ForeignFile(file)
        tops = {record.path: record.fields for record in history.select(_DIRECTLY_IN_A_COLLECTION, database)}
        expired = [path for path, fields in tops.items() if _is_expired(fields, now)]
        still_open = {
            path: fields
            for path, fields in tops.items()
            if path.startswith(f"{RUNS}/") and fields.get("state") in _OPEN and path not in expired
        }
        kinds = history.notes(_RUNNER)
        scripts = history.notes(_SCRIPT)
        _require_runner(still_open, kinds, scripts, runner, may_use)
        waiting = [
            # If the clock was set back, what was written in the future would wait until then.
            *history.select(_WAITING, database, to_micros(now)),
            *history.select("database = ? AND path = ?", database, BURST_LEASE_PATH),
        ]

        def write(connection: Any) -> None:
            connection.executemany(_CHANGE, _ended_waits(waiting, database, now))
            if runner.url:
                _move_jobs(
                    connection, database, {url for url, kind in kinds.items() if kind == runner.kind}, runner.url
                )
            connection.executemany(_DELETE, [(database, path, f"{path}/", f"{path}0") for path in expired])

        history.write(write)
        began_with = [scripts.get(fields.get("task_runner_url", ""), "") for fields in still_open.values()]
        script = "" if runner.kind != "mock" or runner.script else next(filter(None, began_with), "")
        _note_runner(history, replace(runner, script=runner.script or script))
    return Recovered(
        open_runs=[*map(_id_of, still_open)],
        expired_runs=[_id_of(path) for path in expired if path.startswith(f"{RUNS}/")],
        script=script,
    )


def prepare_messages(file: Path, history: Path) -> None:
    """Create the messages file if there is none, or check that it is whole and belongs to this history.

    Raises `HistoryUnusable` or `ForeignFile`.
    """
    with _opened(history) as opened:
        known = opened.note(_MESSAGES)
        if file.exists() and str(file.stat().st_ino) != known:
            raise ForeignFile(file)
        with closing(open_file(file, MESSAGES)) as messages:
            check(messages, file, MESSAGES)
        opened.set_notes({_MESSAGES: str(file.stat().st_ino)})


def remove_files(expired_runs: Iterable[str], *, jobs: Path, logs: Path, keep: timedelta) -> None:
    """Remove the jobs of runs that have expired, and the logs of platforms that are older than any run that is kept."""
    for run_id in set(expired_runs) - {"", ".", ".."}:  # No platform wrote such ids, but someone else may have.
        shutil.rmtree(jobs / run_id, ignore_errors=True)
    oldest = time.time() - keep.total_seconds()
    for folder in logs.iterdir() if logs.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir():
            continue
        if max(file.lstat().st_mtime for file in (folder, *folder.iterdir())) < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def gather_mock_jobs(folder: Path, journal: Path, open_runs: Collection[str]) -> None:
    """Collect the jobs of open runs in one journal, and forget all others.

    Dying in between loses no job, since journals are only removed once the new one is complete.
    """
    make_folder(folder)
    kept: dict[str, None] = {}
    ids = set()
    for file in (found := sorted(folder.glob("*.jsonl"))):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                job = json.loads(line)
                run_id, job_id = str(job.get("idempotency_key") or "").partition("/")[0], str(job["id"])
            except (ValueError, LookupError, AttributeError):
                continue  # It was cut short, so its submission was never answered.
            if run_id in open_runs or (not run_id and job_id in ids):
                ids.add(job_id)
                kept[line] = None
    partial = journal.with_suffix(".partial")
    partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    partial.replace(journal)
    for file in found:
        if file != journal:
            file.unlink(missing_ok=True)


@contextmanager
def _opened(file: Path) -> Iterator[History]:
    try:
        history = History(file)
        try:
            yield history
        finally:
            history.close()
    except (SqliteFileError, Unavailable) as error:
        raise HistoryUnusable(str(error)) from error


def _id_of(path: str) -> str:
    return path.rpartition("/")[2]


def _is_expired(fields: Fields, now: datetime) -> bool:
    expire_at = fields.get("expire_at")
    return isinstance(expire_at, datetime) and expire_at < now


def _require_runner(
    still_open: Mapping[str, Fields],
    kinds: Mapping[str, str],
    scripts: Mapping[str, str],
    runner: OwnRunner,
    may_use: Callable[[str], bool],
) -> None:
    def option_for(url: str) -> str:
        kind = kinds.get(url)
        if kind is not None:
            script = scripts.get(url)
            return (
                ""
                if kind == runner.kind
                else f"--runner {kind}{f' --mock-script {shlex.quote(script)}' if script else ''}"
            )
        return "" if not url or may_use(url) else f"--tr-url {shlex.quote(url)}"

    needed = {path: option_for(fields.get("task_runner_url", "")) for path, fields in still_open.items()}
    for option in filter(None, needed.values()):
        raise RunnerMissing([_id_of(path) for path, other in needed.items() if other == option], option)


def _ended_waits(waiting: Iterable[Record], database: str, now: datetime) -> Iterator[tuple[str, int, str, str]]:
    """Yield the documents that are due now instead of later: leases, polls and audits share one field."""
    for record in waiting:
        name = "until" if record.path == BURST_LEASE_PATH else "due_at"
        fields = record.fields
        until = fields.get(name)
        if isinstance(until, datetime) and until > now:
            updated = max(to_micros(now), record.updated + 1)
            yield encode_stored({**fields, name: now}), updated, database, record.path


def _move_jobs(connection: Any, database: str, urls: Collection[str], to: str) -> None:
    """Replace the addresses of earlier Task Runners with that of the one that has the jobs now."""
    earlier = sorted(set(urls) - {to})
    if not earlier:
        return
    # Within a text, a quotation mark is preceded by a backslash: such addresses are someone else's words.
    address = re.compile(rf'(?<!\\)"(?:{"|".join(map(re.escape, earlier))})(?=["/])')
    moved = [
        (text, database, path)
        for path, fields in connection.execute(_NAMES_A_RUNNER, [database])
        if (text := address.sub(f'"{to}', fields)) != fields
    ]
    connection.executemany(_REPLACE, moved)
    connection.executemany(
        "DELETE FROM notes WHERE name = ?", [(f"{of}{url}",) for of in (_RUNNER, _SCRIPT) for url in earlier]
    )


def _note_runner(history: History, runner: OwnRunner) -> None:
    if runner.url:
        notes = {f"{_RUNNER}{runner.url}": runner.kind, f"{_SCRIPT}{runner.url}": runner.script}
        history.set_notes({**notes, "port": runner.url.rpartition(":")[2]})
