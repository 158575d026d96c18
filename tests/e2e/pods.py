"""Simulated pods of a pool in the API server double: each an engine of one model on an address of its own."""

import asyncio
import os
import socket
import time
from pathlib import Path

from tests.api_objects import PODS, POOLS_V1, pod, pod_status, pool_v1
from tests.apiserver import ApiServer
from tests.cluster import Cluster
from tests.e2e.load import post
from tests.e2e.upstreams import Exchange, Upstream

POOL = "llm"
LABELS = {"app": "llm"}
WANTED = b"x-wanted-model"


def ask_for(model: str) -> bytes:
    """A request for a model, which a pod's server can tell from its head too."""
    return post(b'{"prompt": "Hello", "model": "%b"}' % model.encode(), headers=f"{WANTED.decode()}: {model}\r\n")


def addresses(count: int) -> tuple[list[str], int]:
    """So many addresses of loopback, and a port that is free on them. Another process gets others."""
    block = 16 + os.getpid() % 200
    ips = [f"127.{block}.{number // 250}.{number % 250 + 1}" for number in range(count)]
    with socket.socket() as trial:
        trial.bind((ips[0], 0))
        port: int = trial.getsockname()[1]
    return ips, port


class PodServer(Upstream):
    """The engine in a pod: answers requests after `answer_delay_s`, and `GET /v1/models` at once, once started.

    `asked` holds the time (`time.time()`) of each request; `wrong` counts those for another model than its own. With
    `closes` no connection but those of probes is used twice.
    """

    def __init__(
        self, name: str, ip: str, port: int, model: str, *, answer_delay_s: float = 0.0, closes: bool = False
    ) -> None:
        super().__init__()
        self.name = name
        self.ip = ip
        self.port = port
        self.address = f"{ip}:{port}"
        self.model = model
        self.asked: list[float] = []
        self.wrong = 0
        self.is_silent = False
        self._answer_delay_s = answer_delay_s
        fields = ("content-length: 2", *(("connection: close",) if closes else ()))
        self._answer_bytes = self.head("200 OK", *fields) + b"ok"
        self._swallowing: list[socket.socket] = []

    async def start(self) -> None:
        """Listens on the pod's address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.make_exchange, self.ip, self.port, backlog=128)

    async def stop(self) -> None:
        """Stops listening and drops every connection."""
        self._stop_swallowing()
        await super().stop()

    def go_silent(self) -> None:
        """Its node dies: what comes is swallowed, on open connections and on new ones.

        New ones find a backlog that is full, so that the kernel drops their SYNs.
        """
        assert self._server is not None
        self._server.close()
        self.is_silent = True
        listener, *queued = self._swallowing = [socket.socket() for _ in range(3)]
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.ip, self.port))
        listener.listen(0)
        for waiting in queued:
            waiting.setblocking(False)
            waiting.connect_ex((self.ip, self.port))

    async def come_back(self) -> None:
        """The node is back, the connections of before are not."""
        await self.stop()
        self.is_silent = False
        await self.start()

    def make_exchange(self) -> Exchange:
        """See `Upstream.make_exchange`."""
        return _PodExchange(self)

    def note(self, wanted: bytes) -> None:
        """Counts a request for a model."""
        self.asked.append(time.time())
        self.wrong += wanted != self.model.encode()

    def on_body_end(self, exchange: Exchange) -> None:
        """See `Upstream.on_body_end`."""
        if self._answer_delay_s:
            asyncio.get_running_loop().call_later(self._answer_delay_s, self._answer, exchange)
        else:
            self._answer(exchange)

    def _answer(self, exchange: Exchange) -> None:
        exchange.send(self._answer_bytes)
        self.served += 1

    def _stop_swallowing(self) -> None:
        for each in self._swallowing:
            each.close()
        self._swallowing.clear()


class _PodExchange(Exchange):
    """A connection that tells its pod which model a request is for, and that a silent pod leaves open."""

    def __init__(self, pod_server: PodServer) -> None:
        super().__init__(pod_server)
        self._pod = pod_server

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._pod.is_silent:
            super().data_received(data)

    def send(self, data: bytes) -> None:
        """See `Exchange.send`."""
        if not self._pod.is_silent:
            super().send(data)

    def _read_head(self) -> bool:
        at = self._buffer.find(b"\r\n" + WANTED + b": ")
        if at >= 0 and b"\r\n\r\n" in self._buffer:
            self._pod.note(bytes(self._buffer[at + len(WANTED) + 4 :]).split(b"\r\n", 1)[0])
        return super()._read_head()


class Site:
    """The pods of one pool in the API server double."""

    def __init__(self, cluster: Cluster) -> None:
        assert cluster.double is not None
        self.cluster = cluster
        self.double: ApiServer = cluster.double
        self.pods: dict[str, PodServer] = {}
        """By name, those that were ever there."""

    async def install_pool(self, port: int) -> None:
        """Creates the InferencePool that all pods belong to."""
        await self.cluster.install_crd(POOLS_V1)
        await self.cluster.create(pool_v1(POOL, LABELS, (port,)))

    def flags(self, folder: Path) -> tuple[str, ...]:
        """What tells a picker to follow that pool through the gate. Writes a kubeconfig into `folder`."""
        kubeconfig = folder / "kubeconfig"
        self.cluster.write_kubeconfig(kubeconfig)
        return (f"--pool-name={POOL}", f"--pool-namespace={self.cluster.namespace}", f"--kubeconfig={kubeconfig}")

    def create(self, server: PodServer, *, ready: bool, node: str = "node-a") -> None:
        """The pod is there, with its address."""
        self.pods[server.name] = server
        namespace = self.cluster.namespace
        self.double.create(pod(server.name, LABELS, server.ip, ready, namespace=namespace, node=node))

    def set_ready(self, server: PodServer, *, ready: bool = True) -> None:
        """The kubelet says so."""
        status = pod_status([server.ip], ready=ready)
        self.double.patch_status(PODS, server.name, status, namespace=self.cluster.namespace)

    def delete(self, server: PodServer, *, grace_s: int | None = None) -> None:
        """Somebody deletes it; with grace (its own, if None) it is marked, and there until `finish_deletion`."""
        self.double.delete(PODS, server.name, grace_s=grace_s, namespace=self.cluster.namespace)

    def finish_deletion(self, server: PodServer) -> None:
        """Its containers have ended."""
        self.double.finish_deletion(PODS, server.name, namespace=self.cluster.namespace)
