"""Traffic from a trace file: one JSON object a line with `timestamp` (ms), `input_length`, `output_length` (tokens) and
`hash_ids`, one for each 512 tokens of the prompt, equal where prompts are alike up to there.

Source: the traces of the Mooncake project (github.com/kvcache-ai/Mooncake, FAST25-release).
"""

import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from bench.policies.jobs import Chains, Job
from bench.policies.workloads import Workload
from bench.results import BenchError

PIECE_TOKENS = 512
FIRST_ANSWER = 1 << 30
"""Contents of answers, which no prompt of the trace names."""


class Line(msgspec.Struct, frozen=True):
    """One request of a trace."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]


def read_trace(path: Path, *, most: int | None = None) -> Workload:
    """The requests of a file, plain, `.xz` or `.gz`; only the first `most` if that is given.

    Errors: BenchError, with the number of the line, for what is no such line.
    """
    decode = msgspec.json.Decoder(Line).decode
    jobs: list[Job] = []
    chains = Chains()
    for number, text in enumerate(_lines(path), 1):
        if most is not None and len(jobs) >= most:
            break
        try:
            line = decode(text)
        except msgspec.DecodeError as exc:
            raise BenchError(f"{path}, line {number}: {exc}") from exc
        if len(line.hash_ids) != -(-line.input_length // PIECE_TOKENS) or not line.hash_ids or line.output_length < 1:
            raise BenchError(f"{path}, line {number}: lengths below 1, or not one hash id for each 512 tokens")
        parts = [(1 + content, PIECE_TOKENS) for content in line.hash_ids]
        parts[-1] = (parts[-1][0], line.input_length - PIECE_TOKENS * (len(parts) - 1))
        parts.append((FIRST_ANSWER + number, line.output_length))
        jobs.append(Job(len(jobs), line.timestamp / 1e3, chains.pieces(parts), line.input_length, line.output_length))
    if len(jobs) < 2 or jobs[0].arrived_s >= jobs[-1].arrived_s:
        raise BenchError(f"{path}: no requests over time")
    return Workload("trace", tuple(jobs), is_poisson=False)


def _lines(path: Path) -> Iterator[bytes]:
    with _open(path) as file:
        for line in file:
            if line.strip():
                yield line


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".xz":
        return cast("BinaryIO", lzma.open(path))
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
