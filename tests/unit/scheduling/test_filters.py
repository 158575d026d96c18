"""scheduling/filters: who may get a request at all."""

import pytest
from msgspec.structs import replace
from tests.unit.known import endpoint

from extproc.scheduling.filters import RoleFilter


@pytest.mark.parametrize(
    ("role", "is_allowed"),
    [
        pytest.param("", True, id="no role: all of a request"),
        pytest.param("both", True, id="both"),
        pytest.param("decode", True, id="decode"),
        pytest.param("prefill-decode", True, id="both by its newer name"),
        pytest.param("prefill", False, id="prefill"),
        pytest.param("encode", False, id="encode"),
        pytest.param("something-new", True, id="one that is not known"),
    ],
)
def test_role(role: str, is_allowed: bool) -> None:
    assert RoleFilter().allows(replace(endpoint("a"), role=role)) is is_allowed
