"""The prices that make up the cost of a run.

Each has a unit, a region, a source and a free tier. These are list prices, in us-central1 and us-east-1, without taxes,
discounts or commitments. Prices change: when you update one, also set `AS_OF`. No other module contains a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

AS_OF: Final = date(2026, 11, 23)
"""The date on which these prices were last compared with copies of the price pages, or with quotations from them."""

GOOGLE: Final = "us-central1"
AMAZON: Final = "us-east-1"

HOURS_PER_MONTH: Final = 730


class Item(StrEnum):
    """A billed item. Its value is the unit in words."""

    WRITES = "documents written"
    READS = "documents read"
    DELETES = "documents deleted"
    STORED = "GiB stored for a month"
    MESSAGES = "bytes published and delivered"
    REQUESTS = "requests"
    CPU = "vCPU-seconds"
    MEMORY = "GiB-seconds"
    OBJECT_READS = "objects read"
    LOGS = "bytes logged"
    SCHEDULES = "schedules for a month"
    INTERNAL_STEPS = "internal steps"
    EXTERNAL_STEPS = "external steps"
    TRANSITIONS = "state transitions"
    EXECUTIONS = "executions"
    EXPRESS_MEMORY = "GB-seconds"
    MWAA_HOURS = "environment hours"
    COMPOSER_HOURS = "DCU hours"
    VM_HOURS = "machine hours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price of `usd` for `per` units of an item.

    `free` is the free tier, as worded on the provider's page.
    """

    service: str
    usd: float
    per: float = 1
    region: str = GOOGLE
    free: str = "nothing"
    source: str

    def of(self, amount: float) -> float:
        """Return the price of the given amount, in dollars."""
        return amount / self.per * self.usd


_TIB: Final = 2**40
_GIB: Final = 2**30
_CLOUD: Final = "https://cloud.google.com"
_FIRESTORE: Final = f"{_CLOUD}/firestore/pricing"
_RUN: Final = f"{_CLOUD}/run/pricing"
_WORKFLOWS: Final = f"{_CLOUD}/workflows/pricing"
_STEP_FUNCTIONS: Final = "https://aws.amazon.com/step-functions/pricing/"

PRICES: Final[Mapping[Item, Price]] = {
    Item.WRITES: Price(service="Firestore", usd=0.09, per=100_000, free="20,000 a day", source=_FIRESTORE),
    Item.READS: Price(service="Firestore", usd=0.03, per=100_000, free="50,000 a day", source=_FIRESTORE),
    # `expire_at` causes TTL deletes, to which the free 20,000 a day do not apply.
    Item.DELETES: Price(service="Firestore", usd=0.01, per=100_000, source=_FIRESTORE),
    Item.STORED: Price(service="Firestore", usd=0.15, free="1 GiB", source=_FIRESTORE),
    Item.MESSAGES: Price(service="Pub/Sub", usd=40, per=_TIB, free="10 GiB a month", source=f"{_CLOUD}/pubsub/pricing"),
    Item.REQUESTS: Price(service="Cloud Run functions", usd=0.40, per=1e6, free="2 million a month", source=_RUN),
    Item.CPU: Price(service="Cloud Run functions", usd=0.000024, free="180,000 a month", source=_RUN),
    Item.MEMORY: Price(service="Cloud Run functions", usd=0.0000025, free="360,000 a month", source=_RUN),
    Item.OBJECT_READS: Price(
        service="Cloud Storage", usd=0.0004, per=1000, free="50,000 a month", source=f"{_CLOUD}/storage/pricing"
    ),
    Item.LOGS: Price(
        service="Cloud Logging", usd=0.50, per=_GIB, free="50 GiB a month", source=f"{_CLOUD}/stackdriver/pricing"
    ),
    Item.SCHEDULES: Price(
        service="Cloud Scheduler", usd=0.10, free="3 per billing account", source=f"{_CLOUD}/scheduler/pricing"
    ),
    Item.INTERNAL_STEPS: Price(service="Cloud Workflows", usd=0.01, per=1000, free="5,000 a month", source=_WORKFLOWS),
    Item.EXTERNAL_STEPS: Price(service="Cloud Workflows", usd=0.025, per=1000, free="2,000 a month", source=_WORKFLOWS),
    Item.TRANSITIONS: Price(
        service="Step Functions Standard",
        usd=0.025,
        per=1000,
        region=AMAZON,
        free="4,000 a month",
        source=_STEP_FUNCTIONS,
    ),
    Item.EXECUTIONS: Price(service="Step Functions Express", usd=1, per=1e6, region=AMAZON, source=_STEP_FUNCTIONS),
    Item.EXPRESS_MEMORY: Price(service="Step Functions Express", usd=0.00001667, region=AMAZON, source=_STEP_FUNCTIONS),
    Item.MWAA_HOURS: Price(
        service="Amazon MWAA, mw1.small",
        usd=0.49,
        region=AMAZON,
        source="https://aws.amazon.com/managed-workflows-for-apache-airflow/pricing/",
    ),
    Item.COMPOSER_HOURS: Price(service="Cloud Composer 3", usd=0.06, source=f"{_CLOUD}/composer/pricing"),
    Item.VM_HOURS: Price(
        service="Compute Engine, e2-standard-2", usd=0.067, source=f"{_CLOUD}/compute/vm-instance-pricing"
    ),
}
