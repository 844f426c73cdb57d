"""What the command line writes where not every sign can be written, or where no one listens."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import NoReturn

import click
import pytest
from rich.console import Console

from atom_client.__main__ import main
from atom_client.cli.output import screen_of
from atom_client.cli.streams import encodable, prepare_streams
from unit.client.test_commands import FORK_JOIN

TEXT = "→ naïve ✗ \udcff 日 …"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", rb"-> na\xefve \u2717 \udcff \u65e5 ..."),
        ("latin-1", b"-> na\xefve \\u2717 \\udcff \\u65e5 ..."),
        ("cp1252", b"-> na\xefve \\u2717 \\udcff \\u65e5 \x85"),
        ("utf-8", "→ naïve ✗ \\udcff 日 …".encode()),
    ],
)
@pytest.mark.parametrize(("name", "other"), [("stdout", "stderr"), ("stderr", "stdout")])
def test_what_an_encoding_lacks_is_spelt_out(
    encoding: str, written: bytes, name: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs that the stream's encoding lacks are spelt out, and measured so."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, other, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    prepare_streams()
    click.echo(TEXT, err=name == "stderr")
    console = Console(stderr=name == "stderr", width=200)
    console.print(TEXT, markup=False, highlight=False)
    getattr(sys, name).flush()
    assert raw.getvalue().splitlines() == [written, written]
    assert encodable(TEXT, screen_of(console).encoding).encode(encoding) == written


@pytest.mark.parametrize(("streams", "code"), [("<&- >&- 2>&-", 0), (">/dev/full", 1)])
def test_a_stream_that_is_closed_or_full_is_no_defect(streams: str, code: int) -> None:
    """Closed or full streams cause no traceback."""
    entry = "from atom_client.__main__ import main; main()"
    line = f'"$0" -c "{entry}" validate "$1" {streams}'
    done = subprocess.run(["sh", "-c", line, sys.executable, FORK_JOIN], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == ("Error: No space left on device\n" if code else "")


def test_ctrl_c_during_the_imports_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the commands are imported ends the program as it does later, without a traceback."""

    class Interrupted:
        def __getattr__(self, _: str) -> NoReturn:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "atom_client.cli.commands", Interrupted())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
