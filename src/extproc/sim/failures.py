"""Failure injection: which kinds of failure are on, how often each strikes, changeable while the server runs."""

import random
from collections.abc import Iterable, Mapping
from typing import Final

from extproc.values.duration import parse_duration

KINDS: Final[Mapping[str, str]] = {
    "500": "completions answer 500",
    "hang": "completions hold their slot and never answer",
    "drop": "the connection closes without a response, or half way through a stream",
    "slow-models": "/v1/models answers late (10 s, or the delay given)",
    "models-500": "/v1/models answers 500",
    "models-empty": "/v1/models lists nothing",
    "models-garbage": "/v1/models answers 200 with invalid JSON",
}
SLOW_MODELS = "slow-models"


class Failures:
    """The rate of each kind, in [0, 1]; what was never set is 0.

    `delay_s` is how long `slow-models` holds `/v1/models` back, in seconds.
    Methods raise `ValueError` on an unknown kind or a rate out of range, and then change nothing.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, *, rng: random.Random | None = None) -> None:
        self.delay_s = 10.0
        self._rates: dict[str, float] = {}
        self._rng = rng or random.Random()  # noqa: S311 - dice, not secrets
        self.update(rates or {})

    def __repr__(self) -> str:
        return f"Failures({self.rates!r}, delay_s={self.delay_s!r})"

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Failures":
        """From command-line words: `drop`, `500:0.1`, or `slow-models:2s` (a number with a unit is the delay)."""
        rates: dict[str, float | str] = {}
        for text in texts:
            kind, colon, value = text.partition(":")
            rates[kind] = value if colon else 1.0
        failures = cls()
        failures.update(rates)
        return failures

    @property
    def rates(self) -> dict[str, float]:
        """What is on now, by kind: a copy."""
        return dict(self._rates)

    def set(self, kind: str, rate: float = 1.0, *, delay_s: float | None = None) -> None:
        """Makes `kind` strike with probability `rate`; 0 turns it off. `delay_s` is for `slow-models`."""
        self.update({kind: rate})
        if delay_s is not None:
            self.delay_s = delay_s

    def update(self, rates: Mapping[str, object]) -> None:
        """Sets every kind named, leaves the others. A value is a rate, or for `slow-models` a duration such as `2s`."""
        checked: dict[str, float] = {}
        delay_s = self.delay_s
        for kind, value in rates.items():
            if kind not in KINDS:
                raise ValueError(f"no failure kind {kind!r}: there are {', '.join(KINDS)}")
            rate = _rate(value)
            if rate is None and kind == SLOW_MODELS and isinstance(value, str):
                delay_s, rate = parse_duration(value), 1.0
            if rate is None:
                raise ValueError(f"rate {value!r} of failure {kind} is no number from 0 to 1")
            checked[kind] = rate
        self.delay_s = delay_s
        self._rates = {kind: rate for kind, rate in (self._rates | checked).items() if rate > 0}

    def clear(self) -> None:
        """Turns every kind off."""
        self._rates = {}

    def strikes(self, kind: str) -> bool:
        """Whether `kind` hits this request."""
        rate = self._rates.get(kind, 0.0)
        return rate >= 1.0 or (rate > 0.0 and self._rng.random() < rate)


def _rate(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        rate = float(value)
    except ValueError:
        return None
    return rate if 0.0 <= rate <= 1.0 else None
