"""What is said of an API server that does not answer as it should: each kind of trouble once, until it is over."""

from extproc.errors import ApiConnectionError, ApiError, ApiStatusError
from extproc.telemetry.logs import Log

ABSENT = (403, 404)
"""Not served, or not to us."""

_log = Log("sources.kubernetes")


class Complaints:
    """The troubles with one path, by what was tried there. Texts differ from answer to answer; kinds do not.

    That an optional resource is not there, or not for us, is no trouble, and said as a fact.
    """

    def __init__(self, path: str, *, is_optional: bool = False) -> None:
        self._path = path
        self._is_optional = is_optional
        self._said: dict[str, object] = {}

    def say(self, doing: str, exc: ApiError) -> None:
        """Logs that `doing` failed, unless it was last said to fail in the same way."""
        kind = exc.status if isinstance(exc, ApiStatusError) else type(exc)
        if self._said.get(doing) != kind:
            self._said[doing] = kind
            if self._is_optional and kind in ABSENT:
                _log.info("an optional resource of Kubernetes is not used", path=self._path, problem=exc)
                return
            is_away = isinstance(exc, ApiConnectionError)
            what = f"Kubernetes cannot be reached to {doing}" if is_away else f"Kubernetes does not let us {doing}"
            _log.warning(what, path=self._path, problem=exc)

    def settle(self, doing: str) -> None:
        """Logs that `doing` succeeds again, where it was said to fail."""
        if self._said.pop(doing, None) is not None:
            _log.info(f"Kubernetes lets us {doing} again", path=self._path)
