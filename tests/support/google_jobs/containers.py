"""What the fakes' jobs do: a plan of each, and the time that all fakes share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(slots=True)
class Time:
    """A time that moves when the test says so."""

    current: datetime = START

    def now(self) -> datetime:
        """Return the current time."""
        return self.current

    def pass_by(self, **units: float) -> None:
        """Move the time on."""
        self.current += timedelta(**units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A job's container as it was asked for."""

    image: str
    args: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of a job: how long each state lasts, in seconds, and how it ends.

    `outputs` is what the container writes into its outputs file, if anything. `invisible_s` is for how long the API
    answers that it does not know the job.
    """

    waits_s: float = 1.0
    prepares_s: float = 1.0
    runs_s: float = 10.0
    cancels_s: float = 5.0
    invisible_s: float = 0.0
    exit_code: int = 0
    outputs: bytes | None = None

    # The message of a container that Cloud Run ended, and the signal.
    message: str = ""
    signal: int = 0

    # The image cannot be pulled, so no container starts.
    is_image_missing: bool = False


Decide: TypeAlias = Callable[[Container], Plan]


def succeed(_container: Container) -> Plan:
    """Let every job succeed."""
    return Plan()


def as_its_args_say(container: Container) -> Plan:
    """Read a plan from arguments such as `--exit_code=2`, `--runs_s=0.1` and `--outputs={...}`."""
    given = dict(one.removeprefix("--").partition("=")[::2] for one in container.args if one.startswith("--"))
    plan = Plan(waits_s=0, prepares_s=0, runs_s=float(given.get("runs_s", 0.1)), cancels_s=0.1)
    outputs = given.get("outputs", "").encode() or None
    return replace(plan, exit_code=int(given.get("exit_code", 0)), outputs=outputs)


@dataclass(slots=True)
class Bucket:
    """A bucket: object name to content and time of creation."""

    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)

    def write_by_job(self, environment: Mapping[str, str], mount: str, content: bytes, at: datetime) -> None:
        """Write the outputs file through the mounted bucket."""
        path = environment["ATOM_OUTPUTS"]
        assert path.startswith(f"{mount}/"), path
        self.objects[path.removeprefix(f"{mount}/")] = (content, at)


class Refusal(Exception):
    """An error that an API answers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def body(self) -> bytes:
        """The error as Google's APIs write it."""
        return json.dumps({"error": {"code": self.status, "message": str(self), "status": self.code}}).encode()


def stamp(time: datetime) -> str:
    """Return a time as Google's APIs write it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Json: TypeAlias = dict[str, Any]
