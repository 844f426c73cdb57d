"""Run ids: the same trigger always gives the same id, so that starting twice is starting once."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Final

MAX_SLUG_LENGTH: Final = 40
DIGEST_LENGTH: Final = 12


def run_id_for(workflow_path: str, *trigger: str) -> str:
    """The id of the run that this trigger starts: the file's name, made safe, and a digest of the trigger.

    `trigger` is what makes it this run and no other: kind and identity (object generation, message id, own key).
    """
    digest = hashlib.sha256("\0".join((workflow_path, *trigger)).encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{_slug(workflow_path)}-{digest}"


def workflow_label(workflow_path: str) -> str:
    """The `workflow` label of every job: the file's name in lower case without `.yaml` (first version's rule)."""
    name = PurePosixPath(workflow_path).name.lower()
    return re.sub(r"\.(ya?ml|json)$", "", name)


def _slug(workflow_path: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", workflow_label(workflow_path)).strip("-")
    return slug[:MAX_SLUG_LENGTH].rstrip("-") or "run"
