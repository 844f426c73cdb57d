"""Ports of the loopback interface: reserve them, check that something answers, and bypass proxies."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from atom_emulator.platform.errors import PortTaken
from atom_workflows.hosts import THIS_MACHINE

HOST: Final = "127.0.0.1"

_TIMEOUT_S: Final = 1.0

_PROXIES: Final = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")
_EVERYTHING: Final = "*"


def bind_port(part: str, port: int) -> socket.socket:
    """Bind a port, or a free one if 0 is given.

    Raises `PortTaken`.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        taken.close()
        raise PortTaken(part, port) from error
    return taken


def reserve_port(part: str, port: int, until_closed: ExitStack) -> int:
    """Reserve a port for a server that opens it by itself.

    0 picks a free one. The server must be started with the number. On Linux it can listen while a socket here still
    holds the port, so no other process is given the port meanwhile. On other systems the port is free again as soon as
    this returns. Raises `PortTaken`.
    """
    holder = bind_port(part, port)
    if sys.platform == "linux":
        until_closed.callback(holder.close)
        return port_of(holder)
    with holder:
        return port_of(holder)


def port_of(taken: socket.socket) -> int:
    """Return the port of a socket."""
    return int(taken.getsockname()[1])


def accepts_connections(address: str) -> bool:
    """Return True if a server accepts connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True


def answers_http(address: str) -> bool:
    """Return True if an HTTP server at host:port answers, with any status."""
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/robots.txt")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def bypass_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables that make clients bypass proxies for this machine.

    The result is empty if no proxy is set. `requests`, urllib and curl read `no_proxy` or `NO_PROXY`, in this order.
    gRPC reads only `no_proxy`, and ignores even that if `no_grpc_proxy` is set. The latter is also needed where
    `no_proxy` is `*`, which gRPC does not understand.
    """
    if not any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES):
        return {}
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    of_grpc = environment.get("no_grpc_proxy") or given
    everywhere = given if given.strip() == _EVERYTHING else _add_loopback(given)
    return {"no_proxy": everywhere, "NO_PROXY": everywhere, "no_grpc_proxy": _add_loopback(of_grpc)}


def _add_loopback(given: str) -> str:
    names = [name.strip() for name in given.split(",") if name.strip() not in {"", _EVERYTHING}]
    return ",".join(dict.fromkeys([*names, *THIS_MACHINE]))
