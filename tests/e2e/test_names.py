"""Names that stand for models, through a real Envoy: the body names the target, byte for byte the same otherwise."""

import gzip
import hashlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.api_objects import REWRITES, rewrite
from tests.cluster import double_cluster
from tests.e2e.load import run_load
from tests.e2e.modes import REQUEST_MODES, Phase, RequestMode
from tests.e2e.picker import Picker
from tests.e2e.pods import POOL, PodServer, addresses, ask_for
from tests.e2e.pods import Site as PodSite
from tests.e2e.test_modes import GEMMA, PHI, Site, serve

from extproc.cli.demo.envoy import Envoy, GatewaySettings

ALIASES: dict[str, Any] = {
    "fast": PHI,
    "x": GEMMA,
    "split": {"targets": [{"model": PHI, "weight": 90}, {"model": GEMMA, "weight": 10}]},
    "half": {"targets": [{"model": PHI}, {"model": "not/served", "weight": 99}]},
    "nowhere": "not/served",
}
CONFIG = {"requests": {"aliases": ALIASES}}
SIZES = [1_000, 1_000_000]
EDITABLE = {name: mode for name, mode in REQUEST_MODES.items() if not mode.names_model_in_header}


def prompt(model: str, *, size: int = 0, model_last: bool = False) -> bytes:
    """A body in which the alias stands elsewhere too, and that no encoder would write so."""
    text = b'"prompt" : "\\u0066ast \\"model\\": \\"fast\\" ' + b"x" * size + b'"'
    name = b'"model"\t:  ' + json.dumps(model).encode()
    return b" { " + (b", ".join((text, name)) if model_last else b", ".join((name, text))) + b', "max_tokens":8}\n'


def renamed(body: bytes, named: str, model: str) -> bytes:
    """The splice that is expected, made without ours."""
    before, at, after = body.partition(b'"model"\t:  ' + json.dumps(named).encode())
    assert at
    return before + b'"model"\t:  ' + json.dumps(model).encode() + after


async def ask(site: Site, body: bytes, expected: bytes, served_by: str, **headers: str) -> None:
    """A request whose body arrives as expected, and whose answer names the model that answered."""
    whole = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with site.http.post("/v1/completions", data=io.BytesIO(body), headers=whole) as response:
        text = await response.text()
    case = (text[:300], site.picker.log_text()[-2000:])
    assert response.status == 200, case
    assert response.headers["x-served-by"] == served_by, case
    assert response.headers["x-received-body-bytes"] == str(len(expected)), case
    assert response.headers["x-received-body-sha256"] == hashlib.sha256(expected).hexdigest(), case
    assert json.loads(text)["model"] == {"phi": PHI, "gemma": GEMMA}[served_by]


@pytest.mark.parametrize("phase", ["detach", "observe"])
@pytest.mark.parametrize("mode", EDITABLE.values(), ids=EDITABLE)
async def test_an_alias_in_every_mode(mode: RequestMode, phase: Phase) -> None:
    """Its target's name is longer, as a rule, or shorter: with the header, and both with a length and chunked."""
    async with serve(mode, phase, config=CONFIG) as site:
        for size in SIZES:
            if mode.body == "BUFFERED_PARTIAL" and size > SIZES[0] and not mode.allow_override:
                continue
            for model_last in (False, True):
                for named, model, served_by in (("fast", PHI, "phi"), ("x", GEMMA, "gemma")):
                    body = prompt(named, size=size, model_last=model_last)
                    await ask(site, body, renamed(body, named, model), served_by)
                body = prompt(PHI, size=size, model_last=model_last)
                await ask(site, body, renamed(body, PHI, GEMMA), "gemma", x_gateway_model_name_rewrite=GEMMA)
                await ask(site, body, body, "phi")
        assert site.wrong_pods() == 0
        assert "Traceback" not in site.picker.log_text()


@pytest.mark.parametrize("mode", ["full duplex", "streamed, no wait"])
async def test_a_body_that_goes_back_in_pieces(mode: str) -> None:
    """As through an HTTP hop: the first piece that comes in STREAMED is answered with all of it, the rest with none."""
    config = {**CONFIG, "envoy": {"requestBodyAnswer": "chunks"}}
    async with serve(REQUEST_MODES[mode], "observe", config=config) as site:
        for size in SIZES:
            for named, model, served_by in (("fast", PHI, "phi"), ("x", GEMMA, "gemma")):
                body = prompt(named, size=size, model_last=True)
                await ask(site, body, renamed(body, named, model), served_by)
        assert site.wrong_pods() == 0


@pytest.mark.parametrize("mode", EDITABLE.values(), ids=EDITABLE)
async def test_a_body_without_a_length(mode: RequestMode) -> None:
    async def pieces(body: bytes) -> Any:
        yield body[:20]
        yield body[20:]

    async with serve(mode, "detach", config=CONFIG) as site:
        body = prompt("fast", size=30_000)
        expected = renamed(body, "fast", PHI)
        async with site.http.post("/v1/completions", data=pieces(body)) as response:
            assert response.status == 200, (await response.text(), site.picker.log_text()[-2000:])
            assert response.headers["x-received-body-sha256"] == hashlib.sha256(expected).hexdigest()


