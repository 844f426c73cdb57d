"""Foreign requests: whatever another page or another user of this machine sends, nothing is shown or changed."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import pytest

from atom_client.console.app import MOST_BYTES, Console
from atom_client.console.guard import RESPONSE_HEADERS
from atom_client.console.openings import Openings
from atom_client.console.server import ConsoleServer
from atom_emulator.testing.world import World
from support.workflows import chain

TOKEN: Final = "the-token-of-this-console"  # noqa: S105 (of consoles in this test)
JSON: Final = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """A status, the headers and the body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Served:
    """A console that is being served, with a run that foreign requests try to cancel."""

    def __init__(self, world: World, server: ConsoleServer) -> None:
        self.world = world
        self.port = int(server.address.split(":")[2].split("/")[0])
        self.run_id = world.start(chain(1), run_key=uuid.uuid4().hex)
        self.cancel = f"/api/runs/{self.run_id}/cancel"
        self.openings: Openings = server.app.extensions["atom_console"].openings

    def ask(self, method: str, path: str, headers: Mapping[str, str] = {}, body: Any = None) -> Answer:
        """Send a request as the page would, except for the given headers; those that are "" are left out."""
        usual = {"Host": f"127.0.0.1:{self.port}", "X-Atom-Token": TOKEN, **(JSON if method == "POST" else {})}
        sent = {name: value for name, value in {**usual, **headers}.items() if value}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        for name, value in {**sent, "Content-Length": str(len(content))}.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.headers), response.read())
        connection.close()
        return answer

    def send(self, raw: bytes) -> bytes:
        """Send these very bytes, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            line.sendall(raw)
            line.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: line.recv(65536), b""))

    @property
    def is_untouched(self) -> bool:
        """True if nothing was done to the run."""
        return not self.world.run(self.run_id).changes


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[World, ConsoleServer]]:
    """Serve a console to all tests."""
    world = World()
    with ConsoleServer(Console(services=world.services, token=TOKEN, place="a test", actor="me")) as server:
        yield world, server


@pytest.fixture
def served(server: tuple[World, ConsoleServer]) -> Served:
    """Return the console with a run of the test's own."""
    return Served(*server)


def seen(served: Served) -> dict[str, Any]:
    """Return what the page would send to cancel the run."""
    preview = served.ask("POST", served.cancel, body={"dry_run": True})
    assert preview.status == 200
    return {"seen": json.loads(preview.body)["seen"]}


def test_requests_of_the_page_itself_are_answered(served: Served) -> None:
    """The checks let through what the browser sends for the console's own page."""
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert served.ask("GET", "/", {"X-Atom-Token": "", "Sec-Fetch-Site": "none"}).status == 200
    assert served.ask("GET", "/api/runs", own).status == 200
    assert served.ask("POST", served.cancel, own, seen(served)).status == 200
    assert not served.is_untouched


