"""Check a region, and find where a deployment is.

These checks come first, since nothing would be found in a wrong region.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import Gcloud, shell_text
from atom_deploy.problems import Missing, WrongRegion
from atom_deploy.resource import Command, at
from atom_deploy.resources.functions import DIGEST_LABEL, FUNCTIONS

KNOWN: Final = frozenset(
    {
        *("africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
        *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2", "australia-southeast1"),
        *("australia-southeast2", "europe-central2", "europe-north1", "europe-north2", "europe-southwest1"),
        *("europe-west1", "europe-west2", "europe-west3", "europe-west4", "europe-west6", "europe-west8"),
        *("europe-west9", "europe-west10", "europe-west12", "me-central1", "me-central2", "me-west1"),
        *("northamerica-northeast1", "northamerica-northeast2", "northamerica-south1", "southamerica-east1"),
        *("southamerica-west1", "us-central1", "us-east1", "us-east4", "us-east5", "us-south1", "us-west1"),
        *("us-west2", "us-west3", "us-west4"),
    }
)
"""Regions accepted without a call. Google is asked about any other, as new ones open."""

_REGIONS: Final[Command] = ("functions", "regions", "list", "--gen2")
_EVERYWHERE: Final[Command] = ("functions", "list", "--v2", "--regions=-")
_ENABLE: Final[Command] = ("services", "enable", "cloudfunctions.googleapis.com")
_MOST_LIKE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The regions in which a deployment's functions were found."""

    is_here: bool
    others: tuple[str, ...]

    @property
    def is_only_elsewhere(self) -> bool:
        """True if the functions are only in other regions."""
        return bool(self.others) and not self.is_here

    @property
    def named(self) -> str:
        """The other regions as text for people."""
        return " and ".join(self.others)


def check_regions(deployment: Deployment, gcloud: Gcloud | None = None) -> None:
    """Raise `WrongRegion` for a region that does not exist.

    Without gcloud, a region that is not in this module's list counts as not existing.
    """
    said = {"REGION": deployment.region, "--task-runner-region": deployment.task_runner_region}
    for name, region in said.items():
        if region and region not in KNOWN:
            _check(name, region, deployment.project, gcloud)


def places(deployment: Deployment, gcloud: Gcloud) -> Places:
    """Find the regions of the deployment's functions."""
    names = {deployment.name(function) for function in FUNCTIONS}
    regions = {
        region for region, name in _deployed_functions(_list_or_none(gcloud, _EVERYWHERE) or ()) if name in names
    }
    return Places(is_here=deployment.region in regions, others=tuple(sorted(regions - {deployment.region})))


def check_place(deployment: Deployment, gcloud: Gcloud, *, instead: str = "") -> Places:
    """Raise `WrongRegion` if the deployment is only in other regions.

    `instead` adds an alternative to the advice.
    """
    found = places(deployment, gcloud)
    if found.is_only_elsewhere:
        raise WrongRegion(
            f"REGION is {deployment.region}, but {deployment.prefix} of {deployment.project} is in {found.named}: "
            f"use REGION={found.others[0]}{instead}; nothing was changed"
        )
    return found


def _check(name: str, region: str, project: str, gcloud: Gcloud | None) -> None:
    listed = None if gcloud is None else _list_or_none(gcloud, _REGIONS)
    there = KNOWN if listed is None else {str(at(one, "locationId")) for one in listed}
    if region in there:
        return
    like = get_close_matches(region, sorted(there), n=_MOST_LIKE)
    meant = f"; similar regions: {', '.join(like)}" if like else ""
    raise WrongRegion(f"{name} is {region}, which is not a region {_whose(project, gcloud, listed)}{meant}")


def _whose(project: str, gcloud: Gcloud | None, listed: Any) -> str:
    """Return the list's source, and what to do about a new region."""
    if listed is not None:
        return f"of Cloud Functions (`{shell_text(_REGIONS, project)}` shows them)"
    if gcloud is not None:
        return f"that is known here (if it is new, `{shell_text(_ENABLE, project)}` allows asking Google)"
    return "that is known here (if it is new, deploy with OPTIONS=--dry-run, which asks Google)"


def _list_or_none(gcloud: Gcloud, look: Command) -> Any:
    """Return the list, or None if the service is not enabled."""
    try:
        answer = gcloud.look(look)
    except Missing:
        return None
    return answer or []


def _deployed_functions(functions: Any) -> Iterator[tuple[str, str]]:
    """Yield the region and name of each deployed function."""
    for one in functions:
        _, _, _, region, _, name = str(one["name"]).split("/")
        if at(one, f"labels.{DIGEST_LABEL}"):
            yield region, name
