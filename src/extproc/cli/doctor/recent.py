"""Which of the streams that a picker has seen tell how the gateway is set now: counts since the start also tell of what
was mended since.
"""

from collections.abc import Iterable, Sequence

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.wording import count

PAST_S = 30.0
"""What began so long before the newest stream is of the past: the gateway was set otherwise then."""
UNSUPPORTED = "unsupported_mode"


def recent_callers(snapshot: admin_pb2.Snapshot | None) -> Sequence[admin_pb2.Caller]:
    """The kinds of streams that were seen of late. Where the last early end, or the last refusal for a mode, is of the
    past, none is told.
    """
    if snapshot is None or not snapshot.callers:
        return ()
    oldest_s = min(caller.age_s for caller in snapshot.callers) + PAST_S
    recent = [_forget_the_past(caller, oldest_s) for caller in snapshot.callers if caller.age_s <= oldest_s]
    return [caller for caller in recent if not _is_replaced(caller, recent)]


def _filter_of(caller: admin_pb2.Caller) -> tuple[bool, str, str]:
    """What does not differ between the streams of one filter, as what becomes of them does."""
    return caller.is_direct, caller.request_body_mode, caller.response_body_mode


def _is_replaced(caller: admin_pb2.Caller, callers: Sequence[admin_pb2.Caller]) -> bool:
    """None of its filter came since the newest filter, set otherwise, was seen for the first time."""
    told = [each for each in callers if each.tells_modes]
    if not told or not caller.tells_modes:
        return False
    newest = [each for each in told if _filter_of(each) == _filter_of(min(told, key=lambda each: each.age_s))]
    if not all(each.HasField("first_age_s") for each in newest):  # a picker of an earlier version does not say
        return False
    own = [each for each in told if _filter_of(each) == _filter_of(caller)]
    return min(each.age_s for each in own) > max(each.first_age_s for each in newest)


def _forget_the_past(caller: admin_pb2.Caller, oldest_s: float) -> admin_pb2.Caller:
    told = admin_pb2.Caller()
    told.CopyFrom(caller)
    if caller.left_early_age_s > oldest_s:
        for field in ("left_early", "left_after_s", "left_early_age_s"):
            told.ClearField(field)
    if caller.refused_age_s > oldest_s:
        for field in ("refused", "refused_age_s"):
            told.ClearField(field)
    return told


def tell_refused(callers: Iterable[admin_pb2.Caller]) -> str:
    """`; N requests were refused …`, or nothing where none was."""
    refused = sum(caller.refused for caller in callers)
    return (
        f"; {count(refused, 'request')} {'was' if refused == 1 else 'were'} refused as {UNSUPPORTED}" if refused else ""
    )


def once_mended(bad_age_s: float, callers: Sequence[admin_pb2.Caller]) -> str:
    """What to do where the fix was made since: empty where the newest stream is a bad one itself."""
    newest_s = min(caller.age_s for caller in callers)
    if bad_age_s <= newest_s:
        return ""
    left_s = max(1.0, PAST_S - bad_age_s)
    return f" If that is done already: send a request in {left_s:.0f} s, and look again."
