"""The limits on a workflow file.

Each is far above what people write and far below what would cause harm.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 20
"""The maximum nesting depth of lists and maps, including the file's outermost map."""

MAX_NODES: Final = 300_000
"""The maximum number of values in a file.

Each use of an alias counts as everything it expands to, and a long string counts as several values.
"""

TEXT_PER_NODE: Final = 64
"""The number of characters in a long string that count as one additional value.

This keeps aliases from multiplying long strings.
"""

MAX_STEPS: Final = 10_000
MAX_TASK_BYTES: Final = 64 * 1024
MAX_PROBLEMS: Final = 100
MAX_WARNINGS: Final = 20
MAX_PROBLEM_BYTES: Final = 400_000
"""The maximum size of the list of problems as JSON.

Along with everything else, the list must fit into a run's document, which is limited to 1 MiB.
"""

MAX_TAG_DIRECTIVES: Final = 100
"""libyaml compares each `%TAG` line with all earlier ones. No file needs such lines, since tags are not allowed."""


MAX_NAME: Final = 200
MAX_ID: Final = 100
MAX_DESCRIPTION: Final = 10_000
MAX_TEXT: Final = 4_096
MAX_LABEL: Final = 1_024

MAX_EXPRESSIONS: Final = 50_000
"""The maximum number of expressions in a file. Each use of an alias counts its expressions again."""

MAX_EXPRESSION_TEXT: Final = 1_000_000
"""The maximum total length of values that contain expressions, counting each use of an alias.

Checking this many characters takes a few seconds.
"""

MAX_STEPS_READ: Final = 200
"""The maximum number of steps whose results may be read by one step's expressions or by a run's outputs."""

MAX_ITEMS: Final = 10_000
"""The maximum number of items in a loop."""

MAX_ITEMS_OF_RUN: Final = 20_000
"""The maximum total number of items in all loops of a run."""

MAX_ITEM_BYTES: Final = 8 * 1024
"""The maximum size of a loop item as JSON."""

MAX_LISTS_BYTES: Final = 700_000
"""The maximum total size, as JSON, of the lists in one `forEach`. One document stores them all."""

MAX_LISTS: Final = 20
"""The maximum number of lists that a loop may combine."""

MAX_PARAMS: Final = 100
MAX_PARAM_BYTES: Final = 100_000
"""The maximum size of a run's parameters as JSON. Start messages have the same limit."""

MAX_OUTPUTS: Final = 100
MAX_CHOICES: Final = 1_000
"""The maximum number of values in a parameter's `enum`."""

MAX_LENGTH: Final = 100_000
"""The highest `minLength`, `maxLength`, `minItems` or `maxItems` that a parameter may have."""

MAX_SCHEDULES: Final = 20
MAX_WITHIN: Final = timedelta(days=30)
"""The maximum delay after which a missed scheduled run may still be started."""

MAX_TIMEOUT: Final = timedelta(days=7)
MAX_CONCURRENT_RUNS: Final = 1_000
MAX_QUEUED_RUNS: Final = 1_000
MAX_QUEUE_WAIT: Final = timedelta(days=30)
MAX_GROUP: Final = 1_000
"""The maximum number of characters in a group as written in the file; the limit on its value is lower."""

MAX_FINALLY_TIMEOUT: Final = timedelta(days=1)
MAX_BACKOFF: Final = timedelta(days=1)
MAX_ATTEMPTS: Final = 100
MAX_FACTOR: Final = 10
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
"""Whole numbers are stored in 64 bits."""
