"""The database, with the indexes, exemptions and TTL policies that `firestore.indexes.json` declares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from atom_deploy.deployment import Deployment
from atom_deploy.resource import Command, Refusal, Resource, one_with

INDEXES_FILE: Final = Path(__file__).parents[2] / "firestore.indexes.json"
"""The file's format is also used by Firebase's tools."""

_MODE: Final = "FIRESTORE_NATIVE"
"""Datastore mode has a different API, without writes guarded by update time."""

_EDITION: Final = "STANDARD"
"""The Enterprise edition indexes no field automatically, and has different prices and a different storage format."""


@lru_cache(maxsize=1)
def declared() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Read `indexes` and `fieldOverrides` from the file."""
    found: dict[str, Any] = json.loads(INDEXES_FILE.read_text(encoding="utf-8"))
    return found


def database(deployment: Deployment) -> Resource:
    """Return the database, which outlives the deployment."""
    name = deployment.database
    flag = f"--database={name}"
    return Resource(
        kind="database",
        name=name,
        why="holds every run and step",
        look=("firestore", "databases", "list"),
        pick=one_with("name", f"databases/{name}"),
        create=(
            (
                "firestore",
                "databases",
                "create",
                flag,
                f"--location={deployment.location}",
                "--type=firestore-native",
                "--edition=standard",
                "--delete-protection",
            ),
        ),
        remove=(
            ("firestore", "databases", "update", flag, "--no-delete-protection"),
            ("firestore", "databases", "delete", flag),
        ),
        holds_data=True,
        refuse=lambda found, _: _refuse_other_kind(found),
    )


def _refuse_other_kind(found: Mapping[str, Any]) -> Refusal | None:
    """Refuse a database whose kind the functions cannot use.

    Old answers name no edition, since there was only one.
    """
    mode, edition = found.get("type", _MODE), found.get("databaseEdition", _EDITION)
    if mode == _MODE and edition == _EDITION:
        return None
    return Refusal(
        reason=f"it is of type {mode} and edition {edition}, but the functions need {_MODE} and {_EDITION}, which "
        "cannot be changed; name another database with --database, and it will be created"
    )


def indexes(deployment: Deployment) -> list[Resource]:
    """Return the indexes, exemptions and TTL policies.

    Queries need the composite indexes in addition to the automatic ones. An exemption avoids an index that no query
    needs. All of them are removed with the database.
    """
    flag = f"--database={deployment.database}"
    overrides = declared()["fieldOverrides"]
    composite = [_index(flag, index) for index in declared()["indexes"]]
    exempt = [_exemption(flag, one) for one in overrides if not one["indexes"]]
    return [*composite, *exempt, *(_ttl(flag, one) for one in overrides if one.get("ttl"))]


def _index(flag: str, index: Mapping[str, Any]) -> Resource:
    group, scope = index["collectionGroup"], index["queryScope"].lower().replace("_", "-")
    fields = [(one["fieldPath"], one["order"].lower()) for one in index["fields"]]
    wanted = [(one["fieldPath"], one["order"]) for one in index["fields"]]

    def same(found: Mapping[str, Any]) -> bool:
        there = [(one.get("fieldPath"), one.get("order")) for one in found["fields"] if one["fieldPath"] != "__name__"]
        return (f"/collectionGroups/{group}/" in found["name"], found["queryScope"], there) == (
            True,
            index["queryScope"],
            wanted,
        )

    return Resource(
        kind="index",
        name=f"{group}: {', '.join(name for name, _ in fields)}",
        why="serves the checker's only query, for the steps that are due",
        look=("firestore", "indexes", "composite", "list", flag),
        pick=lambda answer, _: next((one for one in answer or () if same(one)), None),
        create=(
            (
                "firestore",
                "indexes",
                "composite",
                "create",
                flag,
                f"--collection-group={group}",
                f"--query-scope={scope}",
                *(f"--field-config=field-path={name},order={order}" for name, order in fields),
                "--async",
            ),
        ),
    )


def _exemption(flag: str, one: Mapping[str, Any]) -> Resource:
    update: Command = ("firestore", "indexes", "fields", "update", one["fieldPath"], flag, *_group(one))
    return Resource(
        kind="exemption",
        name=_label(one),
        why="no query uses this field alone, so writing it need not update an index of its own",
        look=("firestore", "indexes", "fields", "list", flag),
        pick=lambda answer, _: next((found for found in answer or () if _is(found, one) and _exempt(found)), None),
        create=((*update, "--disable-indexes", "--async"),),
    )


def _ttl(flag: str, one: Mapping[str, Any]) -> Resource:
    update: Command = ("firestore", "fields", "ttls", "update", one["fieldPath"], flag, *_group(one))
    return Resource(
        kind="TTL policy",
        name=_label(one),
        why="removes the documents of old runs (see WORKFLOW_KEEP_RUNS_SEC)",
        look=("firestore", "fields", "ttls", "list", flag),
        pick=lambda answer, _: next(
            (found for found in answer or () if _is(found, one) and "ttlConfig" in found), None
        ),
        create=((*update, "--enable-ttl", "--async"),),
    )


def _group(one: Mapping[str, Any]) -> Command:
    return (f"--collection-group={one['collectionGroup']}",)


def _label(one: Mapping[str, Any]) -> str:
    return f"{one['collectionGroup']}.{one['fieldPath']}"


def _is(found: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    return str(found.get("name", "")).endswith(f"/collectionGroups/{one['collectionGroup']}/fields/{one['fieldPath']}")


def _exempt(found: Mapping[str, Any]) -> bool:
    config = found.get("indexConfig", {})
    return not config.get("indexes") and not config.get("usesAncestorConfig")
