"""cli/explain: what is asked for by which options, how the answer reads on 80 columns, and the exit codes."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.unit.known import answered, endpoint, known_after, listed, round_of

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.cli import main
from extproc.cli.explain_view import SHOWN_OTHERS, show_explanation
from extproc.director.decider import Decider
from extproc.director.explain import Explainer
from extproc.servers.admin.messages import to_message
from extproc.servers.admin.requests import read_request
from extproc.settings.schema import Settings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer
from extproc.values.request import RequestHead

NOW = 100.0
A, B = endpoint("a").address, endpoint("b").address
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], input=stdin)


class Admin(admin_pb2_grpc.AdminServicer):
    """Explains with a pool of which `a` serves m and `b` serves n."""

    def __init__(self) -> None:
        self.requests: list[admin_pb2.ExplainRequest] = []
        self.snapshot = known_after(listed("ab"), answered("a", "m"), answered("b", "n"), round_of(NOW))

    def Explain(self, request: admin_pb2.ExplainRequest, context: object) -> admin_pb2.Explanation:  # noqa: N802
        self.requests.append(request)
        head, body = read_request(request)
        told = Explainer(Decider(Settings())).explain(head, body, self.snapshot, now=NOW, rng=Random(0))
        return to_message(told, admin_pb2.Explanation)


@contextmanager
def serving(admin: Admin) -> Iterator[str]:
    """`host:port` of a server."""
    server = grpc.server(ThreadPoolExecutor(1))
    add: Any = admin_pb2_grpc.add_AdminServicer_to_server  # protoc writes no types of services
    add(admin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with serving(Admin()) as address:
        yield address


# What is asked.
@pytest.mark.parametrize(
    ("options", "stdin", "head", "body"),
    [
        pytest.param(
            ["--model", "m", "--prompt", "Hi"],
            None,
            RequestHead("POST", CHAT, JSON),
            {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
            id="a chat",
        ),
        pytest.param(
            ["--model", "m"],
            None,
            RequestHead("POST", CHAT, JSON),
            {"model": "m", "messages": [{"role": "user", "content": ""}]},
            id="without a prompt",
        ),
        pytest.param([], None, RequestHead("GET", "/v1/models", {}), None, id="nothing named: the models"),
        pytest.param(["--path", "/x"], None, RequestHead("GET", "/x", {}), None, id="a path alone"),
        pytest.param(
            ["--method", "delete", "--path", "/x"], None, RequestHead("DELETE", "/x", {}), None, id="a method"
        ),
        pytest.param(["--body", "-"], b"{}", RequestHead("POST", CHAT, JSON), {}, id="a body"),
        pytest.param(
            ["--body", "-", "--header", "Content-Type=x/y", "--path", "/z", "--method", "put"],
            b"{}",
            RequestHead("PUT", "/z", {"content-type": "x/y"}),
            {},
            id="a body of another type",
        ),
        pytest.param(
            ["--model", "m", "--header", "X-A=1", "--header", "x-a=2=3", "--header", "x-b="],
            None,
            RequestHead("POST", CHAT, JSON | {"x-a": "1,2=3", "x-b": ""}),
            ...,
            id="headers",
        ),
        pytest.param(
            ["--subset", f"{A}, [::0001]:80,"],
            None,
            RequestHead("GET", "/v1/models", {}, (A, "[::1]:80")),
            None,
            id="a subset",
        ),
        pytest.param(["--subset", ""], None, RequestHead("GET", "/v1/models", {}, ()), None, id="an empty subset"),
    ],
)
def test_the_options_stand_for_a_request(options: list[str], stdin: bytes | None, head: RequestHead, body: Any) -> None:
    admin = Admin()
    with serving(admin) as address:
        run("--target", address, *options, stdin=stdin)
    found, content = read_request(admin.requests[0])
    assert found == head
    assert body is ... or (json.loads(content) if content else None) == body


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(["--model", "m", "--body", "-"], "leave out --model and --prompt", id="model and body"),
        pytest.param(["--prompt", "Hi"], "--prompt needs --model", id="a prompt alone"),
        pytest.param(["--model", "m", "--method", "GET"], "--method GET takes no body", id="a body for a GET"),
        pytest.param(["--method", "POST"], "--method POST needs --model or --body", id="a POST of nothing"),
        pytest.param(["--model", "m", "--method", "PUT"], "--model is asked for by a POST", id="a chat by PUT"),
        pytest.param(["--header", "x"], "--header takes K=V, not x", id="a header without a value"),
        pytest.param(["--header", "=x\x1b[2J"], "not =x\\x1b[2J", id="a header without a name"),
        pytest.param(["--body", "/nowhere"], "--body /nowhere cannot be read: No such file", id="no body"),
        pytest.param(["--body", "/dev/null"], "--body is empty", id="an empty body"),
        pytest.param(["--subset", "localhost:80"], "--subset: ", id="a subset of names"),
        pytest.param(["--model", "\udcff"], "not UTF-8", id="half a character"),
        pytest.param(["--target", "x"], "--target takes host:port", id="no target"),
        pytest.param(["--config-text", "{}"], "--endpoints-file: is required", id="a config alone"),
        pytest.param(["--config-text", "x: 1", "--endpoints-file", "e"], "x: unknown key", id="a bad config"),
        pytest.param(["--endpoints-file", "/nowhere"], "/nowhere", id="no endpoints file"),
        pytest.param(["--endpoints-file", "e", "--target", "h:1"], "--target names a running picker", id="both"),
        pytest.param(["--endpoints-file", "e", "--token-file", "t"], "--token-file names a running", id="and a token"),
    ],
)
def test_bad_usage_and_bad_settings_exit_with_2(options: list[str], text: str) -> None:
    result = run(*options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in " ".join(result.stderr.split())


def test_a_body_that_the_service_would_not_take_is_refused_here(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * (2 << 20) + b"x")
    result = run("--body", str(tmp_path / "body"))
    assert result.exit_code == 2
    assert "--body has more than 2097152 bytes" in " ".join(result.stderr.split())


def test_nobody_answers() -> None:
    result = run("--target", "127.0.0.1:1", "--model", "m")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("no picker answers at 127.0.0.1:1 ")
    assert "--endpoints-file" in result.stderr


# What is answered.
@pytest.mark.parametrize(
    ("options", "code", "lines"),
    [
        pytest.param(
            ["--model", "m"],
            0,
            [
                f"m → a at {A}",
                "a is the only endpoint that serves m",
                "1 of 2 endpoints compared, by max-score",
                "1 of 2 endpoints not compared",
            ],
            id="routed",
        ),
        pytest.param(
            ["--model", "m", "--header", "x-gateway-model-name-rewrite=n"],
            0,
            [f"m (as n) → b at {B}"],
            id="routed by another name",
        ),
        pytest.param(
            ["--model", "gone"],
            1,
            [
                "gone → 404 model_not_found",
                "model_not_found: no endpoint of the pool lists gone; known are n, m",
                "the client gets 404",
                "content-type: application/json",
                "x-extproc-reason: model_not_found",
                "2 of 2 endpoints not compared",
            ],
            id="refused",
        ),
        pytest.param(
            ["--path", "/v1/models/m"],
            0,
            ["m → 200 answered by the picker", "the client gets 200"],
            id="answered",
        ),
        pytest.param([], 0, ["GET /v1/models → 200 answered by the picker", "the client gets 200"], id="the list"),
    ],
)
def test_the_answer_reads_line_by_line(target: str, options: list[str], code: int, lines: Sequence[str]) -> None:
    result = run("--target", target, *options)
    assert (result.exit_code, result.stderr) == (code, "")
    found = [line.rstrip() for line in result.stdout.splitlines()]
    assert [line for line in found if line in lines] == lines
    assert found[0] == lines[0]


@pytest.mark.parametrize(("model", "code"), [pytest.param("m", 0, id="routed"), pytest.param("gone", 1, id="refused")])
def test_json_is_the_message_with_its_own_names(target: str, model: str, code: int) -> None:
    result = run("--target", target, "--model", model, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == code
    assert told["named_model"] == model
    assert [row["choice"] for row in told["candidates"]] == ([1, 0] if code == 0 else [0, 0])
    assert {"held_s", "destination", "prompt_tokens"} <= told.keys(), "what is 0 or empty is there, too"


# On a terminal.
HOSTILE = "evil\x1b]0;title\x07\u202e[red]\n"


def shown(
    told: admin_pb2.Explanation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    columns: int = 80,
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    show_explanation(told, asked=f"GET {HOSTILE}")
    return capsys.readouterr().out


def verdicts(*, no: str = "") -> list[admin_pb2.Verdict]:
    said = [admin_pb2.Verdict(filter="ready", allows=True)]
    return [*said, admin_pb2.Verdict(filter=no, allows=False, why=f"{HOSTILE} that is so")] if no else said


def large() -> admin_pb2.Explanation:
    """Many scorers, long names, 500 endpoints of which 16 are compared."""
    scorers = [admin_pb2.Scorer(name=name, weight=2.5) for name in ("first-token", "kv-cache", "lora-affinity") * 2]
    pods = [f"vllm-llama-3-70b-instruct-awq-7f9c8d5b64-x2{number:03}" for number in range(500)]
    rows = [
        admin_pb2.Candidate(
            name=name,
            address=f"192.168.100.200:{8000 + number}",
            verdicts=verdicts(),
            scores=[0.123456] * len(scorers),
            total=12.3456,
            choice=1 if number == 0 else 0,
            cached_tokens=123456.0,
        )
        for number, name in enumerate(pods[:16])
    ]
    rows += [
        admin_pb2.Candidate(name=name, address="192.168.100.200:8000", verdicts=verdicts(no="compared"))
        for name in pods[16:100]
    ]
    rows += [
        admin_pb2.Candidate(name=name, address="192.168.100.200:8000", verdicts=verdicts(no="model"))
        for name in pods[100:]
    ]
    return admin_pb2.Explanation(
        pool="a-namespace/a-pool",
        named_model="a-model",
        outcome="routed",
        why="why " * 99,
        destination="192.168.100.200:8000",
        endpoint=pods[0],
        scorers=scorers,
        picker="max-score",
        compared=16,
        candidates=rows,
        prompt_tokens=1234.5,
        snapshot_age_s=400.0,
    )


def test_a_large_pool_stays_within_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(large(), capsys, monkeypatch)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text.partition("not compared")[0], "nothing is cut"
    assert "16 of 500 endpoints compared, by max-score" in text
    assert "484 of 500 endpoints not compared" in text
    assert lines[-1] == f"… and {484 - SHOWN_OTHERS} more: model 400, compared {84 - SHOWN_OTHERS}"
    assert len(lines) < 120
    assert "snapshot 0, 7 min old · prompt of about 1,234 tokens" in text


@pytest.mark.parametrize(
    "field", ["named_model", "model", "why", "endpoint", "destination", "pool", "picker", "outcome"]
)
def test_nothing_in_a_text_reaches_the_terminal_as_a_command(
    field: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = large()
    if field == "outcome":
        told.answer.SetInParent()
    setattr(told, field, HOSTILE)
    text = shown(told, capsys, monkeypatch)
    assert not {each for each in text if not each.isprintable()} - {"\n"}
    assert "evil\\x1b]0;title\\x07\\u202e[red]\\n" in text.replace("\n", "")


def test_nothing_in_a_row_or_an_answer_reaches_the_terminal_as_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        admin_pb2.Candidate(name=HOSTILE, address=HOSTILE, verdicts=verdicts(), scores=[1.0], total=1.0),
        admin_pb2.Candidate(name=HOSTILE, address=HOSTILE, verdicts=verdicts(no=HOSTILE)),
    ]
    answer = admin_pb2.Answer(status=404, headers={HOSTILE: HOSTILE}, body=HOSTILE.encode() + b"\xff" + b"x" * 9999)
    told = admin_pb2.Explanation(
        outcome="x", candidates=rows, answer=answer, scorers=[admin_pb2.Scorer(name=HOSTILE, weight=1.0)]
    )
    text = shown(told, capsys, monkeypatch, columns=1000)
    assert not {each for each in text if not each.isprintable()} - {"\n"}
    assert text.count("[red]") == 10, "where it stands in the request, the rows, the scorer and the answer"
    assert text.count("x" * 100) < 30, "a long body is cut"
    assert "GET evil\\x1b" in text


# Without a running picker.
def write_pool(folder: Path, **addresses: str) -> str:
    rows = [f"{{name: {name}, address: '{address}'}}" for name, address in addresses.items()]
    file = folder / "endpoints.yaml"
    file.write_text(f"pools: [{{name: demo, endpoints: [{', '.join(rows)}]}}]")
    return str(file)


async def test_from_an_endpoints_file_every_engine_is_asked_once(tmp_path: Path) -> None:
    async with (
        SimServer(EngineSettings(models=("phi",))) as phi,
        SimServer(EngineSettings(models=("gemma",), api_key="k")) as locked,
    ):
        file = write_pool(tmp_path, phi=phi.address, locked=locked.address, gone="127.0.0.1:1")
        routed = await asyncio.to_thread(run, "--endpoints-file", file, "--model", "phi", "--json")
        refused = await asyncio.to_thread(
            run, "--endpoints-file", file, "--model", "chat", "--config-text", "requests: {aliases: {chat: gemma}}"
        )
    told = json.loads(routed.stdout)
    assert (routed.exit_code, told["endpoint"], told["pool"], told["held_s"]) == (0, "phi", "default/demo", 0.0)
    kept = {row["name"]: row["verdicts"][-1] for row in told["candidates"]}
    assert {name: verdict["filter"] for name, verdict in kept.items()} == {
        "phi": "suspect",
        "locked": "confirmed",
        "gone": "ready",
    }
    assert "unauthorized: status 401" in kept["locked"]["why"]
    assert "refused" in kept["gone"]["why"]
    assert routed.stderr.startswith("the load of gone: refused")
    assert refused.exit_code == 1
    assert refused.stdout.startswith("chat (as gemma) → 404 model_not_found")
    assert "waits" not in refused.stdout, "they have just been asked"


@pytest.mark.parametrize(
    ("interval", "score"), [pytest.param("500ms", 1.0, id="read"), pytest.param("0s", 0.5, id="not wanted")]
)
async def test_the_loads_of_engines_are_read_where_settings_want_it(
    tmp_path: Path, interval: str, score: float
) -> None:
    """Nobody waits there; where that is not known, the score is in the middle."""
    config = f"{{scheduling: {{scorers: [{{name: queue, weight: 1}}]}}, probes: {{metrics: {{interval: {interval}}}}}}}"
    async with SimServer(EngineSettings(models=("phi",))) as phi:
        file = write_pool(tmp_path, phi=phi.address)
        options = ("--endpoints-file", file, "--model", "phi", "--json", "--config-text", config)
        told = json.loads((await asyncio.to_thread(run, *options)).stdout)
    assert told["candidates"][0]["scores"] == [score]
