"""How far metrics pages are held back while the event loop is late: requests come first."""

LATE_S = 0.02
"""A loop that is so late is busy, or gets no time from the machine: at rest on a free core hardly a tick is. No more,
as each turn of a full loop serves all that wait, and ends within some 30 ms."""
LEAST_REST_S = 1 / 500
"""Below it, it makes no difference: more are not read in any case."""
LONGEST_REST_S = 1 / 50
"""So many a second cost next to nothing, and 25 endpoints need no more."""
MORE = 1.25
LESS = 0.98
"""Factors for a tick that is late and for one that is not: they are in balance where one tick in 12 is late."""


class Restraint:
    """Learns from how late each tick comes."""

    def __init__(self) -> None:
        self.rest_s = 0.0
        """Seconds to leave the loop alone for each reading that began."""

    def __repr__(self) -> str:
        return f"<Restraint of {self.rest_s * 1e3:.1f} ms>"

    def note_tick(self, late_s: float) -> None:
        """A tick came so late."""
        if late_s > LATE_S:
            self.rest_s = min(max(MORE * self.rest_s, LEAST_REST_S), LONGEST_REST_S)
        else:
            rest_s = LESS * self.rest_s
            self.rest_s = rest_s if rest_s >= LEAST_REST_S else 0.0
