"""A function that only prints what reached it."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

import functions_framework


@functions_framework.cloud_event
def dispatcher(event: Any) -> None:
    """Print the message and the platform's addresses."""
    message = event.data["message"]
    body = json.loads(base64.b64decode(message["data"]))
    variables = {name: os.environ[name] for name in ("FIRESTORE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "THREADS")}
    sys.stdout.write(
        json.dumps({"function": "dispatcher", "source": event["source"], "body": body, "environment": variables}) + "\n"
    )
    sys.stdout.flush()
