"""Detect secrets by their format, to keep them out of files."""

from __future__ import annotations

import re
from typing import Final

_FORMS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\bya29\.[\w-]{20}"), "a Google access token"),
    (re.compile(r"\bAIza[\w-]{35}"), "a Google API key"),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20}|\bgithub_pat_\w{20}"), "a GitHub token"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "an AWS access key"),
    (re.compile(r"\bxox[abprs]-[\w-]{10}"), "a Slack token"),
    (re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10}"), "a signed token"),
)
_STARTS: Final = (
    "-----BEGIN", "ya29.", "AIza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "AKIA", "ASIA", "xox", "eyJ"
)  # fmt: skip


def may_have_secret(text: str) -> bool:
    """Return False if the text cannot contain a secret."""
    return any(start in text for start in _STARTS)


def find_secret(text: str) -> str:
    """Return the kind of secret that the text resembles, or ""."""
    if not may_have_secret(text):
        return ""
    return next((kind for form, kind in _FORMS if form.search(text)), "")
