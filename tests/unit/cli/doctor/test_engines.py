"""cli/doctor/engines: what is wrong with the engines, judged by the probes and by what was tried beside them."""

from typing import Any

import pytest
from tests.unit.cli.doctor.given import endpoint, evidence, port, snapshot

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.asking import Answer, EngineLook
from extproc.cli.doctor.engines import check
from extproc.cli.doctor.verdict import Verdict
from extproc.registry.changes import Failure

ADDRESS = "10.0.0.1:8000"
FILE = "source: {endpointsFile: /e}"
DROPPED, UNAUTHORIZED, NOT_FOUND = "dropped: reset", "unauthorized: status 401", "status: status 404"


def look(*others: Answer, pages: tuple[Answer, ...] = (), **fields: Any) -> EngineLook:
    asked = Answer(f"http://{ADDRESS}/v1/models", Failure.STATUS)
    return EngineLook(
        name="phi-0", address=ADDRESS, models=asked, metrics=asked, other_models=others, other_metrics=pages, **fields
    )


def verdicts_on(
    *endpoints: admin_pb2.Endpoint, engine: EngineLook | None = None, config: str = f"{{{FILE}}}", **given: Any
) -> dict[str, Verdict]:
    engines = {} if engine is None else {ADDRESS: engine}
    found = list(check(evidence(snapshot=snapshot(*endpoints), engines=engines, config=config, **given)))
    return {verdict.check: verdict for verdict in found}


def test_of_engines_that_are_well_nothing_is_wrong() -> None:
    assert {name: verdict.state for name, verdict in verdicts_on().items()} == {"engines": "ok", "metrics pages": "ok"}


@pytest.mark.parametrize(
    ("problem", "engine", "config", "words", "fix"),
    [
        pytest.param(UNAUTHORIZED, look(), "", "they want a key", "probes.bearerTokenFile", id="key"),
        pytest.param(
            UNAUTHORIZED,
            None,
            "probes: {bearerTokenFile: /key}",
            "do not take the key in /key",
            "into /key",
            id="wrong key",
        ),
        pytest.param(
            DROPPED,
            look(Answer(f"https://{ADDRESS}/v1/models", models=1)),
            "",
            "asked over http: dropped: reset; https is answered",
            "probes.scheme: https, and probes.caFile",
            id="engine speaks TLS",
        ),
        pytest.param(
            "connect: wrong version",
            look(Answer(f"http://{ADDRESS}/v1/models", Failure.UNAUTHORIZED)),
            "probes: {scheme: https}",
            "http is answered",
            "set probes.scheme: http",
            id="engine speaks plaintext",
        ),
        pytest.param(
            NOT_FOUND,
            look(Answer(f"http://{ADDRESS}/openai/v1/models", models=1)),
            "",
            "/openai/v1/models is answered",
            "probes.models.path: /openai/v1/models",
            id="another path",
        ),
        pytest.param(NOT_FOUND, look(), "", "GET /v1/models: status 404", "probes.models.path", id="no path"),
        pytest.param("invalid: x", look(), "", "GET /v1/models: x", "mend the engine", id="no list"),
        pytest.param(
            DROPPED,
            look(port=port(8000, "TLS", name="spiffe://c/ns/n/sa/s")),
            "",
            "mesh's, of spiffe://c/ns/n/sa/s",
            "PeerAuthentication",
            id="mesh, by its certificate",
        ),
        pytest.param(DROPPED, look(), "", "as a mesh with mutual TLS", "engine's log", id="dropped, who knows why"),
        pytest.param("refused: no", None, "", "connections are refused", "all interfaces", id="refused"),
        pytest.param("connect: no route", None, "", "no connection comes about", "NetworkPolicies", id="unreachable"),
        pytest.param("timeout: slow", None, "", "timeout: slow", "overloaded", id="slow"),
    ],
)
def test_when_all_have_the_same_trouble_it_is_a_fault(
    problem: str, engine: EngineLook | None, config: str, words: str, fix: str
) -> None:
    troubled = (
        endpoint("phi-0", problem=problem, address=ADDRESS),
        endpoint("phi-1", problem=problem, address="10.0.0.2:80"),
    )
    verdict = verdicts_on(*troubled, engine=engine, config=f"{{{FILE}, {config}}}")["engines"]
    assert verdict.state == "fault"
    assert verdict.evidence.startswith("all 2: ")
    assert words in verdict.evidence
    assert fix in verdict.fix


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        pytest.param(DROPPED, "warning", id="dropped"),
        pytest.param("timeout: slow", "warning", id="slow"),
        pytest.param("refused: no", "warning", id="refused"),
        pytest.param(UNAUTHORIZED, "fault", id="a key passes not by itself"),
        pytest.param(NOT_FOUND, "fault", id="nor a path"),
    ],
)
def test_when_one_of_many_has_trouble_it_depends(problem: str, state: str) -> None:
    verdict = verdicts_on(endpoint("phi-0", problem=problem), endpoint("phi-1"))["engines"]
    assert verdict.state == state
    assert verdict.evidence.startswith("phi-0 of 2 endpoints: ")


