"""Outcomes in events: how they are written, and read within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.bounded_json import read_json
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES, read_outputs
from atom_workflows.errors import MalformedEvent
from atom_workflows.messages.fields import read_attempt, read_optional_text, read_step_id, read_time, show

_TEXTS_OF_AN_END: Final = ("outputs", "outputs_problem", "reason", "logs_url")
"""Fields of an outcome that are written only if they are not empty. Older versions ignore them."""


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a JSON object for an event."""
    return {
        "step": outcome.step_id,
        "attempt": outcome.attempt,
        "kind": outcome.kind.value,
        "message": outcome.message,
        "job_id": outcome.job_id,
        "job_state": outcome.job_state,
        **({"missing_since": outcome.missing_since.isoformat()} if outcome.missing_since else {}),
        **{name: value for name in _TEXTS_OF_AN_END if (value := getattr(outcome, name))},
        **({"may_run": True} if outcome.may_run else {}),
    }


def read_outcome(body: Mapping[str, Any]) -> Outcome:
    """Read an outcome. Raises `MalformedEvent`."""
    try:
        kind = OutcomeKind(str(body.get("kind")))
    except ValueError:
        raise MalformedEvent(f"an outcome's kind cannot be {show(body.get('kind'))}") from None
    number = read_attempt(body)
    if number is None:
        raise MalformedEvent("an outcome must have an attempt")
    return Outcome(
        step_id=read_step_id(body, "step"),
        attempt=number,
        kind=kind,
        missing_since=None if body.get("missing_since") is None else read_time(body, "missing_since"),
        outputs=_outputs(body),
        **{name: read_optional_text(body, name) or "" for name in ("message", "job_id", "job_state")},
        **{name: read_optional_text(body, name) or "" for name in ("outputs_problem", "reason", "logs_url")},
        may_run=body.get("may_run") is True,
    )


def _outputs(body: Mapping[str, Any]) -> str:
    """Return an outcome's outputs as text, checked against the limits."""
    text = read_optional_text(body, "outputs", longest=MAX_OUTPUTS_BYTES)
    if not text:
        return ""
    try:
        found = read_outputs(read_json(text, most_values=MAX_OUTPUTS_BYTES))
    except ValueError as error:
        raise MalformedEvent(f"an outcome's outputs are not JSON: {error}") from None
    if not found.text:
        raise MalformedEvent(f"an outcome's outputs cannot be used: {found.problem or 'they are null'}")
    return found.text
