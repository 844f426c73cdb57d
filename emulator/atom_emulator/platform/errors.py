"""The errors of the platform itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class PlatformError(Exception):
    """The platform cannot start or continue."""


class PartCrashed(PlatformError):
    """A part ended unexpectedly, and the platform was stopped."""

    def __init__(self, part: str, exit_code: int, log_tail: str) -> None:
        how = f"signal {exit_code - 128}" if exit_code > 128 else f"exit code {exit_code}"  # noqa: PLR2004 - as a shell counts
        super().__init__(f"{part} ended with {how}; the end of its log:\n{log_tail}")
        self.part = part
        self.exit_code = exit_code
        self.log_tail = log_tail


class PartNotReady(PlatformError, TimeoutError):
    """A part is running, but did not become ready in time."""

    def __init__(self, part: str, waited_s: float, log_tail: str) -> None:
        super().__init__(f"{part} is not ready after {waited_s:g} s; the end of its log:\n{log_tail}")
        self.part = part
        self.log_tail = log_tail


class PortTaken(PlatformError, OSError):
    """A port that was chosen for a part is in use by another process."""

    def __init__(self, part: str, port: int) -> None:
        super().__init__(f"port {port}, chosen for {part}, is taken by another process")
        self.part = part
        self.port = port


class FunctionsNotFound(PlatformError, FileNotFoundError):
    """No folder contains the functions' sources."""


class EmulatorsMissing(PlatformError, FileNotFoundError):
    """Google's emulators were requested, but something that they need is not installed."""

    def __init__(self, *, java: bool, emulators: Sequence[str]) -> None:
        missing = [*(["Java"] if java else []), *(f"the {name} emulator" for name in emulators)]
        packages = [
            *(["default-jre-headless"] if java else []),
            *(f"google-cloud-cli-{name}-emulator" for name in emulators),
        ]
        components = " ".join({"firestore": "cloud-firestore-emulator"}.get(n, f"{n}-emulator") for n in emulators)
        otherwise = f", or `gcloud components install {components}`" if emulators else ""
        super().__init__(
            f"Google's emulators cannot run, because {' and '.join(missing)} cannot be found. "
            f"Install with `sudo apt-get install {' '.join(packages)}`{otherwise}; "
            "the embedded ones need none of this."
        )


class EmulatorUnreachable(PlatformError, ConnectionError):
    """A server that the platform should use cannot be reached."""

    def __init__(self, name: str, address: str) -> None:
        variable = f"{name.upper()}_EMULATOR_HOST"
        super().__init__(
            f"nothing answers at {address}, where the {name} emulator should be; "
            f"start it, or `unset {variable}` to have one started"
        )


class TopicsMissing(PlatformError, ConnectionError):
    """The Pub/Sub server did not answer, or did not answer as Pub/Sub does."""

    def __init__(self, address: str, said: str) -> None:
        super().__init__(
            f"the server at {address} did not create the platform's topics: {said}. Is it a Pub/Sub server?"
        )


class StorageMissing(PlatformError, FileNotFoundError):
    """No Cloud Storage server is available on this machine, so the platform runs without one."""


class FolderInUse(PlatformError, BlockingIOError):
    """Another platform keeps its history in the same folder."""

    def __init__(self, folder: Path, pid: object, command: object, *, alone: bool) -> None:
        who = (
            f"`{command}` (process {pid})" if isinstance(command, str) and isinstance(pid, int) else "another platform"
        )
        # A run joins a platform that is up, so this one is starting or stopping.
        way_out = "Wait until it has ended, or end it" if alone else "Repeat the command when that is up or has ended"
        super().__init__(
            f"{who} is using {folder}, where the history of this project is kept. {way_out}; "
            "with --in-memory, a platform runs beside it and keeps no history."
        )


class FolderUnusable(PlatformError, OSError):
    """The folder of a project, or a file in it, cannot be written to."""

    def __init__(self, folder: Path, error: OSError) -> None:
        where = error.filename or folder
        super().__init__(
            f"{where} cannot be used: {(error.strerror or str(error)).lower()}. The history of this project is kept in "
            f"{folder}: allow yourself to write there and free some space, or work in another folder; with "
            "--in-memory, a platform runs without a history."
        )


class HistoryUnusable(PlatformError, OSError):
    """The history of a project cannot be read or written."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. Nothing was changed; with --in-memory, a platform runs without a history.")


class ForeignFile(PlatformError):
    """A state file was not made in this folder."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} was not made here: it was copied, or comes from someone else. A platform would go on with what it "
            "contains, which may run programs, or run jobs twice. Remove it to begin anew; with --in-memory, a "
            "platform runs without it."
        )


class RunnerMissing(PlatformError):
    """Open runs were started with a Task Runner other than the one chosen now."""

    def __init__(self, runs: Sequence[str], option: str) -> None:
        one = len(runs) == 1
        which = f"run {runs[0]} is" if one else f"{len(runs)} runs, such as {runs[0]}, are"
        them, their, end = ("it", "its", "ends it") if one else ("them", "their", "ends each")
        super().__init__(
            f"{which} open in the history of this project, and what is left needs {option}, which was not "
            f"chosen. `atom-workflows local up {option}` goes on with {them}, and `atom-workflows runs cancel` "
            f"then {end}; with --cancel-others, `local up` cancels {them} at once, without {their} steps under "
            "`finally`; with --in-memory, a platform runs beside the history."
        )
        self.runs = runs
        self.option = option
