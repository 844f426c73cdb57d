"""The process: exit codes, signals and a closed pipe. The commands are in commands.py."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

_INTERRUPTED: Final = 130
_TERMINATED: Final = 128 + signal.SIGTERM
_BROKEN_PIPE: Final = 128 + 13


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    try:
        import click  # noqa: PLC0415 (an extra: said in a sentence if it is missing)

        from atom_workflows.cli.commands import cli  # noqa: PLC0415 (likewise)
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {error}; install the command line with `pip install 'atom-workflows[local]'`")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = cli.main(prog_name="atom-workflows", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        _nobody_reads()
    sys.exit(code)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Leave every block, so that a platform is stopped, as on Ctrl-C."""
    sys.exit(_TERMINATED)


def _nobody_reads() -> NoReturn:
    """The reader has gone (`| head`): what is still to be written when Python exits goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(_BROKEN_PIPE)
