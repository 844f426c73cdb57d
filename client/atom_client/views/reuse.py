"""What a new run would keep of an ended one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from atom_client.text import clip, counted, one_line
from atom_workflows.core.reuse import What
from atom_workflows.core.run_values import run_values

if TYPE_CHECKING:
    from atom_workflows.coordinator.reuse import ReusePlan

_LONGEST_VALUE: Final = 60


def reuse_lines(plan: ReusePlan) -> Iterator[str]:
    """Yield sentences that sum up the choices."""
    keep, run, remove = (plan.judgment.of(what) for what in What)
    for name, before, after in _changes(plan):
        yield f"{name}: {_show(before)} is now {_show(after)}"
    are = "is" if len(remove) == 1 else "are"
    left = f"; {len(remove):,} of its steps {are} no longer in the file" if remove else ""
    yield (
        f"Run {plan.earlier.id} stays as it is. A new run keeps {counted(len(keep), 'step')} of it and runs "
        f"{counted(len(run), 'step')}{left}."
    )


def reuse_warnings(plan: ReusePlan) -> Iterator[str]:
    """Yield a warning if the new run would keep nothing."""
    if not plan.reuse.kept:
        what = "the new run starts from scratch, like a run started with `atom-workflows start`"
        yield f"no step of run {plan.earlier.id} is kept: {what}"


def requested_line(plan: ReusePlan) -> str:
    """Return a sentence about the new run once it has been requested."""
    return f"Requested run {plan.run.id}, which keeps {counted(len(plan.reuse.kept), 'step')} of run {plan.earlier.id}."


def reuse_object(plan: ReusePlan) -> dict[str, Any]:
    """Return the plan as an object for JSON output."""
    keep, run, remove = (plan.judgment.of(what) for what in What)
    return {
        "repairs": plan.earlier.id,
        "kept_digest": plan.judgment.digest,
        "kept": len(keep),
        "again": len(run),
        "removed": len(remove),
        "changed": [{"name": name, "before": before, "after": after} for name, before, after in _changes(plan)],
        "steps": [
            {"id": choice.step_id, "what": choice.what.value, "why": choice.why} for choice in plan.judgment.choices
        ],
    }


def _changes(plan: ReusePlan) -> Iterator[tuple[str, Any, Any]]:
    """Yield each changed name with its values in the two runs.

    The value is None for a run that does not have that name.
    """
    before, after = ({"params": run.params, "env": run.env, "run": run_values(run)} for run in (plan.earlier, plan.run))
    for root, name in sorted(plan.judgment.changed):
        yield f"{root}.{name}", before[root].get(name), after[root].get(name)


def _show(value: Any) -> str:
    return clip(one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)), _LONGEST_VALUE)
