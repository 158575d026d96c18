"""Reads an Envoy's /config_dump: which routes there are, and which ext_proc filters requests meet on each.

Fields at their default are left out of a dump; those that matter are given their value here. What is not understood is
passed over: the dump of a newer Envoy is no error.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from extproc.cli.doctor.envoy_facts import DEFAULT_BUFFER_BYTES, DESTINATION, BodyMode, Filter, Passage

_FILTER_TYPE = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
_MANAGER_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_DEFAULT_ROUTE_TIMEOUT_S = 15.0

Json = Mapping[str, Any]


def read_passages(dump: Json) -> Iterator[Passage]:
    """Every way through the listeners of a dump, to each cluster of each route."""
    route_configs = {config["name"]: config for config in _route_configs(dump) if "name" in config}
    discovered = {each.get("name", ""): each for each in _discovered_filters(dump)}
    for listener in read_listeners(dump):
        buffer_limit_bytes = int(listener.get("per_connection_buffer_limit_bytes", DEFAULT_BUFFER_BYTES))
        for manager in _connection_managers(listener):
            filters = [_resolved(each, discovered) for each in manager.get("http_filters", ())]
            for routes in _routes_of(manager, route_configs):
                for passage in _through(routes, [each for each in filters if is_type(each, _FILTER_TYPE)]):
                    yield Passage(
                        where=f"{listener.get('name') or 'listener'}: {passage.where}",
                        stat_prefix=manager.get("stat_prefix", ""),
                        filters=passage.filters,
                        cluster=passage.cluster,
                        timeout_s=passage.timeout_s,
                        sets_timeout=passage.sets_timeout,
                        retries=passage.retries,
                        buffer_limit_bytes=buffer_limit_bytes,
                    )


def read_listeners(dump: Json) -> Iterator[Json]:
    """The listeners in force."""
    for config in _configs(dump, "ListenersConfigDump"):
        for each in config.get("static_listeners", ()):
            yield each.get("listener", {})
        for each in config.get("dynamic_listeners", ()):
            if active := each.get("active_state", {}).get("listener"):
                yield active


def read_cluster_configs(dump: Json) -> Iterator[Json]:
    """The clusters in force."""
    for config in _configs(dump, "ClustersConfigDump"):
        for each in (*config.get("static_clusters", ()), *config.get("dynamic_active_clusters", ())):
            if cluster := each.get("cluster"):
                yield cluster


def read_health_ports(dump: Json) -> Mapping[str, tuple[int, ...]]:
    """Ports for health checks that are not the endpoints' own, by cluster."""
    ports: dict[str, tuple[int, ...]] = {}
    for config in _configs(dump, "EndpointsConfigDump"):
        for each in (*config.get("static_endpoint_configs", ()), *config.get("dynamic_endpoint_configs", ())):
            assignment = each.get("endpoint_config", {})
            found = {
                endpoint.get("endpoint", {}).get("health_check_config", {}).get("port_value", 0)
                for locality in assignment.get("endpoints", ())
                for endpoint in locality.get("lb_endpoints", ())
            }
            ports[assignment.get("cluster_name", "")] = tuple(sorted(found - {0}))
    return ports


def is_type(extension: Json, name: str) -> bool:
    """Whether an extension's config is of the protobuf type `name`."""
    return str(extension.get("typed_config", {}).get("@type", "")).endswith(f"/{name}")


def read_seconds(text: object, default: float) -> float:
    """A duration as protobuf writes it in JSON, `0.200s`."""
    return float(text[:-1]) if isinstance(text, str) and text.endswith("s") else default


def _configs(dump: Json, kind: str) -> Iterator[Json]:
    return (config for config in dump.get("configs", ()) if str(config.get("@type", "")).endswith(f".{kind}"))


def _route_configs(dump: Json) -> Iterator[Json]:
    for config in _configs(dump, "RoutesConfigDump"):
        for each in (*config.get("static_route_configs", ()), *config.get("dynamic_route_configs", ())):
            yield each.get("route_config", {})


def _discovered_filters(dump: Json) -> Iterator[Json]:
    for config in _configs(dump, "EcdsConfigDump"):
        for each in config.get("ecds_filters", ()):
            yield each.get("ecds_filter", {})


def _connection_managers(listener: Json) -> Iterator[Json]:
    for chain in (*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})):
        for each in chain.get("filters", ()):
            if is_type(each, _MANAGER_TYPE):
                yield each["typed_config"]


