"""Prints what `extproc doctor` says of real set-ups, for the documents: `python -m tests.doctor.transcripts [--write]`.

With `--write` each transcript is put where a document has `<!-- transcript: NAME -->` and a fence. The set-ups listen
on the ports that the documents name, and keep their files in `FOLDER`: neither may be in use. Where the command finds
anything but what the words before a transcript announce, this fails and nothing is written.
"""

import asyncio
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.api_objects import PODS, POOLS_V1
from tests.cluster import double_cluster
from tests.doctor.gateways import ask, bootstrap, cluster_of, ext_proc_of, route_of
from tests.doctor.running import run_doctor, until_known
from tests.doctor.services import SERVICES
from tests.doctor.test_engines import engine
from tests.e2e.picker import Picker
from tests.e2e.pods import POOL, PodServer, Site, addresses

from extproc.cli.demo.envoy import TRACKING, Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

DOCUMENTS = (Path("docs/doctor.md"), Path("docs/doctor-envoy.md"))
FOLDER = Path("/tmp/extproc")
PORTS = ("--grpc-port=9002", "--grpc-health-port=9003", "--admin-grpc-port=9004")
ENVOY_ADMIN = 9901
BESIDE_ENVOY = ("--envoy-admin", f"http://127.0.0.1:{ENVOY_ADMIN}")
FAULTY = (
    "6 faults: streams: request body mode, Envoy: request body mode, Envoy: response phase, Envoy: failure mode, "
    "Envoy: limits to the picker, Envoy: endpoints of the pool; 1 warning: Envoy: time for an answer; "
)

_VERDICT = re.compile(r"^(?:FAULT|warning|ok|not checked)  .*\n(?: .*\n)*", re.MULTILINE)
_PLACE = re.compile(r"(<!-- transcript: (.+) -->\n```console\n)(?s:.*?)```\n")


async def transcribe(*arguments: str, found: str, shown: str = "") -> str:
    """The command with its output, as in a terminal. `found` is how the line that counts must begin; of the verdicts,
    those that match `shown` are kept, and `…` stands for the others.
    """
    ran = await run_doctor(*arguments)
    verdicts: list[str] = _VERDICT.findall(ran.output)
    counted = ran.output[len("".join(verdicts)) :]
    assert " ".join(counted.split()).startswith(found), f"not {found}\n{ran.errors}{ran.output}"
    assert (ran.code, ran.errors) == (0 if found.startswith("No fault") else 1, ""), ran
    kept = "".join(verdict if re.search(shown, " ".join(verdict.split())) else "…\n" for verdict in verdicts)
    output = re.sub(r"(…\n)+", "…\n", kept) + counted
    return f"$ {' '.join(('extproc doctor', *arguments))}\n{output}$ echo $?\n{ran.code}\n"


async def transcribe_kubernetes() -> dict[str, str]:
    """A pool that was known, and that may not be watched any more."""
    async with AsyncExitStack() as stack:
        site = Site(await stack.enter_async_context(double_cluster()))
        await site.install_pool(8000)
        site.double.serve(SERVICES)
        fails_open = {"spec": {"endpointPickerRef": {"failureMode": "FailOpen"}}}
        await site.cluster.patch(POOLS_V1, POOL, fails_open)
        for name, ip in zip(("phi-0", "gemma-0", "gemma-1"), addresses(3)[0], strict=True):
            pod = await stack.enter_async_context(PodServer(name, ip, 8000, name.partition("-")[0]))
            site.create(pod, ready=name != "gemma-1")
        picker = await stack.enter_async_context(Picker(source=site.flags(FOLDER), flags=PORTS))
        await until_known(picker, lambda known: all(each.load_problem for each in known.endpoints if each.is_ready))
        await site.cluster.forbid(PODS, "watch")
        site.cluster.gate.cut_streams("reset", path_part="pods")
        await until_known(picker, lambda known: any("403" in "".join(each.problems) for each in known.sources))
        found = "4 faults: RBAC, source, endpointPickerRef, failure mode; 2 warnings: ready pods, metrics pages; "
        return {"a pool in Kubernetes": await transcribe(found=found)}


