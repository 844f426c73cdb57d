"""The platform that most scenarios share: started once for each kind of backend.

It ends with this folder's tests: others count the processes and threads that they find.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.backends import BACKENDS, site_on
from e2e.site import Site


@pytest.fixture(scope="package", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """A kind of Firestore and Pub/Sub."""
    return str(request.param)


@pytest.fixture(scope="package")
def shared_site(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A platform for all."""
    with site_on(backend, tmp_path_factory.mktemp("platform")) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Site:
    """The shared platform, whose mock succeeds at once with every job until it is told otherwise."""
    shared_site.script("{}")
    return shared_site
