"""The prefix index when it is full: a million blocks over a hundred endpoints. What it weighs and what its parts cost.

Memory is what the process grew by (resident set), measured in a process of its own. Times are beside that of
`msgspec.json.decode` of 1 KB in the same rounds, as P3's are. Half of each prompt that is looked up is known.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from pathlib import Path
from random import Random
from statistics import median

import msgspec

from bench.p3_decision import json_body
from bench.results import BenchError, Ratio, Result
from extproc.scheduling.prefix import BLOCK_BYTES, MOST_HOLDERS, PrefixIndex, hash_blocks

ENDPOINTS = 100
MOST_BLOCKS = 1_000_000
PROMPT_BLOCKS = 64
"""Of each prompt that fills the index: 16 KB."""
SHARED_BLOCKS = 16
"""Of these, blocks that several prompts begin with, as system prompts are."""
SYSTEM_PROMPTS = 50
CANDIDATES = 10
GOAL_MB = 250.0
ROUNDS = 9
ROUND_S = 0.02
LOOKUPS = (16, 256, 1024)
PROMPTS_KB = (4, 64, 256)


def fill() -> PrefixIndex:
    """A full index, in which every endpoint has had more than its share."""
    index, rng, numbers = PrefixIndex(MOST_BLOCKS), Random(5), count()
    ids = [f"default/pod-{n:03}-{rng.getrandbits(64):x}" for n in range(ENDPOINTS)]
    for id_ in ids:
        index.resize(id_, 4 * MOST_BLOCKS // ENDPOINTS)
    systems = [[rng.getrandbits(64) for _ in range(SHARED_BLOCKS)] for _ in range(SYSTEM_PROMPTS)]
    own = PROMPT_BLOCKS - SHARED_BLOCKS
    while next(numbers) < 1.2 * MOST_BLOCKS / own:
        index.add(rng.choice(ids), (*rng.choice(systems), *[rng.getrandbits(64) for _ in range(own)]))
    return index


def resident_bytes() -> int:
    """Of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


async def run() -> AsyncIterator[Result]:
    """Memory, then lookups, additions and hashing."""
    yield await _weigh()
    index = fill()
    rng = Random(7)
    ids = list(index._endpoints)
    decode_document, document = msgspec.json.Decoder().decode, _document()
    for name, part in _parts(index, ids, rng):
        pairs = [(_time_us(part), _time_us(lambda: decode_document(document))) for _ in range(ROUNDS)]
        ours, reference = [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
        yield Result(
            name=f"   {name}",
            figure=f"{median(ours):.2f} µs",
            reference=f"{median(reference):.2f} µs",
            ratio=str(Ratio.of(ours, reference)),
        )


async def _weigh() -> Result:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.prefix_index", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    if process.returncode:
        raise BenchError("the index could not be weighed")
    blocks, grown_bytes = map(int, output.split())
    megabytes = grown_bytes / 1e6
    return Result(
        name=f"prefix index, {blocks / 1e6:.2f} M blocks, {ENDPOINTS} endpoints",
        figure=f"{megabytes:.0f} MB",
        reference=f"{grown_bytes / blocks:.0f} B/block",
        goal=f"≤ {GOAL_MB:g} MB",
        is_ok=megabytes <= GOAL_MB,
    )


def _parts(index: PrefixIndex, ids: Sequence[str], rng: Random) -> list[tuple[str, Callable[[], object]]]:
    """Functions without arguments, each a part of a request's work."""
    parts: list[tuple[str, Callable[[], object]]] = []
    candidates = [index.of(id_) for id_ in ids[:CANDIDATES]]

    def count_known(hashes: Sequence[int]) -> Callable[[], object]:
        return lambda: [each.count_known(hashes) for each in candidates]

    def find_holders(hashes: Sequence[int]) -> Callable[[], object]:
        return lambda: index.find_holders(hashes, MOST_HOLDERS)

    for size in LOOKUPS:
        hashes = tuple(rng.getrandbits(64) for _ in range(size))
        for each in candidates:
            index.add(each.endpoint_id, hashes[: size // 2])
        parts.append((f"count_known, {CANDIDATES} candidates, {size} hashes", count_known(hashes)))
        parts.append((f"find_holders, {size} hashes", find_holders(hashes)))

    def add(size: int) -> Callable[[], object]:
        return lambda: index.add(ids[0], [rng.getrandbits(64) for _ in range(size)])

    def make(size: int) -> Callable[[], object]:
        return lambda: [rng.getrandbits(64) for _ in range(size)]

    for size in LOOKUPS[:2]:
        parts.append((f"add {size} new blocks, {size} go", add(size)))
        parts.append((f"   of that: making up {size} hashes", make(size)))

    def hash_text(text: bytes) -> Callable[[], object]:
        return lambda: hash_blocks(text, model="meta-llama/Llama-3.1-8B-Instruct")

    for size_kb in PROMPTS_KB:
        text = rng.randbytes(size_kb * 1024)
        parts.append((f"hash_blocks, {size_kb} KB ({len(text) // BLOCK_BYTES} blocks)", hash_text(text)))
    return parts


def _document() -> bytes:
    document = json_body(1024)
    return json_body(2048 - len(document))


def _time_us(function: Callable[[], object]) -> float:
    """Microseconds of one call, the mean of as many as fit into a round."""
    calls, began = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - began) < ROUND_S:
        for _ in range(20):
            function()
        calls += 20
    return passed_s / calls * 1e6


if __name__ == "__main__":
    before_bytes = resident_bytes()
    filled = fill()
    print(len(filled), resident_bytes() - before_bytes)
