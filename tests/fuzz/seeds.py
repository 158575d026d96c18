"""The inputs that a fuzzer starts from: one for each way through a stream, and some for each other target."""

from tests.fuzz.bodies import FORM_PIECES, JSON_PIECES, NO_MORE, STREAM_PIECES
from tests.fuzz.messages import CHANGED, NAMES

from extproc.values.refusal import Reason

TARGETS = {"stream": 0, "parsers": 1, "usage": 2, "codec": 3}
"""The places of `targets.TARGETS`."""

MODES = {"NONE": 0, "STREAMED": 1, "BUFFERED": 2, "PARTIAL": 3, "DUPLEX": 4, "GRPC": 5, "untold": 6, "later": 7}
PHASES = ("auto", "detach", "track", "observe")
_ASIDE = 0
_WHOLE, _OPEN, _LAST = 2, 0, 1
"""`PIECES[2]` is a whole body; not the last piece, and the last."""


def step(name: str, *choices: int) -> bytes:
    """One step of a stream, and the number that `check_stream` reads after it."""
    return bytes([NAMES.index(name), *choices, _ASIDE])


def head(request: str, response: str = "NONE", *, flags: int = 0, headers: int = 1) -> bytes:
    return step("request headers", MODES[request], MODES[response], flags, headers, 0)


def body(name: str = "request body", *, end: int = _LAST, repeats: int = 0, piece: int = _WHOLE) -> bytes:
    return step(name, piece, repeats, end)


def stream(
    *steps: bytes, phase: str = "auto", override: int = 0, hop: int = 0, limit: int = 2, budget: int = 0
) -> bytes:
    return bytes([TARGETS["stream"], limit, 4, 0, PHASES.index(phase), 0, override, budget, hop]) + b"".join(steps)


def parsed(
    *text: bytes,
    pieces: tuple[bytes, ...] = JSON_PIECES,
    content_type: int = 0,
    encoding: int = 0,
    extent: int = 0,
    how: tuple[int, ...] = (0,),
    cut: int = 0,
) -> bytes:
    """For `check_parsers`: a POST whose body is `text`, of `pieces`."""
    first = bytes([TARGETS["parsers"], content_type, encoding, 0, 0, 0, 0, extent, 0, 0])
    return first + _text(text, pieces) + bytes([*how, cut >> 8, cut & 255])


def response(*text: bytes, cuts: tuple[int, ...]) -> bytes:
    """For `check_usage`."""
    return bytes([TARGETS["usage"], len(cuts), *cuts]) + _text(text, STREAM_PIECES)


def _text(text: tuple[bytes, ...], pieces: tuple[bytes, ...]) -> bytes:
    return bytes([pieces.index(piece) for piece in text] + [NO_MORE])


ROUTE, TRAILERS, END, LATE = step("route", 1, 0), step("request trailers"), step("end"), step("late")
RENAME = step("route", 1, 1, 2, 3, 2, 255, 0)
ANSWER = step("response headers", 0, 1, 0) + body("response body", end=_OPEN) + step("response trailers")
FORM = (b"--b\r\n", b'Content-Disposition: form-data; name="model"\r\n\r\n', b"\xff", b"\r\n--b--")
EARLY, END_OF_STREAM, OBSERVABILITY = 1, 2, 12

