"""Requests as a client could send them, read off a tape: heads, and bodies in JSON, forms and compressions."""

import gzip
import zlib

from tests.fuzz.tape import Tape

from extproc.values.request import BodyExtent, RequestHead

METHODS = ("POST", "GET", "HEAD", "DELETE", "")
PATHS = ("/v1/chat/completions", "/v1/models", "/v1/models/", "/v1/models/a%2Fb", "/v1/models?x", "/v1/modelsx", "")
ENCODINGS = ("", "identity", "gzip", "deflate", " X-GZIP ", "br", "gzip,gzip")
CONTENT_TYPES = (
    "application/json",
    "",
    "multipart/form-data; boundary=b",
    'Multipart/Form-Data; charset=x; boundary="b"',
    "multipart/form-data",
    "multipart/form-data; boundary*0=b; boundary*=b",
    "multipart/form-data; boundary=" + "b" * 300,
)
JSON_PIECES = (
    b'{"model":"phi"}',
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\n",
    b'"model"', b'"\\u006dodel"', b'"model":', b'"model" : "phi"', b'"_":', b'"a":{"model":"x"},', b'"x":1,',
    b"\\ud83d", b"\\u0000", b"\\uDC00", b"\xf0\x9f\x98\x80", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\0",
    b"NaN", b"-Infinity", b"-", b"1e", b"1e999", b"-0", b"true", b"tru", b"null", b"9" * 30, b"0.5",
    b'"usage"', b'{"usage":{"prompt_tokens":7,"completion_tokens":9}}',
    b'"messages":[', b'{"role":"user","content":', b'"prompt":', b'"input":', b'"tools":[', b'{"type":"text","text":',
    b'{"type":"image_url","image_url":', b'"tool_calls":[', b'{"function":{"arguments":',
)  # fmt: skip
FORM_PIECES = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nphi\r\n--b--\r\n',
    b"--b", b"--", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"--b\r\n", b"\r\n--b", b"\r\n--b--", b"phi", b"\xff",
    b'Content-Disposition: form-data; name="model"\r\n\r\n', b"Content-Disposition: ", b'form-data; name="file"',
    b'; filename="m"', b"; name=", b'"model"', b"; name*0=model", b"; name*=utf-8''model", b";", b'\\"', b"a: b\r\n",
)  # fmt: skip
STREAM_PIECES = (
    b'data: {"usage":{"prompt_tokens":7,"completion_tokens":9}}\n\n',
    b"data: ", b"data:", b"data", b": ping", b"\n", b"\r\n", b"\r", b"\n\n", b"[DONE]", b"event: x\n",
    b'{"usage":', b'{"message":', b'{"response":', b"null", b"{}", b"}", b"}}", b'"prompt_tokens":1', b",",
    b'{"input_tokens":5,"cache_read_input_tokens":3}', b'"completion_tokens":-1', b'"completion_tokens":1e400',
    b'{"prompt_tokens_details":{"cached_tokens":2}}', b"\xff", b"\x0b\x0c\x1c\x85", b"[" , b"x" * 200,
)  # fmt: skip
PIECES = {"json": JSON_PIECES, "form": FORM_PIECES, "stream": STREAM_PIECES}


REPEATED, ANY, NO_MORE = 208, 224, 240
"""Of the 256 numbers that choose a piece, those from here on choose a repeated one, any bytes, the end."""


def read_text(tape: Tape, pieces: tuple[bytes, ...], *, most_pieces: int = 64) -> bytes:
    """Bytes put together of the pieces of one format, some repeated, some the fuzzer's own."""
    text = bytearray()
    for _ in range(most_pieces):
        if not tape:
            break
        choice = tape.number()
        if choice >= NO_MORE:
            break
        if choice >= ANY:
            text += tape.piece()
        elif choice >= REPEATED:
            text += tape.repeated(tape.choice(pieces))
        else:
            text += pieces[choice % len(pieces)]
    return bytes(text)


def read_head(tape: Tape) -> RequestHead:
    """A head as the codec makes it: text of any bytes, what is no UTF-8 as surrogates."""

    def text(options: tuple[str, ...]) -> str:
        choice = tape.number()
        return options[choice % len(options)] if choice < ANY else tape.piece().decode("utf-8", "surrogateescape")

    headers = {"content-type": text(CONTENT_TYPES), "content-encoding": text(ENCODINGS)}
    if tape.flag():
        headers["x-gateway-model-name"] = text(("phi", ""))
    return RequestHead(text(METHODS), text(PATHS), headers, tape.choice([None, (), ("127.0.0.1:1",)]))


DAMAGED = 192
"""Numbers from here on damage what was compressed."""


def compress(tape: Tape, content: bytes, encoding: str) -> bytes:
    """`content` as its encoding has it, now and then in several members, damaged, or as it is."""
    how = tape.number()
    if how >= NO_MORE:
        return content
    match encoding.strip().lower():
        case "gzip" | "x-gzip":
            body = gzip.compress(content, 1, mtime=0)
            body = tape.repeated(body) + b"\0" * (how % 3) if how % 4 == 1 else body
        case "deflate":
            body = zlib.compress(content, 1)
            body = body[2:-4] if how % 4 == 1 else body
        case _:
            return content
    return tape.mutated(body) if how >= DAMAGED else body


def read_extent(tape: Tape) -> BodyExtent:
    return tape.choice(list(BodyExtent))
