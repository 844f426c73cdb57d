"""Whether the contract suites ran on all that they should."""

from __future__ import annotations

import os

import pytest

from contract.backends import GIVEN, GOOGLE


@pytest.mark.parametrize("variable", GOOGLE)
def test_googles_own_emulators_are_among_the_backends(variable: str) -> None:
    """A laptop may do without a service, a build may not."""
    if variable not in GIVEN:
        reason = f"start Google's emulator and set {variable} to run the contract suites on it, too"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
