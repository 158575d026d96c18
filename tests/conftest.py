"""What tests of several folders start."""

from collections.abc import Iterator

import pytest
from tests.real_apiserver import RealApiServer, assets


@pytest.fixture(scope="session")
def real_apiserver() -> Iterator[RealApiServer]:
    """One real kube-apiserver for the session, for tests that are left out where `KUBEBUILDER_ASSETS` names none."""
    binaries = assets()
    assert binaries is not None
    server = RealApiServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()
