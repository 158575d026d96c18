"""A name server on loopback with a few A records, which can be changed while it runs: what cluster DNS is to Envoy."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """`records` maps a name to its addresses; a name that is not there is NXDOMAIN. An async context manager."""

    def __init__(self, records: Mapping[str, Sequence[str]]) -> None:
        self.port = 0
        self.records = dict(records)
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(self), ("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()


class _Answering(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA | dns.flags.RA
        addresses = self._server.records.get(question.name.to_text(omit_final_dot=True))
        if addresses is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A and addresses:
            reply.answer.append(dns.rrset.from_text(question.name, 1, "IN", "A", *addresses))
        self._transport.sendto(reply.to_wire(), addr)
