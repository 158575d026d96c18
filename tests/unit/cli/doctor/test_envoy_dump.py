"""What is read out of an Envoy's /config_dump: the routes, and the filters that requests meet on each."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cli.doctor.dumps import ROOT, dump_of, facts_of, yaml_in
from tests.unit.cli.doctor.gateway_facts import evidence, not_ok, snapshot

from extproc.cli.demo.envoy import ISTIO, TRACKING, GatewaySettings, ProcessingMode, envoy_config
from extproc.cli.doctor import envoy_clusters, envoy_filter, envoy_pool, envoy_routes
from extproc.cli.doctor.envoy_admin import read_facts
from extproc.cli.doctor.envoy_dump import read_listeners, read_passages
from extproc.cli.doctor.envoy_facts import Filter, Passage

ENDPOINTS = {"phi-0": "127.0.0.1:8000", "gemma-0": "127.0.0.1:8001"}
GATEWAY = GatewaySettings(endpoints=tuple(ENDPOINTS.values()), picker="127.0.0.1:9002", picker_health_checks=True)
EXT_PROC = "envoy.filters.http.ext_proc"
TYPES = "type.googleapis.com"
PER_ROUTE = f"{TYPES}/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
FILTER_CONFIG = f"{TYPES}/envoy.config.route.v3.FilterConfig"
CHECKS = (envoy_routes.check, envoy_filter.check, envoy_clusters.check, envoy_pool.check)
ISTIO_JSON = ROOT / "tests" / "doctor" / "recorded" / "istio.json"

Edit = Callable[[Any, Any, Any], object]
"""Of the connection manager, its ext_proc filter and its route."""


def bootstrap(edit: Edit = lambda *_: None, *, settings: GatewaySettings = GATEWAY) -> Any:
    config: Any = copy.deepcopy(envoy_config(settings))
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]
    edit(manager, manager["http_filters"][0], route)
    return config


def passages(edit: Edit = lambda *_: None) -> list[Passage]:
    return list(read_passages(dump_of(bootstrap(edit))))


def read_filter(**fields: Any) -> Filter:
    """The filter with these fields and no others."""

    def edit(manager: Any, http_filter: Any, route: Any) -> None:
        http_filter["typed_config"] = {"@type": http_filter["typed_config"]["@type"], **fields}

    [passage] = passages(edit)
    [found] = passage.filters
    return found


DEFAULT = Filter(name=EXT_PROC, cluster="")
MODE = "processing_mode"
FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "cluster": ({"grpc_service": {"envoy_grpc": {"cluster_name": "p"}}}, {"cluster": "p"}),
    "another gRPC": ({"grpc_service": {"google_grpc": {"target_uri": "p:9002"}}}, {}),
    "request headers": ({MODE: {"request_header_mode": "SKIP"}}, {"sends_request_headers": False}),
    "request headers by default": ({MODE: {"request_header_mode": "DEFAULT"}}, {}),
    "request body": ({MODE: {"request_body_mode": "BUFFERED"}}, {"request_body": "BUFFERED"}),
    "a body mode of the future": ({MODE: {"request_body_mode": "TELEPATHIC"}}, {}),
    "body early": ({"send_body_without_waiting_for_header_response": True}, {"sends_body_early": True}),
    "response headers": ({MODE: {"response_header_mode": "SKIP"}}, {"sends_response_headers": False}),
    "response body": ({MODE: {"response_body_mode": "STREAMED"}}, {"response_body": "STREAMED"}),
    "response trailers": ({MODE: {"response_trailer_mode": "SEND"}}, {"sends_response_trailers": True}),
    "message timeout": ({"message_timeout": "1.500s"}, {"message_timeout_s": 1.5}),
    "mode override": ({"allow_mode_override": True}, {"allows_mode_override": True}),
    "open": ({"failure_mode_allow": True}, {"fails_open": True}),
    "status by name": ({"status_on_error": {"code": "BadGateway"}}, {"status_on_error": "BadGateway"}),
    "status by number": ({"status_on_error": {"code": 504}}, {"status_on_error": "504"}),
    "metadata": ({"metadata_options": {"receiving_namespaces": {"untyped": ["a", "b"]}}}, {"receives": ("a", "b")}),
    "metadata sent only": ({"metadata_options": {"forwarding_namespaces": {"untyped": ["a"]}}}, {}),
    "observability": ({"observability_mode": True}, {"is_observing": True}),
    "retries": ({"grpc_service": {"retry_policy": {}}}, {"retries_stream": True}),
    "rules that allow all": ({"mutation_rules": {"allow_all_routing": True}}, {}),
    "rules that forbid all": ({"mutation_rules": {"disallow_all": True}}, {"forbids_pick": True}),
    "rules that forbid ours": (
        {"mutation_rules": {"disallow_expression": {"regex": "x-gateway-.*"}}},
        {"forbids_pick": True},
    ),
    "rules that forbid others": ({"mutation_rules": {"disallow_expression": {"regex": "x-gateway"}}}, {}),
    "rules that forbid all but ours": (
        {"mutation_rules": {"disallow_all": True, "allow_expression": {"regex": "x-gateway-destination-endpoint"}}},
        {},
    ),
    "rules that Python cannot read": ({"mutation_rules": {"disallow_expression": {"regex": r"\pN("}}}, {}),
}


@pytest.mark.parametrize(("fields", "want"), FIELDS.values(), ids=FIELDS)
def test_a_filter(fields: dict[str, Any], want: dict[str, Any]) -> None:
    assert read_filter(**fields) == replace(DEFAULT, **want)


def test_the_demos_gateway() -> None:
    [passage] = passages()
    assert passage == Passage(
        where="gateway: route / of all",
        stat_prefix="gateway",
        filters=(
            Filter(
                name=EXT_PROC,
                cluster="picker",
                request_body="FULL_DUPLEX_STREAMED",
                sends_response_headers=False,
                message_timeout_s=5.0,
                status_on_error="503",
                receives=("envoy.lb",),
            ),
        ),
        cluster="pool",
        timeout_s=0.0,
        buffer_limit_bytes=32 << 20,
    )


def per_filter(**override: Any) -> Any:
    return {"typed_per_filter_config": {EXT_PROC: override}}


OVERRIDE = per_filter(**{"@type": PER_ROUTE, "overrides": {"failure_mode_allow": True}})
DISABLED = per_filter(**{"@type": PER_ROUTE, "disabled": True})
WRAPPED = per_filter(
    **{"@type": FILTER_CONFIG, "config": {"@type": PER_ROUTE, "overrides": {"failure_mode_allow": True}}}
)
WRAPPED_EMPTY = per_filter(**{"@type": FILTER_CONFIG, "config": {}})
WRAPPED_DISABLED = per_filter(**{"@type": FILTER_CONFIG, "config": {"@type": PER_ROUTE, "disabled": True}})
WRAPPED_OFF = per_filter(**{"@type": FILTER_CONFIG, "disabled": True})


def _is_off(manager: Any, http_filter: Any, route: Any) -> None:
    http_filter["disabled"] = True


def _at(level: str, config: Any, *, is_off: bool = False) -> Edit:
    def edit(manager: Any, http_filter: Any, route: Any) -> None:
        if is_off:
            http_filter["disabled"] = True
        host = manager["route_config"]["virtual_hosts"][0]
        {"routes": manager["route_config"], "host": host, "route": route}[level].update(config)

    return edit


def _both(first: Edit, second: Edit) -> Edit:
    return lambda *parts: (first(*parts), second(*parts))


OVERRIDES: dict[str, tuple[Edit, list[bool]]] = {
    "as the listener has it": (lambda *_: None, [False]),
    "off": (_is_off, []),
    "overridden by the route": (_at("route", OVERRIDE), [True]),
    "overridden by the host": (_at("host", OVERRIDE), [True]),
    "overridden by all routes": (_at("routes", OVERRIDE), [True]),
    "of another filter": (_at("route", {"typed_per_filter_config": {"other": DISABLED}}), [False]),
    "off, on by the route": (_at("route", OVERRIDE, is_off=True), [True]),
    "off, on by a wrapper": (_at("route", WRAPPED, is_off=True), [True]),
    "off, on by an empty wrapper": (_at("route", WRAPPED_EMPTY, is_off=True), [False]),
    "off by the route": (_at("route", DISABLED), []),
    "off by what is in a wrapper": (_at("route", WRAPPED_DISABLED), []),
    "off by a wrapper": (_at("route", WRAPPED_OFF), []),
    "off by the host, on by the route": (_both(_at("host", DISABLED), _at("route", OVERRIDE)), [True]),
    "on by the host, off by the route": (_both(_at("host", OVERRIDE), _at("route", DISABLED)), []),
}


@pytest.mark.parametrize(("edit", "want"), OVERRIDES.values(), ids=OVERRIDES)
def test_what_a_route_changes(edit: Edit, want: list[bool]) -> None:
    """`want`: for each filter in force, whether it fails open, as the override says."""
    [passage] = passages(edit)
    assert [each.fails_open for each in passage.filters] == want


def _weigh(manager: Any, http_filter: Any, route: Any) -> None:
    del route["route"]["cluster"]
    route["route"]["weighted_clusters"] = {
        "clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1, **DISABLED}]
    }


@pytest.mark.parametrize(
    ("edit", "is_set"),
    [
        (lambda m, f, route: route["route"].pop("timeout"), False),
        (lambda m, f, route: route["route"].update(timeout="15s"), True),
    ],
    ids=["by default", "by the route"],
)
def test_who_says_how_long_an_answer_may_take(edit: Edit, is_set: bool) -> None:
    assert [(each.timeout_s, each.sets_timeout) for each in passages(edit)] == [(15, is_set)]


ROUTES: dict[str, tuple[Edit, list[tuple[str, str, float, int]]]] = {
    "a prefix": (lambda *_: None, [("route / of all", "pool", 0, 0)]),
    "a name": (lambda m, f, route: route.update(name="llm"), [("route llm of all", "pool", 0, 0)]),
    "a path": (lambda m, f, route: route.update(match={"path": "/v1"}), [("route /v1 of all", "pool", 0, 0)]),
    "a pattern": (
        lambda m, f, route: route.update(match={"safe_regex": {"regex": "/v.*"}}),
        [("route /v.* of all", "pool", 0, 0)],
    ),
    "the default time": (lambda m, f, route: route["route"].pop("timeout"), [("route / of all", "pool", 15, 0)]),
    "a time": (lambda m, f, route: route["route"].update(timeout="90s"), [("route / of all", "pool", 90, 0)]),
    "retries": (
        lambda m, f, route: route["route"].update(retry_policy={"retry_on": "reset", "num_retries": 3}),
        [("route / of all", "pool", 0, 3)],
    ),
    "retries by default": (
        lambda m, f, route: route["route"].update(retry_policy={"retry_on": "reset"}),
        [("route / of all", "pool", 0, 1)],
    ),
    "retries on nothing": (
        lambda m, f, route: route["route"].update(retry_policy={"num_retries": 3}),
        [("route / of all", "pool", 0, 0)],
    ),
    "retries of the host": (
        lambda m, f, route: m["route_config"]["virtual_hosts"][0].update(retry_policy={"retry_on": "reset"}),
        [("route / of all", "pool", 0, 1)],
    ),
    "an answer of Envoy's": (
        lambda m, f, route: route.update(direct_response={"status": 200}) or route.pop("route"),
        [],
    ),
    "a cluster by a header": (
        lambda m, f, route: route.update(route={"cluster_header": "x", "timeout": "0s"}),
        [("route / of all", "", 0, 0)],
    ),
    "weighted clusters": (_weigh, [("route / of all", "a", 0, 0), ("route / of all", "b", 0, 0)]),
}


@pytest.mark.parametrize(("edit", "want"), ROUTES.values(), ids=ROUTES)
def test_a_route(edit: Edit, want: list[tuple[str, str, float, int]]) -> None:
    found = [(each.where, each.cluster, each.timeout_s, each.retries) for each in passages(edit)]
    assert found == [(f"gateway: {where}", cluster, timeout_s, retries) for where, cluster, timeout_s, retries in want]


def test_each_weighted_cluster_has_its_own_filters() -> None:
    assert [len(passage.filters) for passage in passages(_weigh)] == [1, 0]


def test_listeners_of_every_kind() -> None:
    config = bootstrap()
    [listener] = config["static_resources"]["listeners"]
    del listener["per_connection_buffer_limit_bytes"]
    listener["default_filter_chain"] = listener.pop("filter_chains")[0]
    dump = dump_of(config)
    dump["configs"][0]["dynamic_listeners"] = [
        {"name": "new", "active_state": {"listener": listener | {"name": "new"}}},
        {"name": "not yet", "warming_state": {"listener": listener}},
    ]
    assert [each["name"] for each in read_listeners(dump)] == ["gateway", "new"]
    found = list(read_passages(dump))
    assert [each.where for each in found] == ["gateway: route / of all", "new: route / of all"]
    assert {each.buffer_limit_bytes for each in found} == {1 << 20}


def test_what_is_discovered() -> None:
    """As a real Envoy told it: everything comes from a control plane. Source: tests/doctor/record.py."""
    facts = read_facts("http://envoy:15000", **json.loads(ISTIO_JSON.read_text()))
    [passage] = facts.passages
    picker = "outbound|9002||extproc.extproc.svc.cluster.local"
    assert passage.where == "gateway: route extproc.llm.0 of all"
    assert [(each.name, each.cluster) for each in passage.filters] == [(EXT_PROC, picker)]
    assert passage.filters[0].message_timeout_s == 1000
    assert facts.version == "1.40.0"
    assert [member.address for member in facts.clusters[picker].members] == ["10.0.0.9:9002"]
    assert facts.cluster_stat(picker, "membership_total") == 1
    given = evidence(facts, seen=snapshot(endpoints={"phi-0": "10.0.0.1:8000"}), server={"secureServing": False})
    found = {name: said for check in CHECKS for name, said in not_ok(check, given).items()}
    assert {name: state for name, (state, _) in found.items()} == {
        "Envoy: status without a picker": "warning",
        "Envoy: how its streams went": "not checked",
    }


def _demo(mode: ProcessingMode, **fields: Any) -> Any:
    return bootstrap(settings=replace(GATEWAY, processing_mode=mode, **fields))


PODS = {"pool": tuple(ENDPOINTS.values()), "picker": ("127.0.0.9:9002",)}
RESPONSES_FOLLOWED = {"envoy": {"responsePhase": "track", "fallbackEndpoints": 2}}
GOOD: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    "the demo": (_demo(ProcessingMode()), {}, set()),
    "the demo, tracking": (_demo(TRACKING), {"envoy": {"responsePhase": "track"}}, set()),
    "the demo, as Istio": (_demo(ISTIO, pick_from="metadata"), {}, set()),
    "docs/envoy.md": (yaml_in("docs/envoy.md"), {"envoy": {"fallbackEndpoints": 1}}, set()),
    "manifests/envoy": (yaml_in("manifests/envoy/envoy.yaml"), {"envoy": {"fallbackEndpoints": 2}}, set()),
    "manifests/envoy-tracking": (yaml_in("manifests/envoy-tracking/envoy.yaml"), RESPONSES_FOLLOWED, set()),
}


@pytest.mark.parametrize(("config", "settings", "warnings"), GOOD.values(), ids=GOOD)
def test_nothing_is_found_in_what_we_give_away(config: Any, settings: dict[str, Any], warnings: set[str]) -> None:
    facts = facts_of(config, members=PODS)
    given = evidence(facts, seen=snapshot(endpoints=ENDPOINTS), **settings | {"server": {"secureServing": False}})
    found = {name: said for check in CHECKS for name, said in not_ok(check, given).items()}
    found.pop("Envoy: how its streams went")
    assert found.keys() == warnings


@pytest.mark.parametrize(
    "dump",
    [{}, {"configs": []}, {"configs": [{"@type": "x.ListenersConfigDump", "static_listeners": [{}]}]}],
    ids=["empty", "no configs", "an empty listener"],
)
def test_a_dump_with_nothing_in_it(dump: Any) -> None:
    assert list(read_passages(dump)) == []


def test_a_dump_is_not_changed() -> None:
    dump = dump_of(bootstrap(_at("route", OVERRIDE)))
    before = copy.deepcopy(dump)
    list(read_passages(dump))
    assert dump == before