SEEDS: dict[str, bytes] = {
    "full duplex": stream(head("DUPLEX", "DUPLEX"), body(end=_OPEN), body(piece=0), ROUTE, END),
    "untold": stream(head("untold"), body(), ROUTE),
    "through a hop": stream(head("DUPLEX", "DUPLEX"), body(repeats=5), ROUTE, ANSWER, END, hop=1),
    "tracked": stream(head("DUPLEX"), body(), ROUTE, ANSWER, END, phase="track"),
    "observed": stream(head("STREAMED", "STREAMED", flags=EARLY), body(), ROUTE, ANSWER, END, phase="observe"),
    "trailers": stream(head("DUPLEX", "DUPLEX"), body(end=_OPEN), TRAILERS, ROUTE, ANSWER, END, hop=1),
    "early, trailers": stream(head("STREAMED", flags=EARLY), body(end=_OPEN), TRAILERS, ROUTE),
    "buffered": stream(head("BUFFERED"), body(), ROUTE, TRAILERS, ANSWER, END, phase="track"),
    "overridden": stream(head("STREAMED", "STREAMED"), body(), ROUTE, ANSWER, END, phase="observe", override=1),
    "partial": stream(head("PARTIAL"), body(piece=3, end=_OPEN), step("reject", 4, 0)),
    "none": stream(head("NONE", headers=3), ROUTE),
    "renamed": stream(head("DUPLEX", "DUPLEX"), body(end=_OPEN), body(), RENAME),
    "renamed through a hop": stream(head("DUPLEX", "DUPLEX"), body(repeats=5), RENAME, ANSWER, END, hop=1),
    "renamed, early, trailers": stream(
        head("STREAMED", flags=EARLY), body(end=_OPEN), body(end=_OPEN), TRAILERS, RENAME
    ),
    "renamed, buffered": stream(head("BUFFERED"), body(), RENAME, ANSWER, END, phase="track"),
    "no body": stream(head("DUPLEX", flags=END_OF_STREAM, headers=2), step("reply", 0, 2, 123, 125)),
    "later": stream(head("later")),
    "streamed": stream(head("STREAMED")),
    "observability": stream(head("STREAMED", flags=OBSERVABILITY), body(), LATE, ANSWER, END),
    "over the limit": stream(head("DUPLEX"), body(repeats=4, end=_OPEN), body(), limit=0),
    "over the budget": stream(head("DUPLEX"), body(repeats=4, end=_OPEN), LATE, budget=1),
    "cut off": stream(head("DUPLEX"), body(end=_OPEN), END),
    "late": stream(head("DUPLEX"), LATE),
    "out of order": stream(head("DUPLEX"), body(), ANSWER),
    "no headers": stream(body()),
    "changed bytes": stream(bytes([CHANGED]) + head("DUPLEX")[1:-1] + bytes([1, 0, 20, 4, 0, 65, 0, 9, 0, 1, 0])),
    "over the limit by its second piece": stream(
        head("DUPLEX"), body(repeats=2, end=_OPEN), body(repeats=2, end=_OPEN), body(repeats=2), limit=1
    ),
    "half a character": stream(
        head("DUPLEX"), body(), step("reject", list(Reason).index(Reason.MODEL_UNKNOWN), 1, 255)
    ),
    "JSON": parsed(b'{"model":"phi"}'),
    "JSON, cut in a number": parsed(b"{", b'"model" : "phi"', b",", b'"_":', b"-", b"9" * 30, b"}", cut=22),
    "JSON, beyond the standard": parsed(
        b"{", b'"model" : "phi"', b",", b'"_":', b"NaN", b",", b'"_":', b"0.5", b"}", cut=29
    ),
    "JSON, cut before the model": parsed(b"{", b'"model":', b'"', b"true", b'"', b"}", cut=9),
    "JSON, its beginning": parsed(b"{", b'"x":1,', b'"model" : "phi"', extent=1),
    "gzip": parsed(b'{"model":"phi"}', encoding=2),
    "gzip, several members": parsed(b'{"model":"phi"}', encoding=2, how=(1, 5)),
    "deflate, raw": parsed(b'{"model":"phi"}', encoding=3, how=(1,)),
    "form": parsed(FORM_PIECES[0], pieces=FORM_PIECES, content_type=2),
    "form, its beginning": parsed(*FORM[:2], b"phi", b"\r\n", b"--b\r\n", pieces=FORM_PIECES, content_type=3, extent=1),
    "form, no text": parsed(*FORM, pieces=FORM_PIECES, content_type=2),
    "usage": response(STREAM_PIECES[0], STREAM_PIECES[0], cuts=(5, 9, 30)),
    "usage, cut in a line's end": response(b"data:", b"{}", b"\r\n", b"data:", b"{}", b"\r\n", cuts=(8, 8)),
    "codec": bytes([TARGETS["codec"]]) + head("DUPLEX", "DUPLEX") + bytes([0, 30, 5, 4]),
}