async def test_a_form_and_a_header_of_llm_d() -> None:
    async with serve(REQUEST_MODES["full duplex"], "detach", config=CONFIG) as site:
        form = aiohttp.FormData()
        form.add_field("model", "fast")
        form.add_field("file", b"\x00fast\xff", filename="a.wav")
        async with site.http.post("/v1/audio/transcriptions", data=form) as response:
            assert response.headers["x-served-by"] == "phi", await response.text()
        body = prompt(PHI)
        await ask(site, body, renamed(body, PHI, GEMMA), "gemma", x_llm_d_model_name_rewrite=GEMMA)


@pytest.mark.parametrize(
    ("mode", "headers", "status", "code", "words"),
    [
        pytest.param("full duplex", {"content-encoding": "gzip"}, 415, "unsupported_encoding", "gzip", id="compressed"),
        pytest.param(
            "none, model in a header", {"x-gateway-model-name": "fast"}, 500, "unsupported_mode", "NONE", id="unseen"
        ),
        pytest.param("buffered partial", {}, 500, "unsupported_mode", "only its beginning", id="only its beginning"),
    ],
)
async def test_what_cannot_be_renamed_is_refused_and_reaches_no_pod(
    mode: str, headers: dict[str, str], status: int, code: str, words: str
) -> None:
    async with serve(REQUEST_MODES[mode], "detach", config=CONFIG, buffer_limit_bytes=100_000) as site:
        body = prompt("fast", size=1_000_000)
        data = gzip.compress(body) if "content-encoding" in headers else body
        async with site.http.post("/v1/completions", data=io.BytesIO(data), headers=headers) as response:
            assert response.status == status, await response.text()
            assert response.headers["x-extproc-reason"] == code
            assert words in (await response.json())["error"]["message"]
        assert site.wrong_pods() == 0
        assert await site.picker.metric("extproc_requests_total", outcome="routed") == 0


async def test_shares_of_targets_the_list_of_names_and_a_name_for_nothing() -> None:
    async with serve(REQUEST_MODES["full duplex"], "detach", config=CONFIG) as site:
        served: Counter[str] = Counter()
        for named, count in (("split", 500), ("half", 20)):
            for _ in range(count):
                async with site.http.post("/v1/completions", data=prompt(named)) as response:
                    assert response.status == 200, await response.text()
                    served[f"{named} {response.headers['x-served-by']}"] += 1
        assert served["half phi"] == 20, "a target that is not served gets nothing"
        assert served["split phi"] + served["split gemma"] == 500
        assert 20 <= served["split gemma"] <= 90, served  # 50 ± 6 standard deviations
        async with site.http.get("/v1/models") as response:
            listed = {entry["id"]: (entry["root"], entry["endpoints"]) for entry in (await response.json())["data"]}
        assert list(listed) == sorted(listed)
        assert listed == {
            "fast": (PHI, 1), "x": (GEMMA, 1), "split": (None, 2), "half": (None, 1), PHI: (PHI, 1), GEMMA: (GEMMA, 1)
        }  # fmt: skip
        async with site.http.get("/v1/models/fast") as response:
            assert (await response.json())["id"] == "fast"
        async with site.http.post("/v1/completions", data=prompt("nowhere")) as response:
            assert response.status == 404
            message = (await response.json())["error"]["message"]
            assert message.startswith("The model `nowhere` does not exist.")
            assert "fast" in message
            assert "not/served" not in message
        assert site.wrong_pods() == 0


async def test_a_rewrite_that_is_created_later_is_picked_up(tmp_path: Path) -> None:
    async with double_cluster() as cluster:
        site = PodSite(cluster)
        [ip], port = addresses(1)
        async with PodServer("phi-0", ip, port, "phi") as server:
            await site.install_pool(port)
            site.create(server, ready=True)
            async with (
                Picker(source=site.flags(tmp_path)) as picker,
                Envoy(GatewaySettings(endpoints=(server.address,), picker=picker.address)) as envoy,
            ):

                async def statuses() -> set[int]:
                    outcomes = await run_load(envoy.port, 5, 1, lambda _: ask_for("fast"), body_bytes=2)
                    return {outcome.status for outcome in outcomes}

                assert await statuses() == {404}
                await cluster.install_crd(REWRITES)
                await cluster.create(rewrite("r", POOL, (["fast"], {"phi": 1})))
                await picker.wait_for_log("names changed aliases=fast")
                assert await statuses() == {200}
                await cluster.delete(REWRITES, "r")
                await picker.wait_for_log("names changed aliases=", count=2)
                assert await statuses() == {404}
                assert "Traceback" not in picker.log_text()
