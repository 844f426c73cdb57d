"""Split a command written as one shell string into arguments."""

from __future__ import annotations

import json
import re
import shlex
from typing import Final

LONGEST: Final = 200
"""The maximum length of a command quoted in a message."""

_FOR_A_SHELL: Final = re.compile(r"[|&;<>`$*~]")
_PLAIN: Final = re.compile(r"[A-Za-z./_-][\w./=-]+", re.ASCII)
_NO_TEXT: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", ".inf", ".nan", "---", "..."})
"""Words that YAML does not read as text unless they are quoted."""


def list_words(command: str) -> str:
    """Return the command as a list of arguments.

    A command that needs a shell is passed to one. Returns "" for a command of one word, and for one that is too long or
    has an unclosed quote.
    """
    if len(command) > LONGEST or not command.isprintable():
        return ""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if len(words) < 2:  # noqa: PLR2004 (there is nothing to split)
        return ""
    if _FOR_A_SHELL.search(command):
        words = ["sh", "-c", command]
    quoted = (
        word if _PLAIN.fullmatch(word) and word.lower() not in _NO_TEXT else json.dumps(word, ensure_ascii=False)
        for word in words
    )
    return f"[{', '.join(quoted)}]"
