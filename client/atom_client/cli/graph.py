"""`graph`: draw the steps of a workflow file or of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from atom_client.cli.output import Output
from atom_client.cli.sources import STDIN, content_of, shown_name
from atom_client.errors import INVALID_USE, Failure, Misuse
from atom_client.graph.picture import Picture, picture_file, picture_run
from atom_client.text import counted, name_of
from atom_client.views.checked_files import CheckedFile, text_lines
from atom_client.views.run_references import is_file, require_run
from atom_workflows.errors import RunNotFound
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow

if TYPE_CHECKING:
    from atom_client.graph.text import Part
    from atom_workflows.coordinator.services import Services

TEXT: Final = "text"
MERMAID: Final = "mermaid"
SVG: Final = "svg"

_NOT_DRAWN: Final = frozenset(
    (".png", ".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ps", ".eps", ".dot")
)
"""The file extensions of formats that this command cannot draw."""

_WORKFLOWS: Final = frozenset((".yaml", ".yml", ".json"))
"""The file extensions of workflow files, which a picture must not replace."""

_BY_ENDING: Final = {".svg": SVG, ".mmd": MERMAID, ".mermaid": MERMAID}


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """The options that the user gave.

    Without `form`, the file extension of `output` determines the format; without `output`, the picture is printed.
    """

    source: str
    form: str | None = None
    output: str | None = None

    @property
    def chosen_form(self) -> str:
        """The format to draw in."""
        return self.form or _BY_ENDING.get(self.ending, TEXT)

    @property
    def ending(self) -> str:
        """The file extension of the output, such as `.svg`."""
        return "" if self.output is None else os.path.splitext(self.output)[1].lower()  # noqa: PTH122 (a Path would refuse some names)


def names_run(source: str) -> bool:
    """Return True if the user means a run.

    This is the case if no file has this name, and the name does not look like a file name.
    """
    if not source.strip() or source == STDIN or is_file(source):
        return False
    return is_folder(source) or not os.path.exists(source)  # noqa: PTH110 (Path would raise for some names)


def is_folder(source: str) -> bool:
    """Return True if this is the name of a folder."""
    return os.path.isdir(source)  # noqa: PTH112 (Path would raise for some names)


def require_drawn_format(options: GraphOptions) -> None:
    """Refuse an output whose file extension names an unsupported format."""
    if options.ending in _WORKFLOWS:
        raise Misuse(
            f"--output {name_of(options.output)} is not written: {options.ending} files hold workflows; name a picture "
            "that ends in .svg, .mmd or .txt"
        )
    if options.ending in _NOT_DRAWN:
        raise Misuse(
            f"--output {name_of(options.output)} cannot be written: graph draws SVG (.svg), Mermaid source (.mmd) and "
            f"text (.txt), but not {options.ending}"
        )


def draw_file(options: GraphOptions) -> int:
    """Draw a workflow file and return the exit code.

    The problems of an invalid file are printed instead.
    """
    if is_folder(options.source):
        raise Misuse(f"{name_of(options.source)} is a folder; name a workflow file in it")
    _require_other_file(options)
    content = content_of(options.source)
    try:
        workflow = parse_workflow(content, filename=shown_name(options.source))
    except InvalidWorkflow as error:
        checked = CheckedFile(name=shown_name(options.source), content=content, problems=error.problems)
        click.echo("\n".join(text_lines(checked)), err=True)
        return INVALID_USE
    _show(picture_file(workflow), options)
    return 0


def _require_other_file(options: GraphOptions) -> None:
    """Refuse to write a picture over the workflow itself."""
    try:
        is_same = options.output is not None and os.path.samefile(options.source, options.output)  # noqa: PTH121 (Path would raise for some names)
    except (OSError, ValueError):
        return
    if is_same:
        raise Misuse(f"--output {name_of(options.output)} is the workflow file itself; name another file")


def draw_run(services: Services, options: GraphOptions) -> None:
    """Draw a run with the states of its steps."""
    from atom_client.graph.reading import read_nodes_to_draw  # noqa: PLC0415 (needed for runs only)
    from atom_client.views.items import read_loops  # noqa: PLC0415 (likewise)

    try:
        run = require_run(services.store, options.source)
    except RunNotFound as error:
        if not is_folder(options.source):
            raise
        named = name_of(options.source)
        raise Misuse(f"{named} is a folder, and there is no run {named}; name a workflow file or a run") from error
    nodes = read_nodes_to_draw(services.store, run)
    picture = picture_run(run, nodes, read_loops(services.store, run, nodes))
    if not picture.steps:
        from atom_client.views.summary import verdict  # noqa: PLC0415 (only needed here)

        none_yet = [] if run.state.is_terminal else ["Its steps have not been created yet."]
        raise Failure("\n".join([*verdict(run, (), now=services.clock.now()), *none_yet]))
    if len(picture.steps) < run.step_count:
        missing = counted(run.step_count - len(picture.steps), "step")
        because = "either not created yet or already deleted"
        click.echo(f"Warning: the picture lacks {missing} of the run, {because}", err=True)
    _show(picture, options)


def _show(picture: Picture, options: GraphOptions) -> None:
    """Print the picture, or write it to a file."""
    form = options.chosen_form
    if form == TEXT:
        _show_text(picture, options.output)
        return
    # Each format is loaded only when it is drawn.
    from atom_client.graph import mermaid, svg  # noqa: PLC0415 (see above)

    drawn = svg.draw_svg(picture) if form == SVG else mermaid.draw_mermaid(picture)
    if options.output is None:
        click.echo(drawn, nl=False)
    else:
        _write(options.output, drawn)
    if form == MERMAID and mermaid.exceeds_usual_limits(picture, drawn):
        click.echo(
            f"Warning: by default, Mermaid refuses to draw more than {mermaid.MOST_EDGES} arrows or "
            f"{mermaid.MOST_CHARACTERS:,} characters; use --format svg, or raise maxEdges and maxTextSize in its "
            "settings",
            err=True,
        )


def _show_text(picture: Picture, path: str | None) -> None:
    from atom_client.graph.text import SIGNS, Style, draw_text  # noqa: PLC0415 (see above)

    output = Output()
    if path is not None:
        _write(path, "".join(f"{_plain(line)}\n" for line in draw_text(picture, Style())))
    elif output.is_terminal:
        from rich.text import Text  # noqa: PLC0415 (needed on terminals only)

        from atom_client.cli.tables import COLORS  # noqa: PLC0415 (likewise)

        console = output.console()
        style = Style(width=console.width, is_ascii=not output.takes(SIGNS), wraps=True)
        for line in draw_text(picture, style):
            parts = ((part.text, COLORS.get(part.state, "")) for part in line)
            console.print(Text.assemble(*parts), soft_wrap=True)
    else:
        for line in draw_text(picture, Style(is_ascii=not output.takes(SIGNS))):
            output.say(_plain(line))


def _plain(line: list[Part]) -> str:
    return "".join(part.text for part in line)


def _write(path: str, text: str) -> None:
    """Write a file, replacing any existing one."""
    if not path:
        raise Misuse("the path given with --output is empty")
    try:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Misuse(f"--output {name_of(path)} cannot be written: {reason}") from error
    except ValueError as error:  # The name contains a null character.
        raise Misuse(f"--output {name_of(path)!r} is not a file name: {error}") from error
    click.echo(f"wrote {name_of(path)}", err=True)
