"""A DNS server on loopback, over UDP and TCP, that says of its names what a test wants."""

import asyncio
import socket
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
from dns.asyncresolver import Resolver
from dns.nameserver import Do53Nameserver
from dns.rcode import Rcode
from dns.rdatatype import RdataType

UDP_BYTES = 512
"""Longer answers are cut, and the client is to ask again over TCP. Source: RFC 1035, section 4.2.1."""
MOST_ALIASES = 20


class Silent(NamedTuple):
    """Gives no answer."""


class Garbage(NamedTuple):
    """Answers with this, behind the id of the question, and over TCP too."""

    content: bytes


Trouble = Rcode | Silent | Garbage


class DnsServer:
    """Serves `names` and `aliases`. Change them, `ttls_s` and `troubles` at any time."""

    def __init__(self) -> None:
        self.port = 0
        self.ttls_s: dict[RdataType, int] = {}
        """By type of the record, 0 for what is not here; that no address is there holds as long as one of its type."""
        self.names: dict[str, list[str]] = {}
        """Addresses of both families by full name; a name that is not here is NXDOMAIN."""
        self.aliases: dict[str, str] = {}
        self.troubles: dict[RdataType, Trouble] = {}
        """What goes wrong with every question of this type."""
        self.troubles_of: dict[str, Trouble] = {}
        """What goes wrong with every question for this name."""
        self.asked: Counter[str] = Counter()
        """Questions by name and type, as `pool.ns. A`."""
        self.asked_over_tcp: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._stopping: list[asyncio.BaseTransport | asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "DnsServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens on the port that it had before, or on one that is free for both protocols."""
        loop = asyncio.get_running_loop()
        for _ in range(100):
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tcp.bind(("127.0.0.1", self.port))
                with suppress(OSError):
                    udp.bind(tcp.getsockname())
                    self.port = tcp.getsockname()[1]
                    transport, _protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp.dup())
                    self._stopping = [transport, await asyncio.start_server(self._serve, sock=tcp.dup())]
                    return
        raise OSError("no port is free for both TCP and UDP")

    async def stop(self) -> None:
        """Leaves: questions go nowhere from now on."""
        for listener in self._stopping:
            listener.close()
        self._stopping = []
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def wait_asked(self, question: str, times: int) -> None:
        """Returns once there have been so many more such questions."""
        wanted = self.asked[question] + times
        while self.asked[question] < wanted:
            self._news.clear()
            await self._news.wait()

    def resolver(self, *, search: tuple[str, ...] = (), ndots: int | None = None) -> Resolver:
        """A resolver that asks this server alone."""
        resolver = Resolver(configure=False)
        resolver.nameservers = [Do53Nameserver("127.0.0.1", self.port)]
        resolver.search = [dns.name.from_text(domain) for domain in search]
        resolver.domain = dns.name.root
        resolver.ndots = ndots
        return resolver

    def answer(self, wire: bytes, *, over_tcp: bool) -> bytes | None:
        """The answer to a question, None for silence."""
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name = question.name.to_text()
        key = f"{name} {question.rdtype.name}"
        self.asked[key] += 1
        self.asked_over_tcp[key] += over_tcp
        self._news.set()
        response = dns.message.make_response(query, recursion_available=True)
        trouble = self.troubles_of.get(name, self.troubles.get(question.rdtype))
        match trouble:
            case Silent():
                return None
            case Garbage(content):
                return wire[:2] + content
            case Rcode():
                response.set_rcode(trouble)
            case None:
                self._fill(response, question.name, question.rdtype)
        try:
            return response.to_wire(max_size=65535 if over_tcp else UDP_BYTES)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(self, response: dns.message.Message, name: dns.name.Name, rdtype: RdataType) -> None:
        """Answers as a recursive resolver: the aliases, then the addresses."""
        for _ in range(MOST_ALIASES):
            if (target := self.aliases.get(name.to_text())) is None:
                break
            response.answer.append(
                dns.rrset.from_text(name, self.ttls_s.get(RdataType.CNAME, 0), "IN", "CNAME", target)
            )
            name = dns.name.from_text(target)
        if name.to_text() not in self.names:
            response.set_rcode(dns.rcode.NXDOMAIN)
        ttl_s = self.ttls_s.get(rdtype, 0)
        version = 4 if rdtype == RdataType.A else 6
        addresses = [each for each in self.names.get(name.to_text(), ()) if ip_address(each).version == version]
        # Each as a set of its own, so that one that stands twice is sent twice.
        response.answer += [dns.rrset.from_text(name, ttl_s, "IN", rdtype.name, each) for each in addresses]
        if not addresses:
            soa = f"ns. root. 1 1 1 1 {ttl_s}"
            response.authority.append(dns.rrset.from_text(dns.name.root, ttl_s, "IN", "SOA", soa))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    if (wire := self.answer(await reader.readexactly(length), over_tcp=True)) is not None:
                        writer.write(len(wire).to_bytes(2, "big") + wire)
                        await writer.drain()
        finally:
            self._connections.discard(task)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if (wire := self._server.answer(data, over_tcp=False)) is not None:
            self._transport.sendto(wire, addr)
