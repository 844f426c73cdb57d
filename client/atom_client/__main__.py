"""The process: exit codes, signals and a closed pipe. The commands are in atom_client/cli/commands.py."""

from __future__ import annotations

import io
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

from atom_client.cli.streams import prepare_streams
from atom_client.text import clean
from atom_workflows.closed_pipe import BROKEN_PIPE, discard_output

_INTERRUPTED: Final = 130
_SIGNALLED: Final = 128
_ENDS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # Windows has no SIGHUP


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    prepare_streams()
    try:
        import click  # noqa: PLC0415 (an extra: said in a sentence if it is missing)

        from atom_client.cli.commands import cli  # noqa: PLC0415 (likewise)
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {error}; install the command line with `pip install 'atom-workflows[local]'`")
    _end_in_order()
    try:
        code = cli.main(prog_name="atom-workflows", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        click.echo(clean(told.getvalue()), err=True, nl=False)  # Click quotes arguments as they came.
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        discard_output()  # The reader has gone (`| head`).
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        discard_output()
        sys.exit(f"Error: the output could not be written: {error.strerror or error}")
    sys.exit(code)


def _end_in_order() -> None:
    """Have SIGTERM, and a terminal that is closed, stop a platform as Ctrl-C does; `nohup` is respected."""
    for signum in _ENDS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _ended)


def _ended(signum: int, _frame: FrameType | None) -> NoReturn:
    """Leave every block."""
    # The kernel and the shell may both tell of a closed terminal: a second signal must not disturb the tidying up.
    for one in _ENDS:
        signal.signal(one, signal.SIG_IGN)
    sys.exit(_SIGNALLED + signum)


if __name__ == "__main__":
    main()
