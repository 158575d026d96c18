"""The API servers that the tests of this folder run on."""

from collections.abc import AsyncIterator

import pytest
from tests.cluster import Cluster, backends, double_cluster


@pytest.fixture(params=backends())
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster with a namespace of its own: the double, and a real one where there is one."""
    if request.param == "real":
        async with Cluster(request.getfixturevalue("real_apiserver")) as real:
            yield real
    else:
        async with double_cluster() as double:
            yield double


@pytest.fixture
async def double() -> AsyncIterator[Cluster]:
    """The double alone, for what a real server can't be told to do."""
    async with double_cluster() as cluster:
        yield cluster
