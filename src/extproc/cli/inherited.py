"""The flags of the pickers that users run today, beyond those that are ours too, and what becomes of each.

Source: cmd/epp/main.go and runner.go of the Gateway API Inference Extension 0.3 to 1.2, pkg/epp/server/options.go of
the Inference Extension 1.3 and later and of llm-d-router, and their charts; llm-d-inference-scheduler takes the
Inference Extension's. Names are in kebab-case here; releases before 1.0 write them in camelCase.
"""

from collections.abc import Mapping
from typing import NamedTuple

from extproc.errors import Problem

WITHOUT_EFFECT: Mapping[str, bool] = {
    # The engines' /metrics: the names of each engine's are known here, and the page tells which engine it is.
    "total-queued-requests-metric": False,
    "total-running-requests-metric": False,
    "kv-cache-usage-percentage-metric": False,
    "lora-info-metric": False,
    "cache-info-metric": False,
    "enable-multi-engine": True,
    # The picker's own /metrics: plaintext, without authentication, and always of this moment.
    "refresh-prometheus-metrics-interval": False,
    "metrics-endpoint-auth": True,
    "metrics-client-ca-file": False,
    "metrics-cert-dir": False,
    "enable-grpc-stream-metrics": True,
    # The form of Go's logs, profiles and traces.
    "zap-devel": True,
    "zap-encoder": False,
    "zap-stacktrace-level": False,
    "zap-time-encoding": False,
    "enable-pprof": True,
    "tracing": True,
    # Every replica serves; the health service is always there; sizes follow requests.maxBodyBytes; subsets are heeded.
    "ha-enable-leader-election": True,
    "health-checking": True,
    "grpc-max-recv-msg-size": False,
    "grpc-max-send-msg-size": False,
    "disable-endpoint-subset-filter": True,
    "allow-experimental-plugins": True,
    "plugin-state-staleness-threshold": False,
}
"""Flags that are taken with any value, and told once. True for one that may stand without a value."""

TRANSLATED: Mapping[str, bool] = {
    "pool-api-version": False,
    "zap-log-level": False,
    "model-server-metrics-scheme": False,
    "model-server-metrics-https-insecure-skip-verify": True,
    "destination-endpoint-hint-key": False,
    "destination-endpoint-hint-metadata-namespace": False,
}
"""Flags that say something of ours in other words. True for one that may stand without a value."""

POOL_GROUPS = {"v1": "inference.networking.k8s.io", "v1alpha2": "inference.networking.x-k8s.io"}
VERBOSITIES = {"debug": 4, "info": 2, "warn": 1, "error": 0, "dpanic": 0, "panic": 0, "fatal": 0}
MOST_VERBOSE = 10
FALSE = ("0", "f", "F", "false", "FALSE", "False")
"""Source: Go's strconv.ParseBool."""
FIXED = {
    "destination-endpoint-hint-key": "x-gateway-destination-endpoint",
    "destination-endpoint-hint-metadata-namespace": "envoy.lb",
}
"""What the endpoint picker protocol fixes, and releases up to 0.5 let be chosen."""


class Translation(NamedTuple):
    """What foreign flags come to."""

    flag_values: dict[str, str]
    """Flags of ours, as written."""
    implied: dict[tuple[str, ...], object]
    """Settings that have no flag: path of keys → value."""
    without_effect: tuple[str, ...]
    problems: tuple[Problem, ...]


def translate(given: Mapping[str, str]) -> Translation:
    """What the flags of a command line say, ours untouched among them (name → value as written)."""
    ours = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT and name not in TRANSLATED}
    idle = [name for name in given if name in WITHOUT_EFFECT]
    implied: dict[tuple[str, ...], object] = {}
    if (version := given.get("pool-api-version")) is not None:
        if group := _group_of(version):
            implied["source", "poolGroup"] = group
        else:
            idle.append("pool-api-version")
    if (level := given.get("zap-log-level")) is not None:
        if (verbosity := _verbosity_of(level)) is not None:
            ours["v"] = str(verbosity)
        else:
            idle.append("zap-log-level")
    idle += _read_scheme(given, implied)
    problems = tuple(
        Problem(f"--{name}", f"the picker answers with {value} whatever is set; set the data plane to it")
        for name, value in FIXED.items()
        if given.get(name, value) != value
    )
    return Translation(ours, implied, tuple(idle), problems)


def _group_of(version: str) -> str | None:
    """The API group that a version of InferencePool belongs to; `group/version` says it itself."""
    group, slash, _ = version.rpartition("/")
    return (group if group in POOL_GROUPS.values() else None) if slash else POOL_GROUPS.get(version)


def _verbosity_of(level: str) -> int | None:
    """zap's levels by name, or a verbosity as a number of 1 and more. It outdoes -v, as there."""
    if level.isascii() and level.isdigit() and len(level) < 4:
        return min(max(int(level), VERBOSITIES["info"]), MOST_VERBOSE)
    return VERBOSITIES.get(level.lower())


def _read_scheme(given: Mapping[str, str], implied: dict[tuple[str, ...], object]) -> list[str]:
    """Engines that show /metrics by TLS speak it on their one port, unless the metrics have a port of their own.

    Returns the flags that say nothing here.
    """
    scheme, verify = "model-server-metrics-scheme", "model-server-metrics-https-insecure-skip-verify"
    if given.get(scheme) != "https":
        return [name for name in (scheme, verify) if name in given]
    has_port = given.get("model-server-metrics-port", "0") != "0"
    implied[("probes", "metrics", "scheme") if has_port else ("probes", "scheme")] = "https"
    implied["probes", "insecureSkipVerify"] = given.get(verify) not in FALSE
    return []
