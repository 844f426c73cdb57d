"""The HTTP connection of push delivery, against a server that sends exactly the bytes of a test."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from atom_emulator.pubsub.push import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atom_emulator.pubsub.http_connection import HttpConnection


async def _post(endpoint: Endpoint, connection: HttpConnection) -> int | None:
    answered: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    connection.post(endpoint.build_request(b"{}"), lambda _connection, status: answered.set_result(status))
    async with asyncio.timeout(60):
        return await answered


async def _exchange(pieces: Sequence[bytes], *, hang_up: bool) -> tuple[int | None, bool]:
    """Return the status read from an answer in pieces, and whether to keep the connection."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # the client may well have had enough before all is said
            await reader.readuntil(b"{}")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if not hang_up:
                await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        connection = await endpoint.connect()
        status = await _post(endpoint, connection)
        reusable = connection.reusable
        connection.abort()
        await served.wait()
    return status, reusable


@pytest.mark.parametrize(
    ("pieces", "status", "reusable"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"], 200, True),
        ([b"HTTP/1.1 20", b"0 OK\r\nContent-Le", b"ngth: 2\r\n\r", b"\nO", b"K"], 200, True),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, True),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"], 500, True),
        ([b"HTTP/1.1 102 Processing\r\n\r\n"], 102, False),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"], 200, False),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"], 200, False),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n0\r\n\r\n"], 200, False),
        ([b"SMTP ready\r\n\r\n"], None, False),
        ([b"X" * 70_000], None, False),
    ],
)
def test_an_answer_is_read_however_it_comes(pieces: list[bytes], status: int | None, *, reusable: bool) -> None:
    """A connection is kept only if the next answer's beginning is certain."""
    assert asyncio.run(_exchange(pieces, hang_up=False)) == (status, reusable)


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nOK"]])
def test_a_hang_up_is_no_answer(pieces: list[bytes]) -> None:
    """A connection that ends before its answer does has given none."""
    assert asyncio.run(_exchange(pieces, hang_up=True)) == (None, False)
