"""How many tokens a prompt has, told from its bytes."""

BYTES_PER_TOKEN = 4.0
"""Of English text, about, in the vocabularies in use: what is believed before an answer has told better."""
DECAY = 0.99
"""By which each answer makes those before it count less."""
PRIOR_TOKENS = 1000.0
"""How much the belief weighs against what is seen."""
MOST_MODELS = 1000
MOST_BYTES_PER_TOKEN = 100.0
LEAST_BYTES_PER_TOKEN = 0.5


class TokenRatios:
    """Bytes per token by model: languages and vocabularies differ by a factor of four."""

    def __init__(self) -> None:
        self.typical = BYTES_PER_TOKEN
        """Over all models, as they are asked for."""
        self._seen: dict[str, tuple[float, float]] = {}
        """Model → bytes and tokens seen, the older ones counting less."""

    def bytes_per_token(self, model: str) -> float:
        """Of the prompts of `model`."""
        seen = self._seen.get(model)
        return BYTES_PER_TOKEN if seen is None else seen[0] / seen[1]

    def learn(self, model: str, size_bytes: int, tokens: int) -> None:
        """An engine counted so many tokens in a prompt of so many bytes. What no tokenizer could make is left out."""
        if tokens <= 0 or not LEAST_BYTES_PER_TOKEN <= size_bytes / tokens <= MOST_BYTES_PER_TOKEN:
            return
        if model not in self._seen and len(self._seen) >= MOST_MODELS:
            return
        seen_bytes, seen_tokens = self._seen.get(model, (PRIOR_TOKENS * BYTES_PER_TOKEN, PRIOR_TOKENS))
        self._seen[model] = (seen_bytes * DECAY + size_bytes, seen_tokens * DECAY + tokens)
        self.typical += (size_bytes / tokens - self.typical) * (1.0 - DECAY)
