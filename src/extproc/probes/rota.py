"""Who of thousands is due when. One timer serves all of them: a task asleep for each would cost memory and timers."""

from heapq import heapify, heappop, heappush

SPARE = 64
"""So many moments that are over before they come are kept, and as many as there are others."""


class Rota:
    """Moments in monotonic seconds, one for each id at most."""

    def __init__(self) -> None:
        self._due_at_s: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        """With moments that do not hold any more: an id that is put elsewhere or dropped leaves its old one behind."""

    def __repr__(self) -> str:
        return f"<Rota of {len(self._due_at_s)}>"

    @property
    def next_at_s(self) -> float:
        """When somebody is due next; infinity where nobody is."""
        while self._heap and not self._holds(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def put(self, id_: str, at_s: float) -> None:
        """It is due then, and at no other time."""
        self._due_at_s[id_] = at_s
        heappush(self._heap, (at_s, id_))
        if len(self._heap) > 2 * len(self._due_at_s) + SPARE:
            self._heap = [moment for moment in self._heap if self._holds(moment)]
            heapify(self._heap)

    def drop(self, id_: str) -> None:
        """It is never due, until it is put again."""
        self._due_at_s.pop(id_, None)

    def take(self, now: float, *, most: int) -> list[str]:
        """Those that are due by `now`, in order, and at most so many. They are due no more."""
        taken: list[str] = []
        while len(taken) < most and self.next_at_s <= now:
            _, id_ = heappop(self._heap)
            del self._due_at_s[id_]
            taken.append(id_)
        return taken

    def _holds(self, moment: tuple[float, str]) -> bool:
        return self._due_at_s.get(moment[1]) == moment[0]
