"""A request of the simulation: what its prompt and its answer are made of, and when it comes."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bench.policies.costs import BLOCK_TOKENS

TOKEN_BYTES = 4
MOST_TEXT_BYTES = 256 << 10
"""What the picker keeps of a prompt."""
MOST_BLOCKS_BITS = 14
"""No request has more blocks than this many bits count: 262,144 tokens."""


class Piece(NamedTuple):
    """A run of tokens with one content."""

    chain: int
    """Number of everything up to here and of this content: equal for two requests only if they are alike until here."""
    content: int
    end: int
    """Tokens of the request up to the end of this piece."""


class Job(msgspec.Struct, frozen=True):
    """One request."""

    index: int
    arrived_s: float
    pieces: tuple[Piece, ...]
    """Of the prompt, then of the answer."""
    prompt_tokens: int
    output_tokens: int
    model: str = "m"
    objective: str | None = None

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the whole prompt."""
        return self.prompt_tokens * TOKEN_BYTES

    def block_keys(self) -> list[int]:
        """The key of each whole block of prompt and answer, equal for two jobs only if they are alike up to its end."""
        keys: list[int] = []
        first = 0
        for chain, _, end in self.pieces:
            last = end // BLOCK_TOKENS
            base = chain << MOST_BLOCKS_BITS
            keys.extend(range(base + first, base + last))
            first = last
        return keys

    def text(self, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
        """The prompt as bytes, 4 to a token, cut at `most_bytes`."""
        parts, start, left = [], 0, min(self.prompt_tokens, most_bytes // TOKEN_BYTES)
        for _, content, end in self.pieces:
            if start >= left:
                break
            parts.append(content.to_bytes(TOKEN_BYTES, "little") * (min(end, left) - start))
            start = end
        return b"".join(parts)


class Chains:
    """Numbers the beginnings that prompts have in common."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int, int], int] = {}

    def pieces(self, parts: Sequence[tuple[int, int]]) -> tuple[Piece, ...]:
        """The pieces of a request from the (content, tokens) of each."""
        pieces, chain, end = [], 0, 0
        for content, tokens in parts:
            chain = self._numbers.setdefault((chain, content, end), len(self._numbers) + 1)
            end += tokens
            pieces.append(Piece(chain, content, end))
        return tuple(pieces)
