"""Run ids: the same trigger always gives the same id, so that starting a run twice starts it once."""

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
"""Google Cloud's rule for a label's value, without the letters of other alphabets, which not every service accepts."""


def run_id_for(workflow_path: str, *trigger: str) -> str:
    """Return the id of the run that this trigger starts.

    It is the file's name, made safe, and a digest. `trigger` identifies the run: its kind and its identity (object
    generation, message id, or the user's own key).
    """
    digest = hashlib.sha256("\0".join((workflow_path, *trigger)).encode()).hexdigest()[:DIGEST_LENGTH]
    # Not made from the label: a run's id must never change, or the same trigger would start a second run.
    slug = re.sub(r"[^a-z0-9]+", "-", _file_name(workflow_path)).strip("-")
    slug = slug[:MAX_SLUG_LENGTH].rstrip("-") or "run"
    return f"{slug}-{digest}"


def workflow_label(workflow_path: str) -> str:
    """Return the `workflow` label of every job.

    It is the file's name in lower case without its extension, as in the first version. Characters that Google Cloud
    does not allow in labels are replaced, so that the Task Runner can set it: letters lose their accents, every other
    character becomes `-`, and at most 63 characters are kept.
    """
    name = _file_name(workflow_path)
    return name if _LABEL.fullmatch(name) else plain_word(name)[:MAX_LABEL_LENGTH] or "workflow"


def plain_word(text: str) -> str:
    """Return the text as lower-case ASCII letters, digits, `_` and single `-`.

    The result is empty if nothing remains.
    """
    letters = (c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9_]+", "-", "".join(letters)).strip("-")


def _file_name(workflow_path: str) -> str:
    return re.sub(r"\.(ya?ml|json)$", "", PurePosixPath(workflow_path).name.lower())
