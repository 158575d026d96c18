"""director/edits: where another model's name is written, and why it cannot be."""

import gzip
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.director.decide import SHOWN_MODEL_CHARACTERS
from extproc.director.edits import edit_name
from extproc.parsers.request import parse_request
from extproc.values.decision import Edit
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, InferenceRequest, RequestHead, RouteToModel

BODY = b'{"model": "fast", "prompt": "the \\"model\\": fast"}'
FORM_TYPE = "multipart/form-data; boundary=x"
FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast\r\n--x--\r\n'
NO_HEADERS: Mapping[str, str] = {}
WHOLE, PARTIAL, UNSEEN = BodyExtent.WHOLE, BodyExtent.PARTIAL, BodyExtent.UNSEEN


def edited(body: bytes, edit: Edit | Reject | None) -> bytes:
    assert isinstance(edit, Edit)
    return body[: edit.start] + edit.replacement + body[edit.end :]


def edit(
    body: bytes, model: str, headers: Mapping[str, str] = NO_HEADERS, extent: BodyExtent = WHOLE
) -> Edit | Reject | None:
    """The edit of a request as it is read, which names `fast` where it can be read at all."""
    head = RequestHead("POST", "/v1/completions", headers)
    read = parse_request(head, body, extent=extent, max_body_bytes=1 << 20, now=0.0)
    request = InferenceRequest(RouteToModel("fast"), 0.0) if isinstance(read, Reject) else read
    return edit_name(request, model, head=head, body=body, extent=extent)


@pytest.mark.parametrize(
    ("body", "headers", "model", "expected"),
    [
        pytest.param(BODY, {}, "phi", BODY.replace(b'"fast"', b'"phi"', 1), id="JSON"),
        pytest.param(b' {"x":1,"model" :\t"fast"}\n', {}, "phi", b' {"x":1,"model" :\t"phi"}\n', id="spaces stay"),
        pytest.param(b'{"model":"f\\u0061st"}', {}, "phi", b'{"model":"phi"}', id="escaped where it came"),
        pytest.param(b'{"model":"fast"}', {}, 'a"b\\c', b'{"model":"a\\"b\\\\c"}', id="escaped where it must be"),
        pytest.param(b'{"model":"fast"}', {"content-encoding": "identity"}, "p", b'{"model":"p"}', id="identity"),
        pytest.param(FORM, {"content-type": FORM_TYPE}, "phi", FORM.replace(b"fast", b"phi"), id="a form's bytes"),
        pytest.param(
            FORM, {"content-type": FORM_TYPE}, 'a"b', FORM.replace(b"fast", b'a"b'), id="a form escapes nothing"
        ),
    ],
)
def test_the_name_is_written_and_nothing_else(
    body: bytes, headers: dict[str, str], model: str, expected: bytes
) -> None:
    assert edited(body, edit(body, model, headers)) == expected


@pytest.mark.parametrize(
    ("body", "headers", "extent", "model", "reason"),
    [
        pytest.param(
            gzip.compress(BODY), {"content-encoding": "gzip"}, WHOLE, "phi", Reason.RENAME_ENCODED, id="compressed"
        ),
        pytest.param(BODY, {}, PARTIAL, "phi", Reason.RENAME_PARTIAL, id="only its beginning"),
        pytest.param(b"", {}, PARTIAL, "phi", Reason.RENAME_PARTIAL, id="nothing of it yet"),
        pytest.param(b"", {}, UNSEEN, "phi", Reason.RENAME_UNSEEN, id="unseen"),
        pytest.param(b'{"model":"fast","model":"fast"}', {}, WHOLE, "phi", Reason.RENAME_UNPLACED, id="twice"),
        pytest.param(BODY, {}, WHOLE, "phi\udcff", Reason.RENAME_UNPLACED, id="a name that is no text"),
        pytest.param(
            FORM, {"content-type": FORM_TYPE}, WHOLE, "phi\udcff", Reason.RENAME_UNPLACED, id="the same in a form"
        ),
    ],
)
def test_what_cannot_be_written_is_refused(
    body: bytes, headers: dict[str, str], extent: BodyExtent, model: str, reason: Reason
) -> None:
    outcome = edit(body, model, headers, extent)
    assert isinstance(outcome, Reject)
    assert outcome.reason is reason
    assert "`fast`" in outcome.message
    assert "phi" not in outcome.message, "what the name stands for is not told"


def test_no_body_names_no_model() -> None:
    assert edit(b"", "phi", {"x-gateway-model-name": "fast"}) is None


def test_a_name_is_shown_up_to_a_length() -> None:
    outcome = edit(b"", "phi", {"x-gateway-model-name": "n" * 1000}, UNSEEN)
    assert isinstance(outcome, Reject)
    assert outcome.details == {"model": "n" * SHOWN_MODEL_CHARACTERS}


@given(
    before=st.dictionaries(st.text(max_size=5).filter(lambda key: key != "model"), st.text(max_size=9), max_size=3),
    after=st.dictionaries(st.text(max_size=5).filter(lambda key: key != "model"), st.text(max_size=9), max_size=3),
    named=st.text(min_size=1, max_size=9),
    model=st.text(max_size=9),
    ascii_only=st.booleans(),
)
def test_an_edited_document_says_the_same_but_for_the_model(
    before: dict[str, str], after: dict[str, str], named: str, model: str, ascii_only: bool
) -> None:
    for key in before.keys() & after.keys():
        del after[key]
    body = json.dumps({**before, "model": named, **after}, ensure_ascii=ascii_only).encode()
    change = edit(body, model)
    assert list(json.loads(edited(body, change)).items()) == [*before.items(), ("model", model), *after.items()]
    assert isinstance(change, Edit)
    assert json.loads(body[change.start : change.end]) == named
