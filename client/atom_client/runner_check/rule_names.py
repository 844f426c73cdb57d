"""The names of the rules as printed: required rules first, then optional."""

from __future__ import annotations

from typing import Final

SUBMISSION: Final = "submission"
SAME_KEY: Final = "the same key again"
AT_ONCE: Final = "the same key twice at once"
OTHER_KEY: Final = "another key"
STATUS: Final = "status"
SUCCESS: Final = "a job that succeeds"
STAYS: Final = "an unchanging final state"
KEY_AFTER_END: Final = "the key of an ended job"
UNKNOWN: Final = "an unknown job"
FAILURE: Final = "a job that fails"
NO_START: Final = "a job that cannot start"

OUTPUTS: Final = "outputs"
REASON: Final = "reason"
LOGS: Final = "logsUrl"
NOTIFIES: Final = "notifies"
STOP: Final = "stop"
STOP_AGAIN: Final = "stop again"
STOP_UNKNOWN: Final = "stop an unknown job"
LOOKUP: Final = "look up a key"
TOKEN: Final = "token"  # noqa: S105 (the name of a rule)
TIMES: Final = "response times"

STOPS: Final = (STOP, STOP_AGAIN, STOP_UNKNOWN, LOOKUP)
