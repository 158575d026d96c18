"""Where a source records how it fares."""

from typing import Protocol


class SourceMeters(Protocol):
    """Where a source records how it fares."""

    def say_source(self, source: str, *, is_connected: bool) -> None:
        """Records that the source was read just now as it should, or (False) that it could not be."""
