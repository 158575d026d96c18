"""Requests that share long beginnings: groups of chats with one system prompt each and a question of their own."""

import json
from collections.abc import Sequence
from pydoc_data.topics import topics
from random import Random

import msgspec

MODEL = "llama-8b"
GROUPS = 24
CHARS_PER_TOKEN = 4
"""Of `extproc sim`."""
PREFIX_TOKENS = 2048
QUESTION_TOKENS = (256, 768)
"""The shortest and the longest; all lengths between are as likely."""
ANSWER_TOKENS = 16
MEAN_QUESTION_TOKENS = sum(QUESTION_TOKENS) / 2


class Arrival(msgspec.Struct, frozen=True):
    """A request, and when it is due."""

    due_s: float
    """Seconds from the beginning."""
    body: bytes


def arrivals(rng: Random, *, requests_per_s: float, duration_s: float) -> Sequence[Arrival]:
    """Poisson arrivals of a request of any group, each as likely as the others. The same `rng` gives the same ones.

    The text is that of Python's own reference manual, which every installation has.
    """
    text = "".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode()
    prefix_chars = PREFIX_TOKENS * CHARS_PER_TOKEN
    prefixes = [text[group * prefix_chars : (group + 1) * prefix_chars] for group in range(GROUPS)]
    questions = text[GROUPS * prefix_chars :]
    found = []
    due_s = rng.expovariate(requests_per_s)
    while due_s < duration_s:
        size = rng.randint(*QUESTION_TOKENS) * CHARS_PER_TOKEN
        at = rng.randrange(len(questions) - size)
        # The number keeps it unlike all others where two begin at one place.
        question = f"{rng.getrandbits(64):016x} {questions[at : at + size]}"
        found.append(Arrival(due_s, _chat(rng.choice(prefixes), question)))
        due_s += rng.expovariate(requests_per_s)
    return found


def _chat(prefix: str, question: str) -> bytes:
    messages = [{"role": "system", "content": prefix}, {"role": "user", "content": question}]
    fields = {"model": MODEL, "messages": messages, "max_tokens": ANSWER_TOKENS, "stream": True}
    return json.dumps(fields).encode()
