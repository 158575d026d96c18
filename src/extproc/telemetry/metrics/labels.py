"""Under which name a model is counted, so that no client can make as many series as it likes."""

from collections.abc import Callable, Set

from extproc.values.snapshot import Snapshot

MODEL_LABELS = 1000
"""Distinct model names used as label values; further ones are counted as `other`."""
NO_MODEL = "none"
UNKNOWN_MODEL = "unknown"
OTHER_MODEL = "other"


class ModelLabels:
    """Gives names of their own to the first thousand models that the pool knows.

    Where more come, those that the pool knows no longer give up theirs, and `forget` is told of them: their series end.
    Nothing is added to `other` for them, as that would read as so many requests at this moment.
    """

    def __init__(self, known: Callable[[], Snapshot], *, forget: Callable[[Set[str]], None]) -> None:
        self._known = known
        self._forget = forget
        self._names: set[str] = set()
        self._swept_version = -1
        """Of the snapshot after which all that had gone had given up their names."""

    def __repr__(self) -> str:
        return f"<ModelLabels {len(self._names)}/{MODEL_LABELS}>"

    def label(self, model: str | None) -> str:
        """The label's value for a model that a request names; None where it names none."""
        if model is None:
            return NO_MODEL
        if model in self._names:
            return model
        snapshot = self._known()
        if model not in snapshot.models and model not in snapshot.aliases:
            return UNKNOWN_MODEL
        if len(self._names) >= MODEL_LABELS and not self._make_room(snapshot):
            return OTHER_MODEL
        self._names.add(model)
        return model

    def _make_room(self, snapshot: Snapshot) -> bool:
        if snapshot.version == self._swept_version:  # nobody has gone since: a look at a thousand for each request
            return False
        self._swept_version = snapshot.version
        gone = {name for name in self._names if name not in snapshot.models and name not in snapshot.aliases}
        self._names -= gone
        if gone:
            self._forget(gone)
        return bool(gone)
