"""Prompts are alike, as blocks and as bytes, exactly as far as their contents are."""

import pytest
from bench.policies.costs import BLOCK_TOKENS
from bench.policies.jobs import TOKEN_BYTES, Chains, Job

CHAINS = Chains()


def job(*parts: tuple[int, int]) -> Job:
    return Job(0, 0.0, CHAINS.pieces(parts), sum(tokens for _, tokens in parts[:-1]), parts[-1][1])


@pytest.mark.parametrize(
    ("one", "other", "alike_tokens"),
    [
        pytest.param(job((1, 100), (8, 4)), job((1, 100), (9, 4)), 100, id="another answer"),
        pytest.param(job((1, 100), (8, 4)), job((2, 100), (8, 4)), 0, id="another beginning"),
        pytest.param(job((1, 100), (3, 60), (8, 4)), job((1, 100), (4, 60), (8, 4)), 100, id="another middle"),
        pytest.param(job((1, 100), (3, 60), (8, 4)), job((2, 100), (3, 60), (8, 4)), 0, id="alike after a difference"),
        pytest.param(job((1, 512), (8, 4)), job((1, 300), (9, 4)), 300, id="cut short"),
        pytest.param(job((1, 512), (8, 400)), job((1, 300), (8, 400)), 300, id="the same content further on"),
        pytest.param(job((1, 100), (7, 50), (5, 9), (8, 4)), job((1, 100), (7, 50)), 150, id="an answer said again"),
    ],
)
def test_blocks_and_bytes_agree_on_what_is_alike(one: Job, other: Job, alike_tokens: int) -> None:
    same = [a == b for a, b in zip(one.block_keys(), other.block_keys(), strict=False)]
    blocks = same.index(False) if False in same else len(same)
    assert blocks == alike_tokens // BLOCK_TOKENS
    assert not any(same[blocks:])
    texts = one.text(), other.text()
    shown = min(alike_tokens, one.prompt_tokens, other.prompt_tokens) * TOKEN_BYTES
    assert texts[0][:shown] == texts[1][:shown]
    assert len(texts[0]) == one.prompt_bytes


def test_every_whole_block_of_prompt_and_answer_has_a_key() -> None:
    keys = job((1, 33), (2, 40), (3, 30)).block_keys()
    assert len(keys) == len(set(keys)) == 103 // BLOCK_TOKENS


def test_a_long_text_is_cut() -> None:
    long = job((1, 100_000), (2, 1))
    assert len(long.text()) == 256 << 10
    assert len(long.text(most_bytes=400)) == 400
