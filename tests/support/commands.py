"""The commands about runs, as the user of most tests gives them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from atom_workflows.coordinator import commands, reopening
from atom_workflows.coordinator.marks import Wish
from atom_workflows.coordinator.services import Services
from atom_workflows.core.marks import STATES, Effect
from atom_workflows.core.user_changes import UserChange

ACTOR: Final = "ana@example.com"

cancel_run = partial(commands.cancel_run, actor=ACTOR)
retry_run = partial(commands.retry_run, actor=ACTOR)


def mark_step(  # noqa: PLR0913 (each may be left out)
    services: Services,
    run_id: str,
    step: str,
    state: str = "succeeded",
    *,
    reason: str = "",
    outputs: Mapping[str, Any] = MappingProxyType({}),
) -> Effect:
    """Mark a step as `succeeded` or `skipped`, with these outputs."""
    wish = Wish(step=step, state=STATES[state], outputs=outputs)
    return commands.mark_step(services, run_id, wish, actor=ACTOR, reason=reason)


reopen_run = partial(
    reopening.reopen_run, change=UserChange(at=datetime(2026, 1, 1, tzinfo=UTC), actor=ACTOR, what="retry")
)