@pytest.mark.parametrize(
    ("late", "states", "is_kept"),
    [
        pytest.param([("phi",)], {"warning"}, True, id="a list was read"),
        pytest.param([()], {"fault"}, False, id="an empty list, or none, was read"),
        pytest.param([("phi",), ()], {"warning", "fault"}, True, id="one of each"),
    ],
)
def test_what_a_late_engine_listed_before_counts_where_it_listed_any(
    late: list[tuple[str, ...]], states: set[str], is_kept: bool
) -> None:
    troubled = [endpoint(f"e{number}", problem="timeout: slow", models=models) for number, models in enumerate(late)]
    found = list(check(evidence(snapshot=snapshot(endpoint("well"), *troubled), config=f"{{{FILE}}}")))
    told = {verdict.state: verdict for verdict in found if verdict.check == "engines"}
    assert set(told) == states
    assert any("listed before is kept" in verdict.fix for verdict in told.values()) == is_kept
    assert ("fault" not in told) or "none was listed before" in told["fault"].evidence


def test_each_trouble_is_told_of_once() -> None:
    endpoints = [endpoint(f"e{number}", problem=DROPPED) for number in range(9)] + [endpoint("k", problem=UNAUTHORIZED)]
    verdicts = [verdict for verdict in check(evidence(snapshot=snapshot(*endpoints))) if verdict.check == "engines"]
    assert [verdict.state for verdict in verdicts] == ["warning", "fault"]
    assert "e0, e1, e2, e3 and 5 more of 10 endpoints" in verdicts[0].evidence


@pytest.mark.parametrize(
    ("is_confirmed", "state", "words"),
    [pytest.param(True, "fault", "empty", id="empty list"), pytest.param(False, "fault", "no answer yet", id="due")],
)
def test_an_engine_without_models(is_confirmed: bool, state: str, words: str) -> None:
    silent = admin_pb2.Endpoint(id="a", name="a", is_ready=True, is_confirmed=is_confirmed)
    verdict = verdicts_on(silent)["engines"]
    assert verdict.state == state
    assert words in verdict.evidence


HANGING = Answer(f"http://{ADDRESS}/v1/models", Failure.TIMEOUT, "timeout: no answer within 2 s")


def test_an_engine_that_was_not_heard_of_yet_is_judged_by_what_it_says_here() -> None:
    silent = [
        endpoint(f"e{number}", models=(), is_confirmed=False, address=f"10.0.0.{number}:8000") for number in (1, 2)
    ]
    hangs = EngineLook(name="e1", address=ADDRESS, models=HANGING, metrics=HANGING)
    verdict = verdicts_on(*silent, engine=hangs)["engines"]
    assert verdict.state == "fault"
    assert (
        verdict.evidence == "all 2: timeout: no answer within 2 s; none was listed before"
    )  # that which was not asked, too
    assert "overloaded or hangs" in verdict.fix
    answers = EngineLook(name="e1", address=ADDRESS, models=Answer("", models=1), metrics=Answer(""))
    assert verdicts_on(*silent, engine=answers)["engines"].evidence == "all 2: no answer yet"


def test_what_kubernetes_calls_not_ready_need_not_answer() -> None:
    pool = "{source: {poolName: llm}}"
    starting = endpoint("b", problem="refused: no", is_ready=False)
    assert verdicts_on(endpoint(), starting, config=pool)["engines"].state == "ok"
    assert verdicts_on(starting, config=pool)["engines"].state == "not checked"
    assert verdicts_on(endpoint(), starting)["engines"].state == "warning"  # of a file only the probes say who is ready


@pytest.mark.parametrize(
    ("problem", "page", "config", "state", "fix"),
    [
        pytest.param("", None, "", "ok", "", id="read"),
        pytest.param("status: status 404", None, "", "warning", "probes.metrics.path", id="no page"),
        pytest.param(
            "status: status 404",
            Answer(f"http://{ADDRESS}/prometheus/metrics"),
            "",
            "warning",
            "set probes.metrics.path: /prometheus/metrics",
            id="on another path",
        ),
        pytest.param(
            "dropped: x",
            Answer(f"http://{ADDRESS}/metrics"),
            "probes: {scheme: https}",
            "warning",
            "set probes.metrics.scheme: http",
            id="on another scheme",
        ),
        pytest.param(
            "dropped: x",
            Answer(f"http://{ADDRESS}/prometheus/metrics"),
            "probes: {scheme: https}",
            "warning",
            "set probes.metrics.path: /prometheus/metrics and probes.metrics.scheme: http",
            id="on another path and scheme",
        ),
        pytest.param(
            "invalid: a page that says nothing of the load",
            None,
            "",
            "warning",
            "source.engineLabelKey",
            id="unknown engine",
        ),
        pytest.param("x", None, "probes: {metrics: {interval: 0s}}", "not checked", "", id="turned off"),
    ],
)
def test_metrics_pages(problem: str, page: Answer | None, config: str, state: str, fix: str) -> None:
    engine = look(pages=(page,)) if page is not None else None
    verdict = verdicts_on(endpoint(load_problem=problem), engine=engine, config=f"{{{FILE}, {config}}}")[
        "metrics pages"
    ]
    assert verdict.state == state
    assert fix in verdict.fix
    if page is not None:
        assert verdict.fix == fix  # what was found there is evidence
        assert verdict.evidence.endswith("is a page")


def test_pages_that_were_not_read_yet() -> None:
    unread = admin_pb2.Endpoint(id="a", name="a", models=["phi"], is_ready=True, is_confirmed=True)
    assert verdicts_on(unread)["metrics pages"].state == "not checked"
