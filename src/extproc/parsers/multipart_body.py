"""The model's name in a multipart/form-data body (audio transcriptions), and where it stands."""

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from extproc.parsers.encoding import Content
from extproc.values.refusal import Reason, Reject
from extproc.values.request import Span

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS = 2000
"""Each part costs Python time, however small it is: more of them than any form has would hold up everybody else."""

_UNREADABLE = Reject(Reason.BODY_NOT_DECODABLE, {"format": "multipart/form-data"})


class _ModelField:
    """Collects the value of the form field `model`; file contents pass by unread."""

    def __init__(self) -> None:
        self.value: bytearray | None = None
        self.is_value_whole = False
        self.is_whole = False
        self.times = 0
        """How often the field has been given."""
        self.start = 0
        """Where its value begins in the content: the parser's positions are those, as it is given all in one piece."""
        self._parts = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._is_model = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise FormParserError("too many parts")
        self._is_model = False

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._is_model = options.get(b"name") == b"model" and b"filename" not in options
            if self._is_model:
                self.value = bytearray()
                self.is_value_whole = False
                self.times += 1
        self._header_name.clear()
        self._header_value.clear()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_model and self.value is not None:
            if not self.value:
                self.start = start
            self.value += data[start:end]

    def _end_part(self) -> None:
        self.is_value_whole = True

    def _end(self) -> None:
        self.is_whole = True


def is_form(content_type: str) -> bool:
    """Whether the body is a form by its content type, whose parameters and case do not matter."""
    return content_type[:19].lower() == "multipart/form-data"


def model_of_multipart(content: Content, content_type: str, *, is_whole: bool = True) -> str | Reject:
    """The value of the form field `model`, possibly empty; the last one where it is given twice.

    A body that breaks off before its closing boundary is refused: the engine would refuse it too. Where only its
    beginning is there (`is_whole` false) a field counts once the next boundary has ended it, else the answer is
    `MODEL_BEYOND_BUFFER`.
    """
    field = _read_field(content, content_type)
    if field is None:
        return _UNREADABLE
    if not field.is_whole:
        if is_whole:
            return _UNREADABLE
        if field.value is None or not field.is_value_whole:
            return Reject(Reason.MODEL_BEYOND_BUFFER)
    if field.value is None:
        return Reject(Reason.MODEL_MISSING)
    try:
        return field.value.decode()
    except UnicodeDecodeError:
        return Reject(Reason.MODEL_NOT_STRING)


def find_model_field(content: bytes, content_type: str) -> Span | None:
    """The bytes of the value of the form field `model` in a whole body.

    None where it is absent, empty or given twice.
    """
    field = _read_field(content, content_type)
    if field is None or not field.is_whole or field.times != 1 or not field.value:
        return None
    return Span(field.start, field.start + len(field.value), is_json=False)


def _read_field(content: Content, content_type: str) -> _ModelField | None:
    """The field as far as it is there, None where this is no form."""
    _, options = parse_options_header(content_type.encode(errors="surrogateescape"))
    boundary = options.get(b"boundary")
    if not boundary:
        return None
    field = _ModelField()
    try:
        parser = MultipartParser(boundary, field.callbacks())
        parser.write(bytes(content))
        parser.finalize()
    except FormParserError:
        return None
    return field
