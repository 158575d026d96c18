"""sources/kubernetes as a pod of the cluster: the service account's files, TLS, and a token that is rotated on disk."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.api_objects import PODS, POOLS_V1, pod, pool_v1
from tests.cluster import Cluster, double_cluster
from tests.real_apiserver import serving_pair
from tests.sources.kubernetes.following import LABELS, POOL, Following, following

from extproc.sources.kubernetes.access import Access, find_access


class Wire:
    """Passes TCP connections on, and cuts them."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def run(self, stack: AsyncExitStack) -> None:
        """Listens until the stack is left."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        stack.callback(self.cut)
        stack.callback(server.close)

    def cut(self) -> None:
        """Ends every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
        both = {writer, other_writer}
        self._writers |= both
        await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
        self._writers -= both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class InCluster:
    """What a pod finds: a service account's files, and in its environment the way to the API server."""

    def __init__(self, folder: Path, cluster: Cluster, wire: Wire) -> None:
        self.cluster = cluster
        self.wire = wire
        self.folder = folder
        (folder / "namespace").write_text(cluster.namespace + "\n")

    def write_token(self, token: str) -> None:
        """Puts it into the place of the old one, as the kubelet does."""
        (self.folder / "fresh").write_text(token)
        (self.folder / "fresh").replace(self.folder / "token")

    def access(self) -> Access:
        """As the picker finds it."""
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.wire.port)}
        return find_access(None, environ=environ, home=self.folder / "nowhere", service_account=self.folder)


@asynccontextmanager
async def in_cluster(tmp_path: Path) -> AsyncIterator[InCluster]:
    certificate, key = serving_pair()
    (tmp_path / "ca.crt").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key")
    options = {"tls": context, "certificate": tmp_path / "ca.crt", "tokens": ("first",)}
    async with double_cluster(**options) as cluster, AsyncExitStack() as stack:  # type: ignore[arg-type]
        assert cluster.double is not None
        wire = Wire(cluster.double.port)
        await wire.run(stack)
        account = InCluster(tmp_path, cluster, wire)
        account.write_token("first")
        await cluster.install_crd(POOLS_V1)
        await cluster.create(pool_v1(POOL, LABELS))
        await cluster.create(pod("a", LABELS, "10.0.0.1"))
        yield account


@asynccontextmanager
async def followed(account: InCluster, tmp_path: Path) -> AsyncIterator[Following]:
    async with following(account.cluster, tmp_path, access=account.access()) as told:
        await told.until_outline(a=True)
        yield told


async def test_the_service_accounts_files_are_enough(tmp_path: Path) -> None:
    async with in_cluster(tmp_path) as account:
        access = account.access()
        assert access.namespace == account.cluster.namespace
        async with followed(account, tmp_path) as told:
            await account.cluster.create(pod("b", LABELS, "10.0.0.2", False))
            await told.until_outline(a=True, b=False)
            assert account.cluster.gate.counts["connection"] == 0
            assert told.source.origin == f"Kubernetes, by the service account in {tmp_path}"


async def test_a_token_that_was_rotated_is_read_again(tmp_path: Path) -> None:
    """The file holds the new one before the old one is refused."""
    async with in_cluster(tmp_path) as account, followed(account, tmp_path) as told:
        assert account.cluster.double is not None
        account.write_token("second")
        account.cluster.double.rotate_token("second")
        account.wire.cut()
        await account.cluster.create(pod("b", LABELS, "10.0.0.2"))
        await told.until_outline(a=True, b=True)
        # The last one can be of another resource, still with the former token, and is refused then.
        assert "bearer second" in [seen.authorization for seen in account.cluster.double.requests]


async def test_a_token_that_is_refused_for_a_while_takes_nothing_away(tmp_path: Path) -> None:
    """The old one is refused before the file holds the new one. What is known stays meanwhile."""
    async with in_cluster(tmp_path) as account, followed(account, tmp_path) as told:
        assert account.cluster.double is not None
        account.cluster.double.rotate_token("second")
        account.wire.cut()
        await told.until_connected("pods", is_=False)
        refused = told.failures["pods"]
        await told.until(lambda: told.failures["pods"] > refused + 2)
        assert told.outline() == {"a": True}
        await account.cluster.delete(PODS, "a", grace_s=0)
        await account.cluster.create(pod("b", LABELS, "10.0.0.2"))
        account.write_token("second")
        await told.until_outline(b=True)
        assert told.connected["pods"]
