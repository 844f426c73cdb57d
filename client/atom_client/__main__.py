"""The program's entry point, which handles exit codes, signals and closed pipes.

The commands are in atom_client/cli/commands.py.
"""

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
_END_SIGNALS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # Windows has no SIGHUP


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    prepare_streams()
    try:
        import click  # noqa: PLC0415 (an optional dependency, whose absence is reported)

        from atom_client.cli.commands import cli  # noqa: PLC0415 (needs click, an optional dependency)
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {error}; install the command line with `pip install 'atom-workflows[local]'`")
    except KeyboardInterrupt:  # The imports take a moment.
        sys.exit(_INTERRUPTED)
    # SIGTERM and SIGHUP stop a platform as Ctrl-C does. An ignored signal stays ignored, which `nohup` relies on.
    for signum in _END_SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _exit_on_signal)
    try:
        code = cli.main(prog_name="atom-workflows", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(clean(shown.getvalue()), err=True, nl=False)  # Click quotes arguments without escaping them.
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        discard_output()  # The pipe's reader has closed it, as `| head` does.
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        discard_output()
        sys.exit(f"Error: the output could not be written: {error.strerror or error}")
    sys.exit(code)


def _exit_on_signal(signum: int, _frame: FrameType | None) -> NoReturn:
    """Exit by raising, so that every open `with` block cleans up."""
    # When a terminal closes, both the kernel and the shell may send a signal. The second must not disrupt the cleanup.
    for one in _END_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    sys.exit(_SIGNALLED + signum)


if __name__ == "__main__":
    main()
