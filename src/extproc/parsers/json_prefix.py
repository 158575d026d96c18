"""The model's name in a JSON body of which only the beginning is there."""

import re

import msgspec

from extproc.parsers.encoding import Content
from extproc.parsers.json_body import model_of_json
from extproc.parsers.json_document import BYTE_ORDER_MARK
from extproc.parsers.json_models import JSON_STRING, mark_models, read_marks
from extproc.values.refusal import Reason, Reject

_BEGINNING = re.compile(rb"[ \t\r\n]*+(?:\{|\Z)")
_CUTTABLE = b"+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""What numbers and literals are made of: a cut can leave `-`, `1e` or `Na`, which alone would be damaged."""
_BROKEN_OFF = "Input data was truncated"
"""What msgspec says of a text to which only an end is missing; of all others it says something else."""


def model_of_json_prefix(content: Content) -> str | Reject:
    """The value of the top-level `model` of an object of which `content` is the beginning, possibly empty.

    `MODEL_BEYOND_BUFFER` where it has not come yet or is itself cut, `BODY_NOT_OBJECT` where no end could make an
    object of it. Of two the last counts; that a further one stands behind what is there cannot be known. A whole
    document is read as `model_of_json` reads it. `BODY_NOT_OBJECT` also where `mark_models` finds too much to mark.
    Measured at 3 to 25 ms/MB, whatever is nested where.

    msgspec loses what it has when the text breaks off, and so is told the positions: see `json_models`.
    """
    text = content.removeprefix(BYTE_ORDER_MARK)
    marked = mark_models(text)
    if marked is None:
        return Reject(Reason.BODY_NOT_OBJECT)
    positions: list[int] = []
    try:
        read_marks(marked.rstrip(_CUTTABLE), positions)
    except (msgspec.DecodeError, RecursionError) as error:
        if str(error) != _BROKEN_OFF or not _BEGINNING.match(text):
            return model_of_json(content)
    else:
        return model_of_json(content)
    if not positions or positions[-1] == len(text):
        return Reject(Reason.MODEL_BEYOND_BUFFER)
    start = positions[-1]
    if text[start] != ord('"'):
        return Reject(Reason.MODEL_NOT_STRING)
    value = JSON_STRING.match(text, start)
    return model_of_json(b'{"model":' + value[0] + b"}") if value else Reject(Reason.MODEL_BEYOND_BUFFER)
