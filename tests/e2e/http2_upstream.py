"""An upstream that speaks cleartext HTTP/2 and tells what reached it, request trailers included.

For a pool cluster with `GatewaySettings.endpoints_http2`. The picker's probes speak HTTP/1.1 to the same port, so the
first bytes of a connection decide which of the two it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from tests.e2e.http2_client import decode_fields
from tests.e2e.upstreams import Exchange, Upstream

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(slots=True)
class _Request:
    headers: dict[str, str]
    body_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    trailers: dict[str, str] = field(default_factory=dict)


class Http2Upstream(Upstream):
    """Once the request has ended: 200 and a JSON object, `method`, `path`, `body_bytes`, `sha256` and `trailers`.

    `trailers` are those of its answers. `open_requests` counts requests that have not ended, `resets` those that the
    client (Envoy) reset. Over HTTP/1.1 it answers `GET /v1/models`, and 505 to all else.
    """

    def __init__(self, *, trailers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.trailers = dict(trailers or {})
        self.open_requests = 0
        self.resets = 0

    def make_exchange(self) -> Exchange:
        return _EitherExchange(self)

    def on_body_end(self, exchange: Exchange) -> None:
        exchange.send(self.head("505 HTTP Version Not Supported", "content-length: 0"))


class _EitherExchange(Exchange):
    """One connection: HTTP/2 if it begins with the preface, else HTTP/1.1."""

    def __init__(self, upstream: Http2Upstream) -> None:
        super().__init__(upstream)
        self._http2_upstream = upstream
        self._is_http1 = False
        self._first_bytes = b""
        self._connection: H2Connection | None = None
        self._requests: dict[int, _Request] = {}

    def data_received(self, data: bytes) -> None:
        if self._is_http1:
            super().data_received(data)
        elif self._connection is not None:
            self._receive_frames(self._connection, data)
        else:
            self._first_bytes += data
            if self._first_bytes.startswith(_PREFACE):
                self._connection = H2Connection(H2Configuration(client_side=False))
                self._connection.initiate_connection()
                self._receive_frames(self._connection, self._first_bytes)
            elif not _PREFACE.startswith(self._first_bytes):
                self._is_http1 = True
                super().data_received(self._first_bytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._http2_upstream.open_requests -= len(self._requests)
        self._requests.clear()
        super().connection_lost(exc)

    def _receive_frames(self, connection: H2Connection, data: bytes) -> None:
        for event in connection.receive_data(data):
            self._receive(connection, event)
        self.send(connection.data_to_send())
        self._http2_upstream.changes.notify()

    def _receive(self, connection: H2Connection, event: Event) -> None:
        upstream = self._http2_upstream
        match event:
            case RequestReceived(stream_id=int(stream_id), headers=headers):
                self._requests[stream_id] = _Request(decode_fields(headers))
                upstream.open_requests += 1
            case DataReceived(stream_id=int(stream_id), data=data, flow_controlled_length=int(length)):
                connection.acknowledge_received_data(length, stream_id)
                request = self._requests[stream_id]
                request.digest.update(data or b"")
                request.body_bytes += len(data or b"")
                upstream.received_bytes += len(data or b"")
            case TrailersReceived(stream_id=int(stream_id), headers=headers):
                self._requests[stream_id].trailers = decode_fields(headers)
            case StreamReset(stream_id=int(stream_id)):
                if self._requests.pop(stream_id, None) is not None:
                    upstream.open_requests -= 1
                    upstream.resets += 1
            case StreamEnded(stream_id=int(stream_id)):
                self._answer(connection, stream_id, self._requests.pop(stream_id))
                upstream.open_requests -= 1
                upstream.served += 1

    def _answer(self, connection: H2Connection, stream_id: int, request: _Request) -> None:
        upstream = self._http2_upstream
        answer = {
            "method": request.headers[":method"],
            "path": request.headers[":path"],
            "body_bytes": request.body_bytes,
            "sha256": request.digest.hexdigest(),
            "trailers": request.trailers,
        }
        head = {":status": "200", "content-type": "application/json", "x-served-by": upstream.address}
        connection.send_headers(stream_id, list(head.items()))
        connection.send_data(stream_id, json.dumps(answer).encode(), end_stream=not upstream.trailers)
        if upstream.trailers:
            connection.send_headers(stream_id, list(upstream.trailers.items()), end_stream=True)
