"""Where a source records how it fares."""

from collections.abc import Sequence
from typing import Protocol


class SourceMeters(Protocol):
    """Where a source records how it fares."""

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        """Records that the source was read just now as it should, or (False) that it could not be.

        `problems`: what is wrong with it now, for a person: they can be there also while it is connected.
        """
