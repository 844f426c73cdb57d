"""An environment without a login to Google Cloud and without a platform."""

from __future__ import annotations

from typing import Final

_UNSET: Final = (
    "FIRESTORE_EMULATOR_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "PUBSUB_EMULATOR_HOST",
    "STORAGE_EMULATOR_HOST",
    "WORKFLOW_DATABASE",
    "WORKFLOW_PROJECT",
    "WORKFLOW_TASK_RUNNER_ALLOW",
    "WORKFLOW_TASK_RUNNER_URL",
    "WORKFLOW_TOPIC_PREFIX",
    "WORKFLOW_TR_AUTH_JWT",
)

NO_CLOUD: Final[dict[str, str | None]] = {
    **dict.fromkeys(_UNSET),
    "CLOUDSDK_CONFIG": "/nonexistent",
    "NO_GCE_CHECK": "true",
}
"""For `CliRunner.invoke(env=…)`, which takes None for a variable that is not set."""
