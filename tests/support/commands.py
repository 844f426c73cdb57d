"""The commands about runs, as the user of most tests gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Final

from atom_workflows.coordinator import commands, reopening
from atom_workflows.core.user_changes import UserChange

ACTOR: Final = "ana@example.com"

cancel_run = partial(commands.cancel_run, actor=ACTOR)
retry_run = partial(commands.retry_run, actor=ACTOR)
reopen_run = partial(
    reopening.reopen_run, change=UserChange(at=datetime(2026, 1, 1, tzinfo=UTC), actor=ACTOR, what="retry")
)
