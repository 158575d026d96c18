"""parsers/encoding: compressed bodies, and how much one may cost."""

import gzip
import os
import time
import tracemalloc
import zlib
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.encoding import decode_content
from extproc.values.refusal import Reason, Reject

BODY = b'{"model": "phi"}' * 3
LIMIT = len(BODY)
TOO_LARGE = Reject(Reason.BODY_TOO_LARGE, {"limit": str(LIMIT)})


def damaged(encoding: str) -> Reject:
    return Reject(Reason.BODY_NOT_DECODABLE, {"format": encoding})


def raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "sent", "content"),
    [
        pytest.param("", BODY, BODY, id="no encoding"),
        pytest.param("identity", BODY, BODY, id="identity"),
        pytest.param("gzip", gzip.compress(BODY), BODY, id="gzip"),
        pytest.param("x-gzip", gzip.compress(BODY), BODY, id="its old name"),
        pytest.param(" GZip ", gzip.compress(BODY), BODY, id="any case, with spaces"),
        pytest.param("deflate", zlib.compress(BODY), BODY, id="deflate"),
        pytest.param("deflate", raw_deflate(BODY), BODY, id="deflate without zlib's frame"),
        pytest.param("gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), BODY, id="two members"),
        pytest.param("gzip", gzip.compress(BODY) + bytes(9), BODY, id="padded with zeros"),
        pytest.param("gzip", gzip.compress(b"") + gzip.compress(BODY), BODY, id="an empty member first"),
        pytest.param("gzip", gzip.compress(BODY) + gzip.compress(b""), BODY, id="an empty member at the limit"),
        pytest.param("gzip", gzip.compress(b""), b"", id="nothing, compressed"),
        pytest.param("gzip", gzip.compress(BODY + b"x"), TOO_LARGE, id="gzip, a byte too many"),
        pytest.param("gzip", gzip.compress(BODY) + gzip.compress(b"x"), TOO_LARGE, id="the second member too many"),
        pytest.param("deflate", zlib.compress(BODY + b"x"), TOO_LARGE, id="deflate, a byte too many"),
        pytest.param("deflate", raw_deflate(BODY + b"x"), TOO_LARGE, id="raw deflate, a byte too many"),
        pytest.param("gzip", gzip.compress(BODY)[:-1], damaged("gzip"), id="gzip cut off"),
        pytest.param("gzip", gzip.compress(BODY)[:-1] + b"!", damaged("gzip"), id="a wrong check sum"),
        pytest.param("gzip", gzip.compress(BODY) + b"junk", damaged("gzip"), id="followed by something else"),
        pytest.param("gzip", BODY, damaged("gzip"), id="not compressed at all"),
        pytest.param("gzip", zlib.compress(BODY), damaged("gzip"), id="deflate called gzip"),
        pytest.param("deflate", zlib.compress(BODY)[:-1], damaged("deflate"), id="deflate cut off"),
        pytest.param("deflate", gzip.compress(BODY), damaged("deflate"), id="gzip called deflate"),
    ],
)
def test_takes_the_encoding_off(encoding: str, sent: bytes, content: bytes | Reject) -> None:
    assert decode_content(sent, encoding, max_bytes=LIMIT) == content


FIRST_MEMBER = gzip.compress(BODY[:9])
TWO_MEMBERS = FIRST_MEMBER + gzip.compress(BODY[9:])


