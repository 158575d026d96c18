"""A bound on the bytes of request bodies held in memory at one time, over all streams."""


class HeldBytes:
    """Counts bytes against a limit. What is taken must be given back, whatever becomes of the stream."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Takes `size_bytes` and returns True, or takes nothing and returns False where it would pass the limit."""
        if self.held_bytes + size_bytes > self.limit_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Returns bytes taken before."""
        self.held_bytes -= size_bytes