FOREIGN: Final[Mapping[str, Mapping[str, str]]] = {
    "another host": {"Host": "console.example"},
    "a host that another page points at this machine": {"Host": "rebound.evil.example:8080"},
    "a host that begins like this machine": {"Host": "127.0.0.1.evil.example"},
    "a host with a user": {"Host": "127.0.0.1@evil.example"},
    "an unspecified address": {"Host": "0.0.0.0:8080"},
    "an empty host": {"Host": " "},
    "an origin without a name": {"Origin": "null"},
    "an origin of another site": {"Origin": "https://evil.example"},
    "an origin at another port": {"Origin": "http://127.0.0.1:1"},
    "an origin with another name of this machine": {"Origin": "http://localhost:{port}"},
    "an origin with another scheme": {"Origin": "https://127.0.0.1:{port}"},
    "an empty origin": {"Origin": " "},
    "a page of another site": {"Sec-Fetch-Site": "cross-site"},
    "a page of the same site at another port": {"Sec-Fetch-Site": "same-site"},
    "no token": {"X-Atom-Token": ""},
    "a wrong token": {"X-Atom-Token": "the-token-of-another-console"},
    "the beginning of the token": {"X-Atom-Token": TOKEN[:-1]},
    "a token that is not ASCII": {"X-Atom-Token": "tök"},
    "a token in a cookie alone": {"X-Atom-Token": "", "Cookie": f"token={TOKEN}"},
    "a token as a bearer": {"X-Atom-Token": "", "Authorization": f"Bearer {TOKEN}"},
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "JSON as plain text": {"Content-Type": "text/plain"},
    "JSON as plain text that names JSON": {"Content-Type": "text/plain; application/json"},
    "parts of a form": {"Content-Type": "multipart/form-data; boundary=x"},
    "no type": {"Content-Type": ""},
    "a WebSocket": {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
    "HTTP/2": {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_requests_change_nothing(kind: str, served: Served) -> None:
    """A request that could come from elsewhere is refused with a sentence, whatever else it has."""
    body = seen(served)
    headers = {name: value.replace("{port}", str(served.port)) for name, value in FOREIGN[kind].items()}
    answer = served.ask("POST", served.cancel, headers, body)
    assert answer.status in {400, 401, 403, 415}
    assert served.is_untouched
    if answer.status != 400 or "Upgrade" in headers:
        assert json.loads(answer.body)["error"]


@pytest.mark.parametrize("kind", [kind for kind, headers in FOREIGN.items() if "Content-Type" not in headers])
def test_foreign_requests_read_nothing(kind: str, served: Served) -> None:
    """What would be refused as a change is refused as a question, too."""
    headers = {name: value.replace("{port}", str(served.port)) for name, value in FOREIGN[kind].items()}
    answer = served.ask("GET", f"/api/runs/{served.run_id}", headers)
    assert answer.status in {400, 401, 403}
    assert served.run_id.encode() not in answer.body


@pytest.mark.parametrize("path", ["/", "/assets/console.js"])
def test_page_is_not_shown_under_another_name(path: str, served: Served) -> None:
    """A host that another page points at this machine gets no part of the page."""
    assert served.ask("GET", path, {"Host": "rebound.evil.example"}).status == 403
    assert served.ask("GET", path, {"Sec-Fetch-Site": "cross-site"}).status == 403


@pytest.mark.parametrize("where", ["?token={token}", "?X-Atom-Token={token}", "#token={token}", ";token={token}"])
def test_token_in_an_address_counts_for_nothing(where: str, served: Served) -> None:
    """Addresses are logged and sent on as referrers, so a token in one is not looked at."""
    path = f"/api/console{where.format(token=TOKEN)}"
    assert served.ask("GET", path, {"X-Atom-Token": ""}).status == 401


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("place", ["page", "change"])
def test_other_methods_are_refused(method: str, place: str, served: Served) -> None:
    """The console answers GET and POST only, and allows no other page to ask for more."""
    answer = served.ask(method, "/" if place == "page" else served.cancel, JSON, {"dry_run": False})
    assert answer.status in {405, 501}
    assert not {name for name in answer.headers if name.lower().startswith("access-control")}
    assert served.is_untouched


def test_changes_are_never_made_by_get(served: Served) -> None:
    """A link or an image cannot change a run, not even with the token."""
    assert served.ask("GET", served.cancel).status == 405
    assert served.ask("GET", f"{served.cancel}?seen=x&now=true").status == 405
    assert served.is_untouched


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_method_cannot_be_overridden(header: str, served: Served) -> None:
    """A GET stays one, whatever a header or a field says."""
    assert served.ask("GET", f"{served.cancel}?_method=POST", {header: "POST"}).status == 405
    assert served.is_untouched


TRICKS: Final = [
    "/assets/../app.py",
    "/assets/..%2fapp.py",
    "/assets/%2e%2e/app.py",
    "/assets/%2e%2e%2f%2e%2e%2fapp.py",
    "/assets/..%5capp.py",
    "/assets/....//app.py",
    "/assets//etc/passwd",
    "/assets/%2fetc%2fpasswd",
    "/assets/%00console.js",
    "/assets/console.js%00.py",
    "/assets/vendor/lit-html.LICENSE.txt",
    "/assets/vendor/README.md",
    "/assets/vendor",
    "/assets/",
    "/assets/index.html",
    "//evil.example/assets/console.js/..",
    "/assets/..;/app.py",
    "/static/console.js",
]


@pytest.mark.parametrize("path", TRICKS)
def test_only_the_parts_of_the_page_are_served(path: str, served: Served) -> None:
    """No spelling of a path leads out of the folder of assets, or to anything else in it."""
    answer = served.ask("GET", path)
    assert answer.status in {400, 403, 404}
    assert b"import" not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "path", ["/api/../api/console", "//api/console", "/API/console", "/api%2fconsole", "/./api/console"]
)
def test_other_spellings_of_a_path_need_the_token_too(path: str, served: Served) -> None:
    """A path that is not recognized as one of `/api` is not answered as one."""
    answer = served.ask("GET", path, {"X-Atom-Token": ""})
    assert answer.status in {308, 401, 403, 404}
    assert b"a test" not in answer.body


def test_body_that_is_too_large_is_not_read(served: Served) -> None:
    """The limit is said, and takes effect before the body is read."""
    answer = served.ask("POST", served.cancel, body=b" " * (MOST_BYTES + 1))
    assert answer.status == 413
    assert json.loads(answer.body)["error"] == f"the request is larger than {MOST_BYTES:,} bytes"


def test_body_without_a_length_is_limited_too(served: Served) -> None:
    """A body in chunks is refused once it is too large, or is not read at all."""
    lines = [
        f"POST {served.cancel} HTTP/1.1",
        *("Host: 127.0.0.1", f"X-Atom-Token: {TOKEN}", "Content-Type: application/json"),
        *("Transfer-Encoding: chunked", "Connection: close", "", ""),
    ]
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    raw = "\r\n".join(lines).encode() + chunk * 9 + b"0\r\n\r\n"
    try:
        answer = served.send(raw)
    except ConnectionError:
        answer = b""  # The server closed the connection while this was still sending.
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert served.is_untouched


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"text"', b"{", b'{"seen": 5}', b'{"now": "yes"}', b"\xff"])
def test_bodies_that_are_not_what_was_agreed_are_refused(body: bytes, served: Served) -> None:
    """A body of another shape gets a sentence, and changes nothing."""
    answer = served.ask("POST", served.cancel, body=body)
    assert answer.status in {400, 409}
    assert json.loads(answer.body)["error"]
    assert served.is_untouched


@pytest.mark.parametrize(
    "lines",
    [
        "Host: 127.0.0.1\r\nHost: evil.example",
        "Host: evil.example\r\nHost: 127.0.0.1",
        "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://evil.example",
        "Host: 127.0.0.1\r\nX_Atom_Token: x",
    ],
)
def test_repeated_and_misspelled_headers_do_not_help(lines: str, served: Served) -> None:
    """Two hosts or two origins are none, and an underscore is not a hyphen."""
    token = "" if "X_Atom" in lines else f"X-Atom-Token: {TOKEN}\r\n"
    answer = served.send(f"GET /api/console HTTP/1.1\r\n{lines}\r\n{token}Connection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in {b"400", b"401", b"403"}
    assert b"a test" not in answer


def test_target_that_names_another_host_is_refused(served: Served) -> None:
    """The host of an absolute address counts, as it does for a browser."""
    target = "http://evil.example/api/console"
    raw = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Atom-Token: {TOKEN}\r\nConnection: close\r\n\r\n"
    assert served.send(raw.encode()).split(b" ")[1] == b"403"


def test_browser_is_opened_without_the_token_in_its_arguments(served: Served) -> None:
    """Other users of the machine see the arguments of a process; the address in them works once, and not for links."""
    path = served.openings.add()
    assert TOKEN not in path
    assert served.ask("GET", path, {"Sec-Fetch-Site": "cross-site", "X-Atom-Token": ""}).status == 403
    first, second = (served.ask("GET", path, {"X-Atom-Token": "", "Sec-Fetch-Site": "none"}) for _ in range(2))
    assert (first.status, first.headers["Location"]) == (303, f"/#token={TOKEN}")
    assert (second.status, TOKEN in str(second)) == (410, False)
    assert served.ask("GET", "/open/guessed", {"X-Atom-Token": ""}).status == 410


def test_address_that_opens_once_is_forgotten() -> None:
    """If the browser never came, nobody else can come an hour later."""
    openings = Openings(within_s=0.0)
    assert not openings.take(openings.add().rpartition("/")[2])


LINK: Final = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_link_on_another_page_opens_the_console(served: Served, site: str) -> None:
    """A terminal in a browser, a chat or a mail may show the address; the page holds nothing until it has the token."""
    answer = served.ask("GET", "/", {**LINK, "Sec-Fetch-Site": site, "X-Atom-Token": ""})
    assert (answer.status, TOKEN in answer.body.decode(), served.run_id in answer.body.decode()) == (200, False, False)
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {"Sec-Fetch-Dest": "iframe"}),
        ("GET", "/", {"Sec-Fetch-Dest": "object"}),
        ("GET", "/", {"Sec-Fetch-Dest": "script", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/", {"Sec-Fetch-Mode": "cors"}),
        ("GET", "/", {"Sec-Fetch-Mode": ""}),
        ("GET", "/", {"Host": "evil.example"}),
        ("GET", "/", {"Origin": "https://evil.example"}),
        ("GET", "/assets/console.js", {}),
        ("GET", "/api/console", {}),
        ("POST", "/", {}),
    ],
)
def test_only_a_link_to_the_page_itself_may_be_foreign(
    served: Served, method: str, path: str, headers: Mapping[str, str]
) -> None:
    """Frames, parts of pages, forms, requests by scripts and other addresses are refused, even with the token."""
    assert served.ask(method, path, {**LINK, **headers}).status == 403


def test_every_answer_forbids_scripts_from_elsewhere(served: Served) -> None:
    """Refusals, errors and pages have the same headers."""
    paths = ["/", "/assets/console.js", "/api/console", "/api/none", "/none"]
    answers = [served.ask("GET", path) for path in paths] + [served.ask("GET", "/", {"Host": "evil.example"})]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in RESPONSE_HEADERS} == dict(RESPONSE_HEADERS)
        assert not {name for name in answer.headers if name.lower().startswith("access-control")}
    policy = RESPONSE_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_read_only_console_refuses_every_change(served: Served) -> None:
    """Each POST is refused, except those that only examine what they are sent."""
    console = Console(services=served.world.services, token=TOKEN, place="a test", read_only=True)
    with ConsoleServer(console) as other:
        reader = Served(served.world, other)
        paths = {str(rule) for rule in other.app.url_map.iter_rules() if "POST" in (rule.methods or ())}
        for path in paths - {"/api/files/check", "/api/files/graph"}:
            address = path.replace("<run_id>", served.run_id)
            answer = reader.ask("POST", address, body={"dry_run": True})
            assert (answer.status, "read-only" in answer.body.decode()) == (403, True), path
        file = {"name": "a.yaml", "text": chain(1)}
        for path in ("/api/files/check", "/api/files/graph"):
            assert reader.ask("POST", path, body={"file": file}).status == 200
    assert served.is_untouched
