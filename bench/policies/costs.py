"""What a step of an engine costs: Llama-3.1-8B in BF16, vLLM on one A100 with 40 GB.

Where the constants come from:

- `STEP_S`: one request decodes at 75 tokens/s on this card, 13.3 ms a step (J. Musgrave, "vLLM throughput-latency sweep
  on NVIDIA A100", vLLM 0.23), less what that request itself costs below. Reading the weights alone takes 16.06 GB /
  1,555 GB/s = 10.3 ms.
- `PREFILL_TOKEN_S`: 2 × 8.03e9 multiply-adds a token at 70 % of the card's 312 TFLOP/s.
- `ATTENTION_S`: a prefilled token attends to each one before it, 4 × 32 layers × 4,096 floating-point operations at
  60 % of 312 TFLOP/s. With both, 50,000 tokens take 7.2 s and 300,000 take 148 s; measured on an A100: 7.5 s and "3
  minutes" (microsoft/MInference, issue 84).
- `CONTEXT_TOKEN_S`: a decoding request reads its KV cache: 32 layers × 8 heads × 128 × 2 × 2 bytes = 128 KiB a token at
  80 % of 1,555 GB/s.
- `SEQUENCE_S`: an estimate of the rest that grows with the batch: sampling, detokenizing, activations.
- The blocks of `A100`: 0.9 of 39.4 GiB, less 15 GiB of weights and 3.8 GiB of activations and graphs, leaves 16.6 GiB
  at 2 MiB each. vLLM printed 148,096 tokens for this model where 18 GiB were left.
- `H200`: 989 TFLOP/s and 4,800 GB/s are both 3.1 times those of the A100; 0.9 of 140 GiB less the same leaves 107 GiB.
- Tokens and sequences in a batch: vLLM's defaults of its API server on these cards.
"""

import math

import msgspec

BLOCK_TOKENS = 16

STEP_S = 13.1e-3
PREFILL_TOKEN_S = 73e-6
ATTENTION_S = 2.8e-9
CONTEXT_TOKEN_S = 105e-9
SEQUENCE_S = 60e-6


class Card(msgspec.Struct, frozen=True):
    """A kind of engine: the model on a card."""

    name: str
    speed: float
    """As a multiple of the A100's."""
    blocks: int
    """KV blocks of `BLOCK_TOKENS` tokens."""
    most_batched_tokens: int
    """Tokens of one step, prompts and decoding together."""
    most_sequences: int = 256
    """Requests of one step."""


A100 = Card("A100", 1.0, 8_500, 2_048)
H200 = Card("H200", 3.1, 54_000, 8_192)
CARDS = {card.name: card for card in (A100, H200)}


class Costs(msgspec.Struct, frozen=True):
    """Seconds that a step takes, as a sum of what is in it. No part runs beside another: that is on the slow side."""

    step_s: float = STEP_S
    """Of any step."""
    prefill_token_s: float = PREFILL_TOKEN_S
    """Of each prompt token that is computed."""
    attention_s: float = ATTENTION_S
    """Of each pair of a token that is computed and one before it."""
    sequence_s: float = SEQUENCE_S
    """Of each request that decodes."""
    context_token_s: float = CONTEXT_TOKEN_S
    """Of each token in the KV cache of a request that decodes."""
    speed: float = 1.0
    """All of it is divided by this."""

    def prefill_s(self, start: int, tokens: int) -> float:
        """What `tokens` of a prompt add to a step, when `start` of them are computed already."""
        return (tokens * self.prefill_token_s + self.attention_s * tokens * (start + 0.5 * tokens)) / self.speed

    def decode_s(self, steps: int, sequences: int, context_tokens: int) -> float:
        """Of `steps` steps in a row of the same requests, which have `context_tokens` in the first. Each step of each
        request adds one token to it."""
        fixed = self.step_s + self.sequence_s * sequences + self.context_token_s * context_tokens
        return steps * (fixed + self.context_token_s * sequences * 0.5 * (steps - 1)) / self.speed

    def fewest_steps(self, least_s: float, sequences: int, context_tokens: int, *, most: int) -> int:
        """How many such steps take `least_s` or more; from 1 to `most`."""
        if self.decode_s(most, sequences, context_tokens) <= least_s:
            return most
        growth = self.context_token_s * sequences / self.speed
        first = self.decode_s(1, sequences, context_tokens) - 0.5 * growth
        root = (
            (math.sqrt(first * first + 2 * growth * max(least_s, 0.0)) - first) / growth if growth else least_s / first
        )
        steps = max(1, int(root))
        while steps > 1 and self.decode_s(steps - 1, sequences, context_tokens) >= least_s:
            steps -= 1
        while self.decode_s(steps, sequences, context_tokens) < least_s:
            steps += 1
        return steps
