"""cli/explain/command: what is asked for by which options, what is answered, and the exit codes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.cli.serving import SHOWN, Refusing, serving
from tests.unit.known import answered, endpoint, known_after, listed, round_of

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.cli import main
from extproc.director.decider import Decider
from extproc.director.explain import Explainer
from extproc.servers.admin.messages import to_message
from extproc.servers.admin.requests import read_request
from extproc.settings.schema import Settings
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
        pytest.param(["--model", "m", "--body", "-"], "Error: --body is the whole body: leave", id="model and body"),
        pytest.param(
            ["--model", "m", "--body", "/nowhere"],
            "--body /nowhere cannot be read: No such file or directory; --body is the whole body",
            id="model and no body",
        ),
        pytest.param(["--prompt", "Hi"], "--prompt needs --model", id="a prompt alone"),
        pytest.param(["--model", "m", "--method", "GET"], "--method GET takes no body", id="a body for a GET"),
        pytest.param(["--method", "POST"], "--method POST needs --model or --body", id="a POST of nothing"),
        pytest.param(["--model", "m", "--method", "PUT"], "--model is asked for by a POST", id="a chat by PUT"),
        pytest.param(["--header", "x"], "--header takes K=V, not x", id="a header without a value"),
        pytest.param(["--header", "=x\x1b[2J"], "not =x\\x1b[2J", id="a header without a name"),
        pytest.param(["--body", "/nowhere"], "--body /nowhere cannot be read: No such file", id="no body"),
        pytest.param(["--body", "/dev/null"], "--body is empty", id="an empty body"),
        pytest.param(["--body", "/dev/zero"], "--body has more than 2097152 bytes", id="a body without end"),
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


def test_what_a_service_says_of_a_failure_stays_on_one_line() -> None:
    with serving(Refusing()) as address:
        result = run("--target", address, "--model", "m")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{address}: PERMISSION_DENIED: {SHOWN}\n")


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
        pytest.param(
            ["--path", "/v1/models"],
            0,
            ["GET /v1/models → 200 answered by the picker", "the client gets 200"],
            id="the list",
        ),
    ],
)
def test_the_answer_reads_line_by_line(target: str, options: list[str], code: int, lines: Sequence[str]) -> None:
    result = run("--target", target, *options)
    assert (result.exit_code, result.stderr) == (code, "")
    found = [line.rstrip() for line in result.stdout.splitlines()]
    assert [line for line in found if line in lines] == lines
    assert found[0] == lines[0]


@pytest.mark.parametrize(
    ("options", "stdin", "said"),
    [
        pytest.param([], None, "GET /v1/models", id="nothing"),
        pytest.param(["--subset", ""], None, "GET /v1/models", id="a subset alone"),
        pytest.param(["--method", "delete"], None, "DELETE /v1/models", id="a method alone"),
        pytest.param(["--path", "/v1/models"], None, "", id="a path"),
        pytest.param(["--model", "m"], None, "", id="a model"),
        pytest.param(["--body", "-"], b"{}", "", id="a body"),
    ],
)
def test_what_is_explained_is_told_where_nothing_is_asked(
    target: str, options: list[str], stdin: bytes | None, said: str
) -> None:
    result = run("--target", target, *options, stdin=stdin)
    told = f"no --model, --body or --path is given: this is about {said}\n" if said else ""
    assert result.stderr == told


def test_a_long_answer_is_one_line_where_standard_output_is_no_terminal(target: str) -> None:
    result = run("--target", target, "--model", "gone-" + "x" * 90)
    [body] = [line for line in result.stdout.splitlines() if line.startswith("{")]
    assert json.loads(body)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(("model", "code"), [pytest.param("m", 0, id="routed"), pytest.param("gone", 1, id="refused")])
def test_json_is_the_message_with_its_own_names(target: str, model: str, code: int) -> None:
    result = run("--target", target, "--model", model, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == code
    assert told["named_model"] == model
    assert [row["choice"] for row in told["candidates"]] == ([1, 0] if code == 0 else [0, 0])
    assert {"held_s", "destination", "prompt_tokens"} <= told.keys(), "what is 0 or empty is there, too"
