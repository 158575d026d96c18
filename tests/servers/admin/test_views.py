"""servers/admin/views: what is gathered from those who know it."""

import pytest
from msgspec.structs import replace
from tests.servers.admin.site import AdminSite
from tests.unit.known import answered, endpoint, failed, listed, said

from extproc import __version__
from extproc.registry.changes import Failure, Listing, NamesListed, PoolListed
from extproc.telemetry.metrics import SourceState
from extproc.values import admin
from extproc.values.load import Adapters, EngineLoad
from extproc.values.names import Alias, Target


@pytest.fixture
def site() -> AdminSite:
    return AdminSite()


def test_of_an_empty_pool(site: AdminSite) -> None:
    site.now += 7.0
    assert site.views.snapshot() == admin.Snapshot("default/test", __version__, 7.0, 0, 7.0, False, False)


def test_what_is_known_of_the_pool(site: AdminSite) -> None:
    site.is_ready, site.open_streams = True, 3
    site.counted = {("phi", "routed"): 5}
    site.config_file = admin.ConfigFile("x", 1.0)
    site.apply(listed("a"))
    site.journal.note("something")
    site.callers.note(None, is_direct=True, began_at_s=site.now, has_left_early=False)
    site.now += 2.0
    snapshot = site.views.snapshot()
    assert (snapshot.is_ready, snapshot.is_synced, snapshot.version, snapshot.age_s) == (True, True, 1, 2.0)
    assert (snapshot.open_streams, snapshot.outcomes) == (3, (admin.Outcome("phi", "routed", 5),))
    assert (snapshot.config_file, snapshot.changes[0].what, snapshot.callers[0].streams) == (
        site.config_file,
        "something",
        1,
    )


def test_endpoints(site: AdminSite) -> None:
    one = replace(endpoint("a"), node="n", role="decode", engine="vllm")
    site.apply(PoolListed((Listing(one, True, "1"), Listing(endpoint("b"), False, "1"))), answered("a", "phi", "sql"))
    site.now += 1.5
    site.apply(failed("a", Failure.STATUS))
    a, b = site.views.snapshot().endpoints
    assert a == admin.Endpoint(
        "a", "a", one.address, "n", "decode", "vllm", True, True, False, ("phi", "sql"), 1.5, "status by a"
    )
    assert b == admin.Endpoint("b", "b", endpoint("b").address)


def test_a_suspect_still_serves_its_models(site: AdminSite) -> None:
    site.apply(said("a"), said("b"), answered("a", "phi"), answered("b", "phi"), *[failed("b", Failure.CONNECT)] * 3)
    snapshot = site.views.snapshot()
    assert [(each.name, each.is_ready, each.is_suspect) for each in snapshot.endpoints] == [
        ("a", True, False),
        ("b", True, True),
    ]
    [phi] = snapshot.models
    assert phi.endpoints == ("a", "b")


def test_load_and_its_problem(site: AdminSite) -> None:
    site.apply(listed("abc"))
    site.readings = {
        "a": EngineLoad(site.now, 1.0, 2.0, 0.5, Adapters(frozenset({"y", "x"}), frozenset({"z"}))),
        "b": EngineLoad(site.now),
        "gone": EngineLoad(site.now, 9.0),
    }
    site.reading_problems = {"c": "status 404"}
    site.now += 3.0
    a, b, c = site.views.snapshot().endpoints
    assert (a.load, a.load_problem) == (admin.Load(3.0, 1.0, 2.0, 0.5, ("x", "y")), "")
    assert b.load == admin.Load(3.0)
    assert (c.load, c.load_problem) == (None, "status 404")


def test_in_flight_only_where_it_is_exact(site: AdminSite) -> None:
    site.apply(listed("ab"))
    site.in_flight.begin(endpoint("a"))
    assert [each.in_flight for each in site.views.snapshot().endpoints] == [None, None]
    site.in_flight.see()
    assert [each.in_flight for each in site.views.snapshot().endpoints] == [1, 0]


def test_two_endpoints_of_one_name(site: AdminSite) -> None:
    """A pod that was made anew, while its predecessor's end is not known yet: each with what is known of it."""
    old, new = endpoint("a"), replace(endpoint("b"), name="a")
    site.apply(
        PoolListed((Listing(new, True, "1"), Listing(old, True, "1"))), answered("a", "phi"), answered("b", "sql")
    )
    site.readings = {"b": EngineLoad(site.now, 4.0)}
    site.in_flight.see()
    site.in_flight.begin(new)
    snapshot = site.views.snapshot()
    assert [(each.id, each.name, each.models, each.in_flight) for each in snapshot.endpoints] == [
        ("a", "a", ("phi",), 0),
        ("b", "a", ("sql",), 1),
    ]
    assert [each.load and each.load.waiting for each in snapshot.endpoints] == [None, 4.0]
    assert [(each.id, each.endpoints) for each in snapshot.models] == [("phi", ("a",)), ("sql", ("a",))]


def test_models_aliases_and_objectives(site: AdminSite) -> None:
    aliases = (Alias("fast", (Target("phi", 3), Target("sql", 1))),)
    site.apply(listed("ab"), answered("b", "phi"), answered("a", "phi", "sql"), NamesListed(aliases, {"batch": -1}))
    snapshot = site.views.snapshot()
    assert snapshot.models == (admin.Model("phi", "", ("a", "b")), admin.Model("sql", "", ("a",)))
    assert snapshot.aliases == (admin.Alias("fast", (admin.Target("phi", 3), admin.Target("sql", 1))),)
    assert snapshot.objectives == {"batch": -1}


def test_sources(site: AdminSite) -> None:
    site.sources = {"pods": SourceState(True, site.now), "pool": SourceState(False, None, ("there is none",))}
    site.now += 4.0
    assert site.views.snapshot().sources == (
        admin.Source("pods", True, 4.0),
        admin.Source("pool", False, None, ("there is none",)),
    )
