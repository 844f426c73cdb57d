"""Find the run that a user means.

The user may give its id or the beginning of its id, its workflow's name or file, or ask for the newest run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final, NoReturn

from atom_client.deployment import with_place
from atom_client.errors import Failure, Misuse
from atom_client.text import listing, name_of
from atom_client.views.queries import PAGE, read_pages, read_run
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import DIGEST_LENGTH, run_id_for
from atom_workflows.documents import RUNS, run_path
from atom_workflows.errors import RunNotFound
from atom_workflows.language.suggestions import Names, Suggestions
from atom_workflows.ports import Condition, Document, Query, Store

LAST: Final = "--last"
"""Stands for the newest run. No id or file that `start` accepts looks like an option."""

MOST_OF_WORKFLOW: Final = 10_000
"""The maximum number of a workflow's runs that are compared to find the newest one."""

_NEWEST: Final = 200
_MOST_CANDIDATES: Final = 10
_FIELDS: Final = ("created_at", "workflow", "source")
_BUCKET: Final = "gs://"
_FILE_ENDINGS: Final = (".yaml", ".yml", ".json")
LONGEST_NAME: Final = 300
"""Firestore rejects comparisons with much longer strings."""

_MOST_JUMPS: Final = 30
_BEGUN_DIGEST: Final = re.compile(rf"[a-z0-9][a-z0-9-]*-([0-9a-f]{{1,{DIGEST_LENGTH}}})")
_RUN_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")

Matches = Callable[[Document], bool]


def require_run(store: Store, text: str) -> RunRecord:
    """Return the run that a user means.

    Raises the same errors as `full_run_id`.
    """
    if is_beginning_of_id(text) and (run := read_run(store, text)) is not None:
        return run
    run_id = _id_meant(store, text)
    run = read_run(store, run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def require_run_to_change(store: Store, text: str) -> RunRecord:
    """Return the run that a user wants to change.

    Raises the same errors as `full_run_id`, and `Failure` if the run may be that of a file in another folder.
    """
    run = require_run(store, text)
    names_folder = PurePosixPath(text).name != str(PurePosixPath(text)) and not text.startswith(_BUCKET)
    if is_file(text) and names_folder and text not in {run.workflow, run.source.get("path")}:
        file = name_of(PurePosixPath(text).name)
        raise Failure(
            f"the newest run of a file named {file} is {run.id}, but the folder of its file is not known, so it may "
            f"not be a run of {name_of(text)}; to change this run, give its id, {run.id}"
        )
    return run


def full_run_id(store: Store, text: str) -> str:
    """Return the id of the run that a user means.

    The text is a run's id, its beginning, the name or the file of a workflow (for its newest run), or `LAST`.

    Raises `Misuse` if the string is empty. Raises `Failure` if it could refer to several runs, if there is no run yet,
    or if no run matches but a similar id exists, and `RunNotFound` if there is no similar id either.
    """
    if is_beginning_of_id(text) and read_run(store, text) is not None:
        return text
    return _id_meant(store, text)


def _id_meant(store: Store, text: str) -> str:
    """Return the id of the run that a text refers to.

    The text is not a full id; see `full_run_id`.
    """
    if not text.strip():
        raise Misuse(
            f"the run's id is empty; `{with_place('runs list')}` lists the ids, and their first characters are enough"
        )
    if text == LAST:
        return _newest_of_all(store)
    if is_file(text):
        # A workflow's name may look like a file, too.
        return _newest_of_file(store, text) or _newest_of_workflow(store, text) or _never_run(text)
    newest = _newest_of_workflow(store, text)
    if newest is not None:
        return _unless_ambiguous(store, text, newest)
    candidates = _that_begin_with(store, text) if is_beginning_of_id(text) else []
    if not candidates:
        raise _not_found(store, text)
    ids = [document.id for document in candidates]
    if len(ids) > 1:
        more = " and others" if len(ids) > _MOST_CANDIDATES else ""
        names = listing(ids[:_MOST_CANDIDATES], most=_MOST_CANDIDATES)
        raise Failure(f"{text} could refer to any of {names}{more}; give more characters of the id")
    return ids[0]


def is_beginning_of_id(text: str) -> bool:
    """Return True if a run's id may begin with the string."""
    return _RUN_ID.fullmatch(text) is not None


def is_file(text: str) -> bool:
    """Return True if the string looks like a workflow file.

    Other strings refer to runs or to workflows' names.
    """
    return "/" in text or text.endswith(_FILE_ENDINGS)


def started_from(path: str, file: str) -> bool:
    """Return True if runs from `path` may be from the named file.

    A start message names a file on the user's machine without its folders, but names an object with its bucket.
    """
    if path.startswith(_BUCKET) or file.startswith(_BUCKET):
        return path == file
    name = PurePosixPath(file).name
    return name != "" and PurePosixPath(path).name == name


def runs_to_offer(store: Store, text: str, *, most: int) -> list[Document]:
    """Return runs whose ids begin with the text, newest first.

    Their state and workflow are included. If more than `most` runs match, the newest are returned if the text is
    empty; otherwise, the newest may be missing. A run whose id is exactly the text is left out.
    """
    fields = ("state", "workflow", "created_at")
    if not text:
        newest = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=most, fields=fields)
        return list(store.query(newest))
    # Runs are sorted by path, so the ids that begin with the text directly follow it.
    query = Query(collection=RUNS, after=[run_path(text)], limit=most, fields=fields)
    begun = [document for document in store.query(query) if document.id.startswith(text)]
    return sorted(begun, key=lambda document: document.fields["created_at"], reverse=True)