@pytest.mark.parametrize(
    ("encoding", "sent", "content"),
    [
        pytest.param("", BODY[:5], BODY[:5], id="no encoding"),
        pytest.param("gzip", gzip.compress(BODY), BODY, id="all of it"),
        pytest.param("gzip", gzip.compress(BODY)[:-1], BODY, id="gzip, cut in the check sum"),
        pytest.param("gzip", gzip.compress(BODY)[:5], b"", id="gzip, cut in the header"),
        pytest.param("gzip", b"", b"", id="gzip, nothing yet"),
        pytest.param("gzip", TWO_MEMBERS[:-1], BODY, id="gzip, cut in the second member"),
        pytest.param(
            "gzip", TWO_MEMBERS[: len(FIRST_MEMBER) + 5], BODY[:9], id="gzip, cut in the second member's header"
        ),
        pytest.param("deflate", zlib.compress(BODY)[:-1], BODY, id="deflate"),
        pytest.param("deflate", raw_deflate(BODY)[:-1], BODY, id="deflate without zlib's frame"),
        pytest.param("gzip", gzip.compress(BODY + b"x")[:-8], TOO_LARGE, id="a byte too many"),
        pytest.param("gzip", BODY[:5], damaged("gzip"), id="not compressed at all"),
        pytest.param("gzip", gzip.compress(BODY)[:-1] + b"!", damaged("gzip"), id="a wrong check sum"),
        pytest.param("gzip", gzip.compress(b"") * 1001, damaged("gzip"), id="too many members"),
        pytest.param("br", BODY, Reject(Reason.ENCODING_UNSUPPORTED, {"encoding": "br"}), id="another encoding"),
    ],
)
def test_takes_the_encoding_off_a_beginning(encoding: str, sent: bytes, content: bytes | Reject) -> None:
    assert decode_content(sent, encoding, max_bytes=LIMIT, is_whole=False) == content


@given(
    body=st.binary(max_size=300).map(lambda data: data * 3),
    compress=st.sampled_from([gzip.compress, zlib.compress, raw_deflate]),
    data=st.data(),
)
def test_each_beginning_gives_a_beginning(body: bytes, compress: Callable[[bytes], bytes], data: st.DataObject) -> None:
    sent = compress(body)
    beginning = sent[: data.draw(st.integers(0, len(sent)))]
    encoding = "gzip" if compress is gzip.compress else "deflate"
    content = decode_content(beginning, encoding, max_bytes=1000, is_whole=False)
    assert not isinstance(content, Reject)
    assert body.startswith(content)
    assert content == body or len(beginning) < len(sent)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip;q=1", "*"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    assert decode_content(BODY, encoding, max_bytes=LIMIT) == Reject(
        Reason.ENCODING_UNSUPPORTED, {"encoding": encoding}
    )


def test_a_long_name_is_shown_in_part() -> None:
    assert decode_content(BODY, "x" * 5000, max_bytes=LIMIT) == Reject(
        Reason.ENCODING_UNSUPPORTED, {"encoding": "x" * 80}
    )


def test_a_bomb_is_given_up_at_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    began_s = time.process_time()
    assert isinstance(decode_content(bomb, "gzip", max_bytes=1000), Reject)
    assert time.process_time() - began_s < 0.05


def test_a_body_of_many_empty_members_costs_no_more_than_its_bytes() -> None:
    """1 MiB of them took 0.8 s where each member copied the rest of the body; 64 MiB would take an hour."""
    body = gzip.compress(b"") * ((1 << 20) // 20)
    began_s = time.process_time()
    decode_content(body, "gzip", max_bytes=64 << 20)
    assert time.process_time() - began_s < 0.2


@given(
    body=st.binary(), encoding=st.sampled_from(["gzip", "deflate"]), limit=st.integers(1, 50), is_whole=st.booleans()
)
def test_any_bytes_give_content_within_the_limit_or_a_refusal(
    body: bytes, encoding: str, limit: int, is_whole: bool
) -> None:
    content = decode_content(body, encoding, max_bytes=limit, is_whole=is_whole)
    assert isinstance(content, Reject) or len(content) <= limit


@given(cut=st.integers(0, 400), flipped=st.integers(0, 399))
def test_a_damaged_body_never_passes_for_another(cut: int, flipped: int) -> None:
    body = os.urandom(370)
    sent = bytearray(gzip.compress(body, mtime=0))
    sent[flipped % len(sent)] ^= 1
    content = decode_content(bytes(sent[:cut]), "gzip", max_bytes=1000)
    assert isinstance(content, Reject) or content in (b"", body)


def test_what_is_inflated_is_there_once() -> None:
    """Measured: it can be as large as the limit, and counts nowhere."""
    text = Random(1).randbytes(2 << 20).hex().encode()
    body = gzip.compress(text, compresslevel=1)
    tracemalloc.start()
    try:
        content = decode_content(body, "gzip", max_bytes=len(text))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content == text
    assert peak_bytes < 1.3 * len(text)
