"""Durations as Go writes them: `50ms`, `2s`, `1m30s`.

Source: Go's `time.ParseDuration`, whose syntax the flags of today's pickers take (docs/architecture.md, "Commands").
"""

import math
import re
from decimal import Decimal

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek mu: keyboards and Go's parser know both
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LONGEST_NS = 2**63 - 1  # Go's limit, about 292 years; it also keeps the float finite
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds that `text` stands for, never negative; the only number that needs no unit is `0`.

    Raises `ValueError`, with a text made for the person who wrote the setting.
    """
    if text == "0":
        return 0.0
    if text.startswith("-"):
        raise ValueError(f"duration {text!r} is negative")
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(_complaint(text))
    nanoseconds = sum((Decimal(number) * _NANOSECONDS[unit] for number, unit in parts), Decimal(0))
    if nanoseconds > _LONGEST_NS:
        raise ValueError(f"duration {text!r} is longer than 292 years")
    return float(nanoseconds / 1_000_000_000)


def format_duration(seconds: float) -> str:
    """A short text that `parse_duration` reads back as `seconds`, to the nanosecond: `1h`, `1m30s`, `1.5s`, `50ms`.

    Units that are zero are left out (Go writes `1h0m0s`). Raises `ValueError` on a negative or non-finite number.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{seconds!r} is no duration in seconds")
    nanoseconds = round(Decimal(seconds) * 1_000_000_000)
    if nanoseconds == 0:
        return "0s"
    for unit, above in (("ns", "µs"), ("µs", "ms"), ("ms", "s")):
        if nanoseconds < _NANOSECONDS[above]:
            return _decimal(nanoseconds, unit)
    hours, rest = divmod(nanoseconds, _NANOSECONDS["h"])
    minutes, rest = divmod(rest, _NANOSECONDS["m"])
    return "".join(
        (f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", _decimal(rest, "s") if rest else "")
    )


def _decimal(nanoseconds: int, unit: str) -> str:
    whole, rest = divmod(nanoseconds, _NANOSECONDS[unit])
    digits = len(str(_NANOSECONDS[unit])) - 1
    fraction = f"{rest:0{digits}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}{unit}" if fraction else f"{whole}{unit}"


def _complaint(text: str) -> str:
    if re.fullmatch(r"[0-9]*\.?[0-9]+|[0-9]+\.", text):
        return f"duration {text!r} has no unit: write {text}s or {text}ms"
    return f"{text!r} is no duration: write it like 50ms, 2s or 1m30s"
