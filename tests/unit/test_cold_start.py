"""Loading modules without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from atom_workflows.cold_start import load_modules


@pytest.fixture(autouse=True)
def _thaw() -> Iterator[None]:
    """Let the collector examine everything again afterwards."""
    yield
    gc.unfreeze()


def test_the_collector_rests_while_modules_are_loaded() -> None:
    """The collector is off within the block, and on again after it."""
    with load_modules():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_never_examined_again() -> None:
    """What was created within the block is exempt from collection, what comes later is not."""
    with load_modules():
        loaded = {"module": [1]}
    later = {"request": [1]}
    tracked = {id(one) for one in gc.get_objects()}
    assert id(loaded) not in tracked
    assert id(later) in tracked


def test_a_module_that_cannot_be_loaded_leaves_the_collector_on() -> None:
    """The collector is on again even if an import fails."""
    with pytest.raises(ImportError), load_modules():
        raise ImportError
    assert gc.isenabled()
