"""The local platform, which asks no one who they are, is there for this machine and its logs for their owner."""

from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest

from atom_client.cli.local import require_log_dir
from atom_client.errors import Misuse
from atom_emulator.log_files import OWN_FOLDER, append_to, make_folder
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from unit.emulator.platform.processes import Descendants

FLOW: Final = json.dumps({"definition": "steps: [{id: a, task: {url: u}}]"})
STUBS = Path(__file__).parents[1] / "unit" / "emulator" / "platform" / "stub_functions"


def test_everything_listens_on_loopback_and_logs_are_their_owner_s(tmp_path: Path) -> None:
    """Parts listen on loopback only, and logs are readable by their owner only."""
    descendants = Descendants()
    before = {each.laddr for each in psutil.Process().net_connections("tcp")}
    log_dir = tmp_path / "logs" / "new"
    with LocalPlatform(PlatformOptions(functions_dir=STUBS, log_dir=log_dir)) as platform:
        processes = [psutil.Process(), *descendants.now()]
        connections = [each for process in processes for each in process.net_connections("inet")]
        listening = {each.laddr for each in connections if each.status == psutil.CONN_LISTEN} - before
        assert len(listening) >= len(platform.addresses)
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in log_dir.iterdir()} == {
            path.name: 0o600 for path in log_dir.iterdir()
        }
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (log_dir, log_dir.parent)} == {0o700}


def test_the_command_line_s_logs_are_their_owner_s_too(tmp_path: Path) -> None:
    """A new folder for logs is its owner's only, and an existing one stays unchanged."""
    require_log_dir(tmp_path / "logs")
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    tmp_path.chmod(0o755)
    require_log_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_no_link_leads_a_log_elsewhere(tmp_path: Path) -> None:
    """A link in the place of a log is refused."""
    (tmp_path / "start.log").symlink_to(tmp_path / "victim")
    with pytest.raises(Misuse, match=r"start\.log is a link"):
        require_log_dir(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        append_to(tmp_path / "start.log")
    assert not (tmp_path / "victim").exists()


def test_logs_stay_out_of_a_repository(tmp_path: Path) -> None:
    """The folder that is made in a working folder is ignored by git."""
    make_folder(tmp_path / OWN_FOLDER / "logs" / "now")
    assert (tmp_path / OWN_FOLDER / ".gitignore").read_text() == "*\n"
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.rglob("*") if one.is_dir()} == {0o700}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Yield a whole platform with the real functions."""
    with LocalPlatform(PlatformOptions(log_dir=tmp_path_factory.mktemp("logs"))) as platform:
        yield platform


def asked(url: str, headers: Mapping[str, str], body: str = FLOW) -> tuple[int, Mapping[str, str]]:
    """Post to a server by its address, and return status and headers.

    The headers that are sent may name another host.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("POST", urlsplit(url).path or "/", body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test", "Content-Type": "text/plain"},
        {"Origin": "null", "Content-Type": "application/json"},
        {"Host": "evil.test", "Origin": "http://evil.test", "Content-Type": "application/json"},
        {"Host": "evil.test:80", "Content-Type": "application/json"},
    ],
    ids=["a page's form", "a page of no origin", "a page of a rebound name", "a rebound name alone"],
)
def test_no_web_page_reaches_a_part(platform: LocalPlatform, headers: Mapping[str, str]) -> None:
    """Every HTTP server of the platform refuses a web page's requests."""
    addresses = [*(one for one in platform.addresses.values() if one.startswith("http")), platform.pubsub_url]
    assert len(addresses) == len({"start", "dispatcher", "checker", "task-runner", "storage", "pubsub's REST"})
    for address in addresses:
        status, answered = asked(address, headers)
        assert status == HTTPStatus.FORBIDDEN, address
        assert not any(name.startswith("access-control") for name in answered)


def test_a_caller_on_this_machine_is_served(platform: LocalPlatform) -> None:
    """A start in JSON is accepted under each of this machine's names."""
    start = platform.addresses[PartName.START]
    port = urlsplit(start).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert asked(start, {"Host": host, "Content-Type": "application/json"})[0] == HTTPStatus.ACCEPTED
        assert asked(start, {"Host": host, "Content-Type": "text/plain"})[0] == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("length", ["-1", "+5", "0x10", "\u0663".encode().decode("latin-1"), "9" * 30, "ten"])
def test_a_length_is_a_length(platform: LocalPlatform, length: str) -> None:
    """A publish request with an invalid length is refused."""
    path = f"{platform.pubsub_url}/v1/projects/{platform.options.project}/topics/start:publish"
    headers = {"Content-Length": length, "Content-Type": "application/json"}
    assert asked(path, headers, "{}")[0] == HTTPStatus.BAD_REQUEST


def test_deep_json_is_no_publish_request(platform: LocalPlatform) -> None:
    """A publish request that is nested deeply is refused."""
    path = f"{platform.pubsub_url}/v1/projects/{platform.options.project}/topics/start:publish"
    deep = '{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}"
    assert asked(path, {"Content-Type": "application/json"}, deep)[0] == HTTPStatus.BAD_REQUEST
