"""Refuse public resources, even if a person has made them public."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from atom_deploy.resource import Command, Known, Refusal

EVERYBODY: Final = frozenset({"allUsers", "allAuthenticatedUsers"})
"""Everyone, and everyone with a Google account: neither is limited to known people."""


def refuse_everybody(remove: Command) -> Callable[[Any, Known], Refusal | None]:
    """Return the check of one policy.

    `remove` is the beginning of the command that removes a binding.
    """
    # With or without a condition; Pub/Sub's commands have no conditions.
    every = () if remove[0] == "pubsub" else ("--all",)

    def refuse(policy: Any, _known: Known) -> Refusal | None:
        public = [
            (str(binding.get("role")), member)
            for binding in (policy or {}).get("bindings", ())
            for member in binding.get("members", ())
            if member in EVERYBODY
        ]
        if not public:
            return None
        named = ", ".join(f"{member} has {role}" for role, member in public)
        fix = tuple((*remove, f"--member={member}", f"--role={role}", *every) for role, member in public)
        return Refusal(reason=f"it is public: {named}. Remove that, then deploy again", fix=fix)

    return refuse


def refuse_public_bucket(bucket: Any, _known: Known) -> Refusal | None:
    """Refuse a bucket that its access control lists make public.

    A bucket's policy does not show these lists.
    """
    lists = ((bucket or {}).get(name) or () for name in ("acl", "defaultObjectAcl"))
    public = sorted({str(entry.get("entity")) for one in lists for entry in one} & EVERYBODY)
    if not public:
        return None
    url = f"gs://{bucket.get('name', 'BUCKET')}"
    fix = ("storage", "buckets", "update", url, "--public-access-prevention", "--uniform-bucket-level-access")
    return Refusal(
        reason=f"it is public: its access control lists name {' and '.join(public)}. Change that, then deploy again",
        fix=(fix,),
    )
