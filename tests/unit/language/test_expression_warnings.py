"""Valid files are warned of what nothing reads, of shell commands with expressions, and of secrets in tasks."""

from __future__ import annotations

import pytest

from atom_workflows.language.parser import parse_workflow


def _warnings(text: str) -> tuple[str, ...]:
    return parse_workflow(text, filename="f.yaml").warnings


_SHELL = (
    "an expression inside a shell command: a quote in its value would become code; "
    """pass it as an argument: ["sh", "-c", "load \\"$1\\"", "-", "${{ … }}"]"""
)


@pytest.mark.parametrize(
    "args",
    [
        '[sh, -c, "load ${{ run.id }}"]',
        '[/bin/bash, -ec, "${{ run.id }}"]',
        '[-c, "load ${{ run.id }}"]',
        "[\"bash -lc 'load ${{ run.id }}'\"]",
        '{command: "sh -c load ${{ run.id }}"}',
    ],
)
def test_an_expression_in_a_shell_command_is_warned_of(args: str) -> None:
    """The warning is at the expression, and says how to pass the value instead."""
    text = f"steps:\n- id: a\n  task:\n    imageUri: x\n    args:\n     {args}"
    assert _warnings(text) == (f"f.yaml:6:{args.index('run.id') + 6}: {_SHELL}",)


@pytest.mark.parametrize(
    "args",
    [
        '[sh, -c, "load \\"$1\\"", "-", "${{ run.id }}"]',
        '[python, -c, "${{ run.id }}"]',
        '[sh, load.sh, "${{ run.id }}"]',
        '[--config, "${{ run.id }}"]',
        '["sh", "-c", "load"]',
    ],
)
def test_an_argument_of_a_shell_command_is_right(args: str) -> None:
    """Expressions that are arguments of their own are safe."""
    assert _warnings(f"steps: [{{id: a, task: {{imageUri: x, args: {args}}}}}]") == ()


def test_what_nothing_reads_is_warned_of() -> None:
    """Params and outputs that no expression reads are named, at their names."""
    text = """
params:
  used: 1
  unused: 1
  in-default: 1
  computed: {type: int, default: "${{ params.in-default }}"}
steps:
  - id: a
    task: {imageUri: x, args: ["${{ params.used }}", "${{ params.computed }}"]}
    outputs: {read: {n: int}, unread: int}
  - id: b
    dependsOn: a
    task: {imageUri: x, args: ["${{ steps.a.outputs.read.n }}"]}
    outputs: {any: int, other: int}
  - id: c
    dependsOn: b
    task: {imageUri: x, args: ["${{ json(steps.b.outputs) }}"]}
"""
    assert _warnings(text) == (
        "f.yaml:4:3: the parameter `unused` is never read; remove it, or use it",
        "f.yaml:10:31: the output `unread` is never read; remove it, or use it",
    )


def test_the_params_as_a_whole_are_all_read() -> None:
    """An expression that reads `params` reads all of them."""
    assert _warnings('params: {a: 1}\nsteps: [{id: a, task: {url: u, args: ["${{ json(params) }}"]}}]') == ()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("token=ya29.a0AfH6SMBx1234567890abcdef", "a Google access token"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "a Google API key"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "a GitHub token"),
        ("AKIAIOSFODNN7EXAMPLE", "an AWS access key"),
        ("xoxb-1234567890-abc", "a Slack token"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl", "a signed token"),
    ],
)
def test_a_secret_in_a_task_is_warned_of(text: str, kind: str) -> None:
    """Values of tasks that look like secrets were valid before, so they have a warning only."""
    (warning,) = _warnings(f"steps: [{{id: a, task: {{url: u, args: ['{text}']}}}}]")
    assert warning.startswith(f"f.yaml:1:39: this looks like {kind}")


@pytest.mark.parametrize("text", ["eyJ", "ghost_town", "AKIA", "BEGIN", "ya29.", "keyJar.eyJ"])
def test_a_text_like_others_is_no_secret(text: str) -> None:
    """A prefix alone makes no secret."""
    assert _warnings(f"steps: [{{id: a, task: {{url: u, args: ['{text}']}}}}]") == ()
