"""cli/doctor/picker: the picker's presence, ports, health, probes and callers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cli.doctor.given import ANSWERS, evidence, port, snapshot

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.evidence import ProbeLook
from extproc.cli.doctor.health import HealthLook
from extproc.cli.doctor.picker import check
from extproc.cli.doctor.verdict import Verdict

TLS = "{server: {secureServing: true}}"
FILE = admin_pb2.ConfigFile(path="/c.yaml", age_s=60)
BAD_FILE = admin_pb2.ConfigFile(path="/c.yaml", age_s=600, problems=["probes.scheme: no"])
WAITING_FILE = admin_pb2.ConfigFile(path="/c.yaml", age_s=60, needs_restart=["server.grpcPort"])
AWAY = {"snapshot": None, "snapshot_problem": "no picker answers at 127.0.0.1:9004"}
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def probe(**fields: Any) -> ProbeLook:
    given: dict[str, Any] = {
        "kind": "readiness",
        "port": 9003,
        "service": "readiness",
        "answer": "SERVING",
        "port_look": port(9003),
    }
    return ProbeLook(**(given | fields))


def verdict_on(name: str, **given: Any) -> Verdict:
    [verdict] = [verdict for verdict in check(evidence(**given)) if verdict.check == name]
    return verdict


def test_of_a_picker_that_is_well_nothing_is_wrong() -> None:
    verdicts = list(check(evidence(probes=[probe()])))
    assert {verdict.state for verdict in verdicts} == {"ok", "not checked"}
    assert [verdict.check for verdict in verdicts if verdict.state == "not checked"] == ["other replicas"]


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        pytest.param({}, "ok", "extproc 1.2.3 at 127.0.0.1:9004, up for 5 min", id="answers"),
        pytest.param(AWAY, "warning", "by the flags", id="away, and flags name a pool"),
        pytest.param(AWAY | {"config": "{}"}, "fault", "no picker answers", id="away, and nothing else is known"),
        pytest.param(AWAY | {"is_refused": True}, "fault", "no picker answers", id="asks for a token"),
    ],
)
def test_presence(given: dict[str, Any], state: str, words: str) -> None:
    verdict = verdict_on("picker", **given)
    assert verdict.state == state
    assert words in verdict.evidence
    assert bool(verdict.fix) == (state != "ok")


def test_what_would_keep_one_from_starting_is_told() -> None:
    verdict = verdict_on("settings", **AWAY, start_problems=["a", "b"])
    assert (verdict.state, verdict.evidence) == ("fault", "a; b")


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        pytest.param(snapshot(), "ok", "ready for requests", id="ready"),
        pytest.param(snapshot(is_ready=False, is_synced=False), "fault", "never read", id="source never read"),
        pytest.param(snapshot(is_ready=False), "fault", "stopping", id="it stops"),
        pytest.param(
            snapshot(admin_pb2.Endpoint(name="phi-0", is_ready=True), is_ready=False),
            "fault",
            "phi-0 has not answered yet",
            id="an answer is due",
        ),
    ],
)
def test_readiness(given: admin_pb2.Snapshot, state: str, words: str) -> None:
    verdict = verdict_on("readiness", snapshot=given)
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        pytest.param({}, "ok", "no file", id="none"),
        pytest.param({"snapshot": snapshot(config_file=FILE)}, "ok", "/c.yaml is in effect", id="good"),
        pytest.param(
            {"snapshot": snapshot(config_file=BAD_FILE)},
            "fault",
            "10 min ago is kept: probes.scheme: no",
            id="bad edit",
        ),
        pytest.param(
            {"snapshot": snapshot(config_file=WAITING_FILE)}, "warning", "server.grpcPort changed", id="needs a restart"
        ),
        pytest.param({"config_problem": "x: unknown"}, "warning", "x: unknown", id="of another version"),
    ],
)
def test_configuration(given: dict[str, Any], state: str, words: str) -> None:
    verdict = verdict_on("configuration", **given)
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("config", "look", "state", "words"),
    [
        pytest.param(None, port(9002), "ok", "speaks plaintext HTTP/2", id="plaintext, as set"),
        pytest.param(TLS, port(9002, "TLS", alpn="h2", ends_at=TOMORROW), "ok", "speaks TLS", id="TLS, as set"),
        pytest.param(TLS, port(9002), "fault", "secureServing: true means TLS", id="plaintext, TLS is set"),
        pytest.param(None, port(9002, "TLS"), "fault", "false means plaintext", id="TLS, plaintext is set"),
        pytest.param(None, port(9002, "something else"), "fault", "speaks something else", id="something else"),
        pytest.param(TLS, port(9002, "TLS", ends_at=YESTERDAY), "warning", "ended on", id="certificate has ended"),
        pytest.param(None, port(9002, "nothing", problem="refused"), "not checked", "refused", id="not from here"),
        pytest.param("{server: {grpcPort: 0}}", None, "not checked", "grpcPort is 0", id="chosen by the system"),
    ],
)
def test_the_ext_proc_port(config: str | None, look: Any, state: str, words: str) -> None:
    settings = {} if config is None else {"config": config}
    verdict = verdict_on("ext_proc port", ext_proc_port=look, **settings)
    assert verdict.state == state
    assert words in verdict.evidence
    assert bool(verdict.fix) == (state in ("fault", "warning") or words == "refused")


@pytest.mark.parametrize(
    ("alpn", "state", "words"),
    [
        pytest.param("h2", "ok", "offers h2", id="h2"),
        pytest.param("http/1.1", "fault", "agrees on http/1.1", id="http/1.1 alone"),
        pytest.param("", "fault", "no ALPN at all", id="none"),
    ],
)
def test_alpn(alpn: str, state: str, words: str) -> None:
    verdict = verdict_on("ALPN", config=TLS, ext_proc_port=port(9002, "TLS", alpn=alpn))
    assert verdict.state == state
    assert words in verdict.evidence


def test_plaintext_needs_no_alpn() -> None:
    assert "ALPN" not in {verdict.check for verdict in check(evidence())}


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        pytest.param({}, "ok", "readiness, '', envoy.service.ext_proc.v3.ExternalProcessor", id="answers"),
        pytest.param({"health_port": port(9003, "TLS"), "health": None}, "fault", "speaks TLS", id="TLS"),
        pytest.param(
            {"health": HealthLook("127.0.0.1:9003", ANSWERS | {"liveness": "NOT_FOUND"})},
            "fault",
            "liveness NOT_FOUND",
            id="another service",
        ),
        pytest.param(
            {"health": HealthLook("127.0.0.1:9003", ANSWERS | {"readiness": "NOT_SERVING"})},
            "ok",
            "readiness, ",
            id="not ready is an answer",
        ),
        pytest.param({"health_port": port(9003, "nothing"), "health": None}, "not checked", "", id="not from here"),
        pytest.param({"health_port": None, "health": None}, "not checked", "grpcHealthPort is 0", id="chosen"),
    ],
)
def test_the_health_port(given: dict[str, Any], state: str, words: str) -> None:
    verdict = verdict_on("health port", **given)
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        pytest.param([probe()], "ok", "readiness readiness SERVING", id="right"),
        pytest.param([], "not checked", "", id="none seen"),
        pytest.param([probe(answer="NOT_SERVING")], "ok", "NOT_SERVING", id="not ready is an answer"),
        pytest.param([probe(service="ready", answer="NOT_FOUND")], "fault", "'ready', and gets NOT_FOUND", id="name"),
        pytest.param(
            [probe(port=9002, port_look=port(9002, "TLS"), answer="")],
            "fault",
            "asks port 9002 in plaintext, where TLS is spoken",
            id="the TLS port",
        ),
        pytest.param(
            [probe(port=9009, port_look=port(9009, "nothing", problem="refused"), answer="")],
            "fault",
            "port 9009, where nothing answers",
            id="port",
        ),
        pytest.param([probe(service=None, answer="")], "fault", "over HTTP, where gRPC is spoken", id="HTTP"),
        pytest.param(
            [probe(service=None, port=9090, port_look=port(9090, "something else"), answer="")],
            "ok",
            "readiness",
            id="HTTP on the metrics port",
        ),
        pytest.param([probe(), probe(kind="liveness", answer="NOT_FOUND")], "fault", "the liveness probe", id="one"),
    ],
)
def test_probes(given: list[ProbeLook], state: str, words: str) -> None:
    verdict = verdict_on("kubelet's probes", probes=given)
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("config", "uptime_s", "streams", "state", "words"),
    [
        pytest.param("{}", 300, 7, "ok", "7 streams came over TLS", id="some"),
        pytest.param("{}", 300, 0, "warning", "no stream has come in 5 min, the port speaks TLS", id="none, TLS"),
        pytest.param(None, 300, 0, "warning", "the port speaks plaintext", id="none, plaintext"),
        pytest.param(None, 60, 0, "warning", "the port speaks plaintext", id="none in a minute"),
        pytest.param(None, 59, 0, "not checked", "no stream has come in the 59 s since the start", id="none so far"),
        pytest.param(None, 1, 1, "ok", "1 stream came", id="one at once"),
    ],
)
def test_callers(config: str | None, uptime_s: float, streams: int, state: str, words: str) -> None:
    callers = [admin_pb2.Caller(streams=streams)] if streams else []
    settings = {} if config is None else {"config": config}
    verdict = verdict_on("callers", snapshot=snapshot(callers=callers, uptime_s=uptime_s), **settings)
    assert verdict.state == state
    assert words in verdict.evidence
    assert ("Istio" in verdict.fix) == (state == "warning")
