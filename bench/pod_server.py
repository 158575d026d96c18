"""An API server of many pods that costs next to nothing: it lists in pages, watches, and storms when it is asked to.

`tests/apiserver.py` is the faithful one, and takes as long to make an event as the picker to read it. This one has
encoded everything beforehand. It runs as `python -m bench.pod_server`, a process of its own; what to serve it is told
as JSON.
"""

import asyncio
import gzip
import sys
import time
from collections import deque
from collections.abc import Sequence
from random import Random

import msgspec
from aiohttp import web

from bench.pods import NAMESPACE, PODS_PATH, POOL, BenchPod, address_of
from bench.processes import PythonServer

_POOL_PATH = f"/apis/inference.networking.k8s.io/v1/namespaces/{NAMESPACE}/inferencepools"
_RIPE_S = 1.0
"""A pod that a storm has made not ready becomes ready after about this time."""
FLIPS, HEARTBEATS, NOTES, LABELS = 0.2, 0.5, 0.2, 0.1
"""The mix of a storm: readiness that changes, statuses that are written anew, annotations, labels."""


class Plan(msgspec.Struct, frozen=True):
    """What is served."""

    models: Sequence[str]
    pods: int
    port: int


class Flip(msgspec.Struct, frozen=True):
    """A pod's readiness changed, and its event was sent at this time of the day."""

    pod: str
    is_ready: bool
    at_s: float


class Storm(msgspec.Struct, frozen=True):
    """What was sent."""

    events: int
    flips: list[Flip]


class PodServer(PythonServer):
    """The process."""

    def __init__(self, models: Sequence[str], *, pods: int, port: int) -> None:
        super().__init__("bench.pod_server", msgspec.json.encode(Plan(models, pods, port)).decode())
        self.url = ""

    async def _become_ready(self) -> None:
        self.url = (await self._line(r"^listening on (\S+)"))[1]


class _Server:
    def __init__(self, plan: Plan, rng: Random) -> None:
        self._plan = plan
        self._rng = rng
        self._pods = [_pod(plan, index) for index in range(plan.pods)]
        self._version = 1000
        self._watches: set[web.StreamResponse] = set()
        self._not_ready: deque[tuple[float, BenchPod]] = deque()
        self._flips: list[Flip] = []
        self._pages: dict[int, tuple[bytes, bytes]] = {}
        """By its first pod: plain, and compressed."""

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PODS_PATH, self._pods_at), web.get(_POOL_PATH, self._pool_at), web.post("/storm", self._storm)]

    async def _pool_at(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            response = await _stream(request)
            await asyncio.Event().wait()
            return response
        ports = [{"number": self._plan.port}]
        pool = {
            "metadata": {"name": POOL, "namespace": NAMESPACE, "uid": "1", "resourceVersion": "1"},
            "spec": {"selector": {"matchLabels": {"app": "vllm"}}, "targetPorts": ports},
        }
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [pool]})

    async def _pods_at(self, request: web.Request) -> web.StreamResponse:
        if not request.query.get("watch"):
            return self._page(request)
        response = await _stream(request)
        self._watches.add(response)
        try:
            await asyncio.Event().wait()
        finally:
            self._watches.discard(response)
        return response

    def _page(self, request: web.Request) -> web.Response:
        begin, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        if begin not in self._pages:
            page = self._encode_page(begin, limit)
            self._pages[begin] = (page, gzip.compress(page, 1))
        plain, compressed = self._pages[begin]
        headers = {"Content-Type": "application/json"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):  # as the real one does, from 128 KiB on
            return web.Response(body=compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=plain, headers=headers)

    def _encode_page(self, begin: int, limit: int) -> bytes:
        end = begin + limit
        metadata = {"resourceVersion": str(self._version), **({"continue": str(end)} if end < len(self._pods) else {})}
        items = b",".join(pod.encode(self._version) for pod in self._pods[begin:end])
        return b'{"kind":"PodList","apiVersion":"v1","metadata":%s,"items":[%s]}' % (
            msgspec.json.encode(metadata),
            items,
        )

    def warm(self, limit: int) -> None:
        """Encodes the pages beforehand: how long that takes is nobody's figure."""
        for begin in range(0, len(self._pods), limit):
            page = self._encode_page(begin, limit)
            self._pages[begin] = (page, gzip.compress(page, 1))

    async def _storm(self, request: web.Request) -> web.Response:
        """Sends events, in an open loop with Poisson arrivals, then makes every pod ready again, at the pace at which
        pods become ready in the storm.
        """
        events_per_s, duration_s = float(request.query["events_per_s"]), float(request.query["duration_s"])
        self._flips = []
        due_s = begun_s = time.monotonic()
        events = 0
        while due_s < begun_s + duration_s:
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            await self._send(self._change())
            events += 1
            due_s += self._rng.expovariate(events_per_s)
        while self._not_ready:
            await asyncio.sleep(2 / (events_per_s * FLIPS))
            await self._send(self._flip(self._not_ready.popleft()[1]))
        return web.Response(body=msgspec.json.encode(Storm(events, self._flips)))

    def _change(self) -> BenchPod:
        """A pod that has just changed, in one of the ways of a storm."""
        kind = self._rng.random()
        if kind < FLIPS:
            if self._not_ready and self._not_ready[0][0] < time.monotonic() - _RIPE_S:
                return self._flip(self._not_ready.popleft()[1])
            pod = self._flip(self._rng.choice([pod for pod in self._rng.choices(self._pods, k=8) if pod.is_ready]))
            self._not_ready.append((time.monotonic(), pod))
            return pod
        pod = self._rng.choice(self._pods)
        if kind < FLIPS + HEARTBEATS:
            pod.written_s += 1
        elif kind < FLIPS + HEARTBEATS + NOTES:
            pod.note += 1
        else:
            pod.label += 1
        return pod

    def _flip(self, pod: BenchPod) -> BenchPod:
        pod.is_ready = not pod.is_ready
        pod.flipped_s += 1
        pod.written_s += 1
        self._flips.append(Flip(pod.name, pod.is_ready, time.time()))
        return pod

    async def _send(self, pod: BenchPod) -> None:
        self._version += 1
        line = b'{"type":"MODIFIED","object":%s}\n' % pod.encode(self._version)
        for watch in self._watches:
            await watch.write(line)


def _pod(plan: Plan, index: int) -> BenchPod:
    model = index % len(plan.models)
    address = address_of(index // len(plan.models), model)
    return BenchPod.build(index, model=plan.models[model], address=address, port=plan.port)


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    return response


async def _serve(plan: Plan) -> None:
    server = _Server(plan, Random(3))
    server.warm(500)
    app = web.Application()
    app.add_routes(server.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(msgspec.json.decode(sys.argv[1], type=Plan)))
