"""What keeps clients from asking a proxy for this machine itself."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import requests

from atom_emulator.platform.network import bypass_proxies

PROXY = "http://proxy.test:3128"
LOOPBACK = "localhost,127.0.0.1,::1"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"])
@pytest.mark.parametrize(
    ("given", "everywhere", "of_grpc"),
    [
        ({}, LOOPBACK, LOOPBACK),
        ({"NO_PROXY": "corp.test"}, f"corp.test,{LOOPBACK}", f"corp.test,{LOOPBACK}"),
        ({"no_proxy": " a.test , localhost", "NO_PROXY": "b.test"}, "a.test,localhost,127.0.0.1,::1", None),
        ({"no_proxy": "a.test", "no_grpc_proxy": "g.test"}, f"a.test,{LOOPBACK}", f"g.test,{LOOPBACK}"),
        ({"no_proxy": "*"}, "*", LOOPBACK),
    ],
)
def test_loopback_is_never_proxied(
    variable: str, given: Mapping[str, str], everywhere: str, of_grpc: str | None
) -> None:
    """This machine's addresses are added to those that go past the proxy."""
    found = bypass_proxies({variable: PROXY, **given})
    assert found == {"no_proxy": everywhere, "NO_PROXY": everywhere, "no_grpc_proxy": of_grpc or everywhere}
    assert bypass_proxies({variable: PROXY, **given, **found}) == found


def test_without_a_proxy_nothing_is_set() -> None:
    """An environment that names none is left alone."""
    assert bypass_proxies({"NO_PROXY": "corp.test", "http_proxy": ""}) == {}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_requests_uses_no_proxy_for_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` uses no proxy for this machine, and still uses it for others."""
    for name, value in {"http_proxy": PROXY, **bypass_proxies({"http_proxy": PROXY})}.items():
        monkeypatch.setenv(name, value)
    assert requests.utils.get_environ_proxies(f"http://{host}:8080/x") == {}
    assert requests.utils.get_environ_proxies("http://storage.googleapis.com")["http"] == PROXY
