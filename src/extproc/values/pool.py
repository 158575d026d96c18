"""The pool that a server picks from."""

import msgspec


class Pool(msgspec.Struct, frozen=True):
    """Name of a pool, as in an InferencePool's metadata."""

    name: str
    namespace: str = "default"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
