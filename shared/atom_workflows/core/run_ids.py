"""Derive run ids: the same trigger always gives the same id.

So a repeated start does not start a second run.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

MAX_SLUG_LENGTH: Final = 40
DIGEST_LENGTH: Final = 12
MAX_LABEL_LENGTH: Final = 63

_LABEL: Final = re.compile(rf"[a-z0-9_-]{{1,{MAX_LABEL_LENGTH}}}")
"""Google Cloud's rule for the values of labels, limited to ASCII because not every service accepts other letters."""


def run_id_for(workflow_path: str, *trigger: str) -> str:
    """Return the id of the run that this trigger starts.

    The id consists of the file's name, reduced to safe characters, and a digest. `trigger` distinguishes the run: it
    consists of the kind of trigger and its identity (object generation, message id, or the user's own key).
    """
    digest = hashlib.sha256("\0".join((workflow_path, *trigger)).encode()).hexdigest()[:DIGEST_LENGTH]
    # Not derived from the label: a trigger's run id must never change, or the trigger could start a second run.
    slug = re.sub(r"[^a-z0-9]+", "-", _file_name(workflow_path)).strip("-")
    slug = slug[:MAX_SLUG_LENGTH].rstrip("-") or "run"
    return f"{slug}-{digest}"


def workflow_label(workflow_path: str) -> str:
    """Return the `workflow` label for the jobs of a workflow file.

    It is the file's name in lower case without its extension, as in the first version. Characters that Google Cloud
    does not allow in labels are replaced, so that the Task Runner can set the label: letters lose their accents, any
    other disallowed characters become `-`, and at most 63 characters are kept.
    """
    name = _file_name(workflow_path)
    return name if _LABEL.fullmatch(name) else plain_word(name)[:MAX_LABEL_LENGTH] or "workflow"


def plain_word(text: str) -> str:
    """Reduce text to lower-case ASCII letters, digits, `_` and single `-`.

    The result is empty if nothing remains.
    """
    letters = (c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9_]+", "-", "".join(letters)).strip("-")


def _file_name(workflow_path: str) -> str:
    return re.sub(r"\.(ya?ml|json)$", "", PurePosixPath(workflow_path).name.lower())
