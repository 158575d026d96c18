"""Trace files, as they are and as they should not be."""

import gzip
import json
import lzma
from pathlib import Path

import pytest
from bench.policies.trace import read_trace
from bench.results import BenchError

LINES: list[dict[str, object]] = [
    {"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]},
    {"timestamp": 500, "input_length": 1300, "output_length": 7, "hash_ids": [0, 1, 2]},
    {"timestamp": 2000, "input_length": 512, "output_length": 1, "hash_ids": [3]},
]


def write(path: Path, lines: list[dict[str, object]]) -> Path:
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if path.suffix == ".xz":
        data = lzma.compress(data)
    elif path.suffix == ".gz":
        data = gzip.compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.xz", "jsonl.gz"])
def test_a_file_is_read_plain_or_packed(tmp_path: Path, suffix: str) -> None:
    jobs = read_trace(write(tmp_path / f"trace.{suffix}", LINES)).jobs
    assert [(job.arrived_s, job.prompt_tokens, job.output_tokens) for job in jobs] == [
        (0.0, 1000, 5),
        (0.5, 1300, 7),
        (2.0, 512, 1),
    ]


def test_the_pieces_of_a_request_end_where_its_prompt_and_its_answer_do(tmp_path: Path) -> None:
    for job in read_trace(write(tmp_path / "t", LINES)).jobs:
        assert [piece.end for piece in job.pieces[-2:]] == [job.prompt_tokens, job.prompt_tokens + job.output_tokens]


def test_prompts_are_alike_as_far_as_their_ids(tmp_path: Path) -> None:
    first, second, third = [job.block_keys() for job in read_trace(write(tmp_path / "t", LINES)).jobs]
    assert first[:62] == second[:62]  # 1,000 tokens have 62 whole blocks
    assert not set(second[64:]) & set(first)
    assert not set(third) & {*first, *second}


def test_times_are_stretched_to_the_rate(tmp_path: Path) -> None:
    jobs = read_trace(write(tmp_path / "t", LINES)).at_rate(1.0)
    assert [job.arrived_s for job in jobs] == [0.0, 0.75, 3.0]


def test_only_the_first_are_read(tmp_path: Path) -> None:
    assert len(read_trace(write(tmp_path / "t", LINES), most=2).jobs) == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param([LINES[0], {"timestamp": 1}], "line 2", id="a field is missing"),
        pytest.param([LINES[0], LINES[1] | {"hash_ids": [1]}], "line 2", id="too few ids"),
        pytest.param([LINES[0] | {"output_length": 0}], "line 1", id="no answer"),
        pytest.param([LINES[0] | {"input_length": 0, "hash_ids": []}], "line 1", id="no prompt"),
        pytest.param(LINES[:1], "no requests over time", id="one request"),
        pytest.param([], "no requests over time", id="empty"),
    ],
)
def test_what_is_no_trace_is_said(tmp_path: Path, lines: list[dict[str, object]], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        read_trace(write(tmp_path / "t", lines))