async def transcribe_standalone() -> dict[str, str]:
    """Engines that are asked in the wrong way and a file that cannot be read; then others, and a file that can."""
    file = FOLDER / "endpoints.yaml"
    async with AsyncExitStack() as stack:
        phi, gemma, keyed = [
            (await stack.enter_async_context(SimServer(EngineSettings(models=(model,), api_key=key)))).address
            for model, key in (("microsoft/phi-4", None), ("google/gemma-2b-it", None), ("google/gemma-2b-it", "key"))
        ]
        elsewhere = await stack.enter_async_context(engine("/openai/v1/models", page="/metrics"))
        _list_endpoints(file, {"phi-0": phi, "gemma-0": keyed, "gemma-1": elsewhere})
        flags = ("--secure-serving=true", *PORTS)
        picker = await stack.enter_async_context(Picker(source=(f"--endpoints-file={file}",), flags=flags))
        await until_known(picker, lambda known: sum(bool(each.problem) for each in known.endpoints) == 2)
        await until_known(picker, lambda known: all(each.HasField("load") for each in known.endpoints))
        file.write_text(file.read_text().replace("endpoints:", "endpoint:"))
        await until_known(picker, lambda known: not known.sources[0].is_connected)
        broken = await transcribe(found="3 faults: source, engines; ")
        _list_endpoints(file, {"phi-0": phi, "gemma-0": gemma})
        await until_known(picker, lambda known: len(known.models) == 2 and known.sources[0].is_connected)
        await until_known(picker, lambda known: all(each.HasField("load") for each in known.endpoints))
        return {"a standalone picker": broken, "the same picker": await transcribe(found="No fault found; ")}


def _list_endpoints(file: Path, endpoints: Mapping[str, str]) -> None:
    listed = "".join(f"  - {{name: {name}, address: '{address}'}}\n" for name, address in endpoints.items())
    file.write_text(f"pools:\n- name: test\n  endpoints:\n{listed}")


async def transcribe_gateways() -> dict[str, str]:
    """Three gateways, one after the other, before one picker that is to track."""
    async with AsyncExitStack() as stack:
        llama, gemma = [
            (await stack.enter_async_context(SimServer(EngineSettings(models=(model,))))).address
            for model in ("llama", "gemma")
        ]
        endpoints = {"llama-0": llama, "gemma-0": gemma}
        config = {"envoy": {"responsePhase": "track", "messageTimeout": "5s"}}
        picker = await stack.enter_async_context(Picker(endpoints, config=config, flags=PORTS))
        await until_known(picker, lambda known: all(each.HasField("load") for each in known.endpoints))
        good = GatewaySettings(
            endpoints=(llama, gemma), picker=picker.address, processing_mode=TRACKING, admin_port=ENVOY_ADMIN
        )
        async with Envoy(replace(good, picker_tls=True)) as envoy:
            assert await ask(envoy.port, times=3) == [503, 503, 503]
            found, shown = "1 fault: Envoy: TLS to the picker; ", "^FAULT|see TLS to the picker"
            tls = await transcribe(*BESIDE_ENVOY, found=found, shown=shown)
        async with Envoy(_spoil(bootstrap(replace(good, endpoints=(llama,))))) as envoy:
            assert await ask(envoy.port, times=3) == [500, 500, 500]
            await until_known(picker, lambda known: _streams(known) == 3)
            faulty = await transcribe(*BESIDE_ENVOY, found=FAULTY, shown="^(FAULT|warning)")
        async with Envoy(good) as envoy:
            assert await ask(envoy.port, times=3) == [200, 200, 200]
            await until_known(picker, lambda known: _streams(known) == 6)
            mended = await transcribe(*BESIDE_ENVOY, found="No fault found; ", shown="^ok (streams|Envoy): ")
        return {"TLS on one side": tls, "a faulty gateway": faulty, "the gateway mended": mended}


def _spoil(config: Any) -> Any:
    modes = {"request_body_mode": "STREAMED", "response_header_mode": "SKIP"}
    ext_proc_of(config).update(failure_mode_allow=True, processing_mode=modes)
    del cluster_of(config, "picker")["circuit_breakers"]
    del route_of(config)["route"]["timeout"]
    return config


def _streams(known: Any) -> int:
    return sum(caller.streams for caller in known.callers)


async def main(*, writes: bool) -> None:
    """Prints every transcript, or puts each into the document that has a place for it."""
    FOLDER.mkdir()
    try:
        transcripts = await transcribe_kubernetes() | await transcribe_standalone() | await transcribe_gateways()
    finally:
        shutil.rmtree(FOLDER)
    if not writes:
        print("\n".join(transcripts.values()))
        return
    documents = {path: path.read_text() for path in DOCUMENTS}
    assert set(transcripts) == {name for text in documents.values() for _, name in _PLACE.findall(text)}
    for path, text in documents.items():
        path.write_text(_PLACE.sub(lambda place: f"{place[1]}{transcripts[place[2]]}```\n", text))


if __name__ == "__main__":
    asyncio.run(main(writes="--write" in sys.argv[1:]))
