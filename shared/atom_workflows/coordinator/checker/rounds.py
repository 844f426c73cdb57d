"""Check all due steps in rounds if a burst cannot remember them.

A round goes through the due steps page by page, in the order of the due query. Each page is published as an event, so
that several instances share the work. The document `control/round` holds the position at which the next page begins. It
outlives bursts, so a round continues for as long as it takes to reach its last steps. If no instance takes a page, the
burst takes it itself, so a round makes progress even with a single instance or if events are lost.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from atom_workflows import log
from atom_workflows.coordinator.checker.due_handler import DueHandler
from atom_workflows.coordinator.checker.due_steps import BEGINNING, InFlight, place_of, read_due
from atom_workflows.coordinator.commits import save_document
from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.coordinator.services import Services
from atom_workflows.documents import ROUND_PATH
from atom_workflows.errors import BusUnavailable
from atom_workflows.messages.internal import SweepPage, page_message
from atom_workflows.ports import Document

PAGE_TIME: Final = timedelta(seconds=10)
"""The time allowed for polling a page.

If a Task Runner is slow, its jobs that are not polled in time wait for another round. If the event for a page does
not reach an instance within the same time, the burst takes the page itself.
"""


class Round(NamedTuple):
    """A round as it was read.

    `page` is the next page, which has been waiting since `since`, or None if the round is over.
    """

    page: SweepPage | None
    since: datetime
    document: Document | None


def load_round(services: Services) -> Round:
    """Return the latest round, which may be over."""
    document = services.store.get([ROUND_PATH])[0]
    match {} if document is None else document.fields:
        case {
            "next_due_at": datetime() as due_at,
            "next_path": str(path),
            "until": datetime() as until,
            "at": datetime() as at,
        }:
            return Round(page=SweepPage(after=(due_at, path), until=until), since=at, document=document)
    # A document that another program has modified must not stop the checker, so the round counts as over.
    return Round(page=None, since=BEGINNING, document=document)


def begin_round(services: Services, last: Round, *, due_after: datetime = BEGINNING) -> None:
    """Begin a round over the steps that are due after `due_after`."""
    _hand_on(services, last, SweepPage(after=place_of(due_after), until=services.clock.now()))


def take_page(services: Services, current: Round) -> list[StoredStep]:
    """Take a round's next page and return its steps.

    The result is empty if another instance has already taken the page.
    """
    if current.page is None:
        return []
    due, last = read_due(services, until=current.page.until, after=current.page.after)
    following = None if last is None else SweepPage(after=last, until=current.page.until)
    return due if _hand_on(services, current, following) else []


def handle_page(services: Services, page: SweepPage) -> None:
    """Handle the steps on one page, unless it has already been taken."""
    current = load_round(services)
    if current.page is None or current.page.after != page.after:
        log.debug("sweep.page.stale", "this page of due steps has already been taken")
        return
    due = take_page(services, current)
    handler = DueHandler(services, InFlight())
    handler.begin(due, services.clock.now() + PAGE_TIME)
    handler.take_all_answers()


def _hand_on(services: Services, current: Round, page: SweepPage | None) -> bool:
    """Make the given page the next one to take, and publish it.

    Returns False if another instance was faster.
    """
    # The guarded change of the document is what takes the current page.
    due_at, path = (None, None) if page is None else page.after
    fields = {"next_due_at": due_at, "next_path": path, "at": services.clock.now()}
    if page is not None:
        fields["until"] = page.until
    if save_document(services, ROUND_PATH, current.document, fields) is None:
        return False
    if page is not None:
        try:
            services.bus.publish([page_message(page)])
        except BusUnavailable as error:
            # A burst will take this page later. Raising an error here would also skip the previous page, which this
            # instance has taken.
            log.warning("sweep.page.unpublished", f"the next page of due steps could not be published: {error}")
    return True
