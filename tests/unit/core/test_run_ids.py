"""Run ids and the workflow label."""

from __future__ import annotations

import re

import pytest

from atom_workflows.core.run_ids import DIGEST_LENGTH, MAX_LABEL_LENGTH, run_id_for, workflow_label


def test_the_same_trigger_gives_the_same_run() -> None:
    """A redelivered event names the run that it started before."""
    assert run_id_for("gs://b/flow.yaml", "object", "1") == run_id_for("gs://b/flow.yaml", "object", "1")


def test_another_generation_is_another_run() -> None:
    """Uploading again starts again."""
    assert run_id_for("gs://b/flow.yaml", "object", "1") != run_id_for("gs://b/flow.yaml", "object", "2")


def test_parts_of_a_trigger_cannot_be_shifted_into_each_other() -> None:
    """`("a", "bc")` and `("ab", "c")` are different triggers."""
    assert run_id_for("f", "a", "bc") != run_id_for("f", "ab", "c")


@pytest.mark.parametrize("path", ["gs://b/Ünï code/../flow.yaml", "", "/", "x" * 500 + ".yaml", "__x__", "a\nb.json"])
def test_any_path_gives_a_document_id(path: str) -> None:
    """Any path gives a short, valid document id."""
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", run_id_for(path, "k"))


@pytest.mark.parametrize(
    ("path", "run_id"),
    [("gs://b/Daily Sales v1.2.yaml", "daily-sales-v1-2-"), ("umsätze.yaml", "ums-tze-"), ("a_b.yaml", "a-b-")],
)
def test_a_run_id_does_not_follow_the_label(path: str, run_id: str) -> None:
    """Run ids stayed the same when labels were made valid."""
    assert run_id_for(path, "k")[:-DIGEST_LENGTH] == run_id


@pytest.mark.parametrize(
    ("path", "label"),
    [
        *(
            ("gs://b/dags/Fork_Join.yaml", "fork_join"),
            ("flow.yml", "flow"),
            ("a.JSON", "a"),
            ("-a--b_.yaml", "-a--b_"),
        ),
        ("x" * MAX_LABEL_LENGTH + ".yaml", "x" * MAX_LABEL_LENGTH),
    ],
)
def test_the_label_is_the_file_name_in_lower_case(path: str, label: str) -> None:
    """The label is the file's name in lower case without its extension."""
    assert workflow_label(path) == label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        *(("Daily Sales v1.2.yaml", "daily-sales-v1-2"), ("umsätze.yaml", "umsatze"), ("a.b.json", "a-b")),
        *(("Straße & Söhne.yaml", "strasse-sohne"), ("売上.yaml", "workflow"), ("", "workflow"), (".yaml", "workflow")),
        *(("x" * 500 + ".yaml", "x" * MAX_LABEL_LENGTH), ("a\nb.json", "a-b"), ("gs://b/", "b")),
    ],
)
def test_a_label_that_google_refuses_is_made_valid(path: str, label: str) -> None:
    """A label is made valid for Google Cloud."""
    assert workflow_label(path) == label
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", label)