def _resolved(http_filter: Json, discovered: Mapping[str, Json]) -> Json:
    """A filter whose config is discovered (ECDS), with that config."""
    if "config_discovery" in http_filter:
        found = discovered.get(http_filter.get("name", ""), {})
        return {**http_filter, "typed_config": found.get("typed_config", {})}
    return http_filter


def _routes_of(manager: Json, route_configs: Mapping[str, Json]) -> Iterator[Json]:
    if "route_config" in manager:
        yield manager["route_config"]
    elif found := route_configs.get(manager.get("rds", {}).get("route_config_name", "")):
        yield found


def _through(routes: Json, filters: Sequence[Json]) -> Iterator[Passage]:
    for host in routes.get("virtual_hosts", ()):
        for route in host.get("routes", ()):
            action = route.get("route")
            if action is None:
                continue  # answered by Envoy itself
            levels = [routes, host, route]
            weighted = action.get("weighted_clusters", {}).get("clusters", ())
            for target in weighted or ({"name": action.get("cluster", "")},):
                yield Passage(
                    where=f"route {route.get('name') or _path(route.get('match', {}))} of {host.get('name', '')}",
                    stat_prefix="",
                    filters=tuple(_in_force(filters, [*levels, target])),
                    cluster=target.get("name", ""),
                    timeout_s=read_seconds(action.get("timeout"), _DEFAULT_ROUTE_TIMEOUT_S),
                    sets_timeout="timeout" in action,
                    retries=_retries(action.get("retry_policy") or host.get("retry_policy") or {}),
                )


def _path(match: Json) -> str:
    for key in ("prefix", "path", "path_separated_prefix"):
        if key in match:
            return str(match[key])
    return str(match.get("safe_regex", {}).get("regex", "?"))


def _retries(policy: Json) -> int:
    return int(policy.get("num_retries", 1)) if policy.get("retry_on") else 0


def _in_force(filters: Sequence[Json], levels: Sequence[Json]) -> Iterator[Filter]:
    """The filters that are on, each with the overrides of the levels, the most general first."""
    for each in filters:
        name = each.get("name", "")
        config, is_on = dict(each["typed_config"]), not each.get("disabled", False)
        for level in levels:
            override = level.get("typed_per_filter_config", {}).get(name)
            if override is None:
                continue
            is_on = not override.get("disabled", False)
            # A FilterConfig may stand around the filter's own message.
            override = override.get("config", override)
            is_on = is_on and not override.get("disabled", False)
            config |= override.get("overrides", {})
        if is_on:
            yield _read_filter(name, config)


def _read_filter(name: str, config: Json) -> Filter:
    mode = config.get("processing_mode", {})
    service = config.get("grpc_service", {})
    return Filter(
        name=name,
        cluster=service.get("envoy_grpc", {}).get("cluster_name", ""),
        sends_request_headers=mode.get("request_header_mode") != "SKIP",
        request_body=_body_mode(mode.get("request_body_mode")),
        sends_body_early=bool(config.get("send_body_without_waiting_for_header_response")),
        sends_response_headers=mode.get("response_header_mode") != "SKIP",
        response_body=_body_mode(mode.get("response_body_mode")),
        sends_response_trailers=mode.get("response_trailer_mode") == "SEND",
        message_timeout_s=read_seconds(config.get("message_timeout"), 0.2),
        allows_mode_override=bool(config.get("allow_mode_override")),
        fails_open=_is_true(config.get("failure_mode_allow")),
        status_on_error=str(config["status_on_error"].get("code", "")) if "status_on_error" in config else None,
        receives=tuple(config.get("metadata_options", {}).get("receiving_namespaces", {}).get("untyped", ())),
        is_observing=bool(config.get("observability_mode")),
        retries_stream="retry_policy" in service,
        forbids_pick=_forbids_pick(config.get("mutation_rules", {})),
    )


def _body_mode(name: object) -> BodyMode:
    return next((mode for mode in get_args(BodyMode) if mode == name), "NONE")


def _is_true(value: object) -> bool:
    """A bool, or the BoolValue of an override."""
    return bool(value.get("value")) if isinstance(value, Mapping) else bool(value)


def _forbids_pick(rules: Json) -> bool:
    """Whether `mutation_rules` keep the picker from setting its header. Source: Envoy's `mutation_rules.proto`."""
    if (allowed := rules.get("allow_expression", {}).get("regex")) and _matches(allowed):
        return False
    forbidden = rules.get("disallow_expression", {}).get("regex")
    return _is_true(rules.get("disallow_all")) or bool(forbidden and _matches(forbidden))


def _matches(pattern: str) -> bool:
    try:
        return re.fullmatch(pattern, DESTINATION) is not None
    except re.error:
        return False  # RE2 knows some forms that Python does not
