"""The floor: the same jobs submitted to the same Task Runner by bare HTTP calls."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from requests.adapters import HTTPAdapter

_TIMEOUT_S = 10.0


class Floor:
    """One pooled session, shared by as many threads as a workload allows."""

    def __init__(self, task_runner_url: str, body: Mapping[str, Any]) -> None:
        self._url = f"{task_runner_url}/job"
        self._body = dict(body)
        self._session = requests.Session()
        self._session.trust_env = False  # Looking for proxies at every call is not part of the floor.
        self._session.mount("http://", HTTPAdapter(pool_maxsize=64))

    def seconds(self, calls: int, threads: int) -> float:
        """Return the time that this many calls take."""
        began = time.perf_counter()
        if threads == 1:
            for _ in range(calls):
                self._call()
        else:
            with ThreadPoolExecutor(threads) as pool:
                # Building the list raises the errors of the calls.
                list(pool.map(lambda _: self._call(), range(calls)))
        return time.perf_counter() - began

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _call(self) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        response = self._session.post(self._url, json=self._body, headers=headers, timeout=_TIMEOUT_S)
        response.raise_for_status()
        if response.json()["job"]["state"] != "SUCCEEDED":
            raise ValueError(f"the Task Runner answered {response.text}")
