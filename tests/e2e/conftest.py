"""The platform that most scenarios share, started once for each kind of backend, and how many ran on each.

It ends with this folder's tests: others count the processes and threads that they find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from e2e.backends import BACKENDS, site_on
from e2e.site import Site


@pytest.fixture(scope="package", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """Return a kind of Firestore and Pub/Sub."""
    return str(request.param)


@pytest.fixture(scope="package")
def shared_site(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a platform for all tests."""
    with site_on(backend, tmp_path_factory.mktemp("platform")) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    """Yield the shared platform.

    Its mock succeeds at once with every job until it gets a script.
    """
    shared_site.script("{}")
    return shared_site


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Add its backend to each scenario's report."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "backend" in item.callspec.params:
            item.user_properties.append(("backend", item.callspec.params["backend"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many scenarios ran on each backend."""
    ran, skipped = (_by_backend(terminalreporter, outcomes) for outcomes in (("passed", "failed"), ("skipped",)))
    if ran or skipped:
        lines = [f"{ran[name]} on {name}" for name in BACKENDS]
        lines += [f"{count} skipped on {name}" for name, count in skipped.items()]
        terminalreporter.write_line(f"end-to-end scenarios: {', '.join(lines)}")


def _by_backend(reporter: pytest.TerminalReporter, outcomes: Sequence[str]) -> Counter[str]:
    reports = [report for outcome in outcomes for report in reporter.stats.get(outcome, [])]
    return Counter(dict(report.user_properties)["backend"] for report in reports if report.user_properties)