def _newest_of_all(store: Store) -> str:
    newest = store.query(
        Query(collection=RUNS, order_by=[("created_at", "descending")], limit=1, fields=("created_at",))
    )
    if not newest:
        raise Failure(f"there are no runs yet; `{with_place('start FILE')}` starts one")
    return newest[0].id


def _that_begin_with(store: Store, text: str) -> list[Document]:
    """Return the first few runs whose ids begin with the text."""
    # Runs are sorted by path, so the ids that begin with the text directly follow it.
    query = Query(collection=RUNS, after=[run_path(text)], limit=_MOST_CANDIDATES + 1, fields=_FIELDS)
    return [document for document in store.query(query) if document.id.startswith(text)]


def _unless_ambiguous(store: Store, name: str, newest: str) -> str:
    """Return the newest run of the named workflow.

    Raises `Failure` if the id of another workflow's run also begins with the name, and the name includes at least the
    first character of that id's digest.
    """
    meant = [one.id for one in _whose_digest_begins(store, name) if one.fields.get("workflow") != name]
    if meant:
        raise Failure(
            f"{name} is the name of a workflow, whose newest run is {newest}, and the beginning of {listing(meant)}; "
            "give the whole id of the run"
        )
    return newest


def _whose_digest_begins(store: Store, text: str) -> Iterator[Document]:
    """Yield the runs whose ids begin with the text.

    The text must include at least the first character of their digests. If many files have runs whose ids begin with
    the text, some runs may not be found: the number of pages is limited.
    """
    begun = _BEGUN_DIGEST.fullmatch(text)
    if begun is None:
        return
    rest = re.compile(f"[0-9a-f]{{0,{DIGEST_LENGTH - len(begun[1])}}}")
    after = text
    for limit in (_MOST_CANDIDATES + 1, *[_NEWEST] * _MOST_JUMPS):
        page = store.query(Query(collection=RUNS, after=[run_path(after)], limit=limit, fields=("workflow",)))
        for document in page:
            if not document.id.startswith(text):
                return
            if rest.fullmatch(document.id, len(text)):
                yield document
        if len(page) < limit:
            return
        last = page[-1].id
        # If this id belongs to another file, no id that shares the first character that differs has to be read. There
        # may be thousands of such runs. No id has a character that is sorted after a tilde.
        end = next(rest.finditer(last, len(text))).end()
        after = last if end == len(last) else f"{last[: end + 1]}~"


def _newest_of_workflow(store: Store, name: str) -> str | None:
    where: list[Condition] = [("workflow", "==", name)]
    if len(name) > LONGEST_NAME or not store.query(Query(collection=RUNS, where=where, limit=1, fields=("workflow",))):
        return None
    every = Query(collection=RUNS, where=where, limit=PAGE, fields=_FIELDS)
    return _newest(store, lambda run: run.fields.get("workflow") == name, read_pages(store, every), name)


def _newest_of_file(store: Store, file: str) -> str | None:
    """Return the newest run that was started from a file."""

    def matches(run: Document) -> bool:
        return started_from(str(run.fields.get("source", {}).get("path", "")), file)

    # The ids of a file's runs begin alike.
    beginning = run_id_for(file)[:-DIGEST_LENGTH]
    after = Query(collection=RUNS, after=[run_path(beginning)], limit=PAGE, fields=_FIELDS)
    return _newest(store, matches, _while_begun(read_pages(store, after), beginning), file)


def _never_run(file: str) -> NoReturn:
    starts = f"`{with_place('start FILE')}` starts one"
    raise Failure(f"there is no run of {name_of(file)} yet; {starts}, and `{with_place('runs list')}` shows others")


def _while_begun(documents: Iterator[Document], beginning: str) -> Iterator[Document]:
    for document in documents:
        if not document.id.startswith(beginning):
            return
        yield document


def _newest(store: Store, matches: Matches, every: Iterator[Document], meant: str) -> str | None:
    """Return the id of the newest matching run, or None.

    The newest runs of any workflow are searched first; if none of them matches, all runs in `every` are searched.
    There is no index by workflow and time: it would have to be updated with every run that is started.
    """
    recent = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=_NEWEST, fields=_FIELDS)
    for document in store.query(recent):
        if matches(document):
            return document.id
    newest: tuple[datetime, str] | None = None
    for looked_at, document in enumerate(every, start=1):
        if looked_at > MOST_OF_WORKFLOW:
            raise Failure(
                f"{name_of(meant)} has more than {MOST_OF_WORKFLOW:,} runs, none of them among the newest "
                f"{_NEWEST} of all; `{with_place('runs list')}` lists the ids"
            )
        if matches(document):
            one = (document.fields["created_at"], document.id)
            newest = one if newest is None else max(newest, one)
    return None if newest is None else newest[1]


def _not_found(store: Store, text: str) -> Exception:
    """Return the error for an unknown id, with a suggestion."""
    query = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=_NEWEST, fields=_FIELDS)
    # The user may have typed only the beginning of an id. If several begin alike, the newest run is suggested.
    found = store.query(query)
    whole = {one.id: one.id for one in found}
    beginnings = {one.id[: len(text)]: one.id for one in reversed(found)}
    workflows = {name: one.id for one in reversed(found) if (name := str(one.fields.get("workflow") or ""))}
    names = {**beginnings, **workflows, **whole}
    meant = Suggestions().nearest(text, Names(names))
    if not meant:
        return RunNotFound(text)
    shows = f"`{with_place('runs list')}` shows the runs"
    return Failure(f"there is no run {name_of(text)}; did you mean {names[meant]}? {shows}")
