"""Execute runs without printing what the functions would log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_logs() -> Iterator[None]:
    """Suppress the functions' log output for the duration of the block."""
    logger = logging.getLogger("atom_workflows")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled
