"""The moments at which regular probes begin: some at a time, as each that wakes everybody up by itself costs more."""

JITTER = 0.1
"""Part of an interval by which it varies, so that endpoints do not keep step."""
BEGUN_AT_A_TICK = 8
"""Readings of 100 endpoints' pages cost 0.6 ms each when each wakes everybody up by itself, and 0.4 ms so. Of more at a
time requests would feel it."""
LONGEST_TICK_S = 0.05


def tick_s(interval_s: float, endpoints: int) -> float:
    """Seconds between the moments at which probes begin: no longer than the jitter, of which they take away."""
    return min(interval_s * JITTER, interval_s * BEGUN_AT_A_TICK / max(endpoints, 1), LONGEST_TICK_S)


def until_tick_s(pause_s: float, *, now: float, tick: float) -> float:
    """Seconds from `now` to the tick that is nearest to the end of a pause."""
    return max(0.0, round((now + pause_s) / tick) * tick - now)
