"""Which hosts are this machine."""

from __future__ import annotations

import pytest

from atom_workflows.hosts import is_this_machine


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "::1", "[::1]"])
def test_the_names_of_this_machine(host: str) -> None:
    """A host is this machine in any letter case, and with the brackets that a URL or a header has."""
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["", "localhost.test", "127.0.0.1.test", "10.0.0.1", "::", "127.0.0.11"])
def test_other_hosts(host: str) -> None:
    """A name that only looks like one is another machine's."""
    assert not is_this_machine(host)
