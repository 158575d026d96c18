"""cli/doctor/standin: what was learned without a picker is told as a picker tells it."""

from msgspec.structs import replace
from tests.unit.known import answered, endpoint, failed, known_after, said

from extproc.cli.doctor.standin import tell
from extproc.registry.changes import Failure, Listing, PoolChanged
from extproc.registry.reduce import SUSPECT_FAILURES
from extproc.values.admin import Source


def test_a_suspect_still_serves_its_models() -> None:
    told = tell(
        known_after(said("a"), answered("a", "m"), *[failed("a", Failure.CONNECT)] * SUSPECT_FAILURES),
        [Source("pods", True, 0.0)],
    )
    assert [(each.name, each.is_suspect) for each in told.endpoints] == [("a", True)]
    assert [(each.id, each.endpoints) for each in told.models] == [("m", ("a",))]
    assert [each.name for each in told.sources] == ["pods"]


def test_an_endpoint_is_told_whole() -> None:
    at = replace(endpoint("a"), node="n", role="decode", engine="sglang")
    [told] = tell(known_after(PoolChanged((Listing(at, True, "1"),), ())), []).endpoints
    assert (told.node, told.role, told.engine, told.address) == ("n", "decode", "sglang", "10.0.0.1:8000")
