"""A fuzzer's bytes, read as choices. Each input is a valid one, and a changed byte changes one choice."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

REPEATS = (1, 2, 3, 17, 300, 5000)
"""How often a piece is repeated: what takes more than linear time shows at a length that no fuzzer writes out."""
MOST_REPEATED_BYTES = 1 << 18


class Tape:
    """Reads from the front. Past the end every choice is the first one, every number 0, and all bytes are empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether something is left to read."""
        return self._at < len(self._data)

    def number(self) -> int:
        """0 to 255."""
        if not self:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def flag(self) -> bool:
        return self.number() % 2 == 1

    def choice(self, options: Sequence[T]) -> T:
        """One of at most 256 options."""
        return options[self.number() % len(options)]

    def piece(self) -> bytes:
        """Up to 255 bytes."""
        size = self.number()
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def repeated(self, piece: bytes) -> bytes:
        """`piece` once or often, but no more than 256 KiB of it."""
        times = self.choice(REPEATS)
        return piece * max(1, min(times, MOST_REPEATED_BYTES // max(1, len(piece))))

    def mutated(self, message: bytes) -> bytes:
        """`message` with one change, none where it is empty: a byte set, a range cut out, doubled or put in, the end
        cut off."""
        if not message:
            return message
        at = (self.number() << 8 | self.number()) % len(message)
        to = min(len(message), at + 1 + self.number())
        match self.number() % 5:
            case 0:
                return message[:at] + bytes([self.number()]) + message[at + 1 :]
            case 1:
                return message[:at] + message[to:]
            case 2:
                return message[:to] + message[at:]
            case 3:
                return message[:at] + self.piece() + message[at:]
            case _:
                return message[:at]
