"""Reading compressed request bodies, within a bound."""

import zlib

from extproc.values.refusal import Reason, Reject

MOST_MEMBERS = 1000
"""Members that one gzip body may have: each costs a copy of up to a slice."""
SLICE_BYTES = 1 << 16
"""The body is given to zlib in slices: what follows a member is copied, and that must not be the whole rest."""

Content = bytes | bytearray
"""A body whose content-encoding is taken off."""

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def decode_content(body: bytes, encoding: str, *, max_bytes: int, is_whole: bool = True) -> Content | Reject:
    """`body` with its content-encoding taken off: identity, gzip (also of several members) or deflate.

    "deflate" is read as zlib, and raw as some clients send it. No more than `max_bytes` + 1 bytes are ever produced,
    so that a bomb costs no more than a large body. Of a body that is not whole, what can be read of it so far.
    Source: RFC 9110 §8.4.1.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    window_bits = _WINDOW_BITS.get(encoding)
    if window_bits is None:
        return Reject(Reason.ENCODING_UNSUPPORTED, {"encoding": encoding[:80]})
    try:
        content = _inflate(body, window_bits, max_bytes, is_whole=is_whole)
        if content is None and encoding == "deflate":
            content = _inflate(body, -zlib.MAX_WBITS, max_bytes, is_whole=is_whole)
    except _TooLargeError:
        return Reject(Reason.BODY_TOO_LARGE, {"limit": str(max_bytes)})
    return Reject(Reason.BODY_NOT_DECODABLE, {"format": encoding}) if content is None else content


class _TooLargeError(Exception):
    pass


def _inflate(body: bytes, window_bits: int, max_bytes: int, *, is_whole: bool) -> bytearray | None:
    """The decompressed body, as it grew, for a copy would be as large; None when it is damaged, or incomplete where it
    should be whole.
    """
    content = bytearray()
    view, at = memoryview(body), 0
    for _ in range(MOST_MEMBERS):
        inflater = zlib.decompressobj(window_bits)
        while not inflater.eof:
            piece = view[at : at + SLICE_BYTES]
            if not piece:
                return None if is_whole else content
            at += len(piece)
            try:
                content += inflater.decompress(piece, max_bytes + 1 - len(content))
            except zlib.error:
                return None
            if len(content) > max_bytes:
                raise _TooLargeError
        at -= len(inflater.unused_data)
        if window_bits != _WINDOW_BITS["gzip"] or not body[at : at + SLICE_BYTES].lstrip(b"\0"):
            return content
    return None
