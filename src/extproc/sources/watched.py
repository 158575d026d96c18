"""A file that is read again and again, and what stands in it once it has settled."""

from extproc.errors import ConfigError
from extproc.settings.problems import LARGEST_FILE_BYTES, read_text


class WatchedFile:
    """Looks at a file by reading it whole, which costs less than a missed edit: a ConfigMap's files are swapped by a
    symbolic link, and an edit within the clock's tick leaves the same time stamp and size.

    What is new counts when two looks in a row have found it: one that is written in place is first found half-written,
    and one that is deleted and made again is for a moment not there.
    """

    def __init__(self, path: str, text: str, *, most_bytes: int = LARGEST_FILE_BYTES) -> None:
        """`text` is what was found there before."""
        self._path = path
        self._most_bytes = most_bytes
        self._settled: str | ConfigError = text
        self._seen: str | ConfigError = text

    def __repr__(self) -> str:
        return f"<WatchedFile {self._path}>"

    def look(self) -> str | ConfigError:
        """Reads the file; returns what has settled: its text, or how it could not be read. The same object as the last
        time unless something else has.
        """
        found: str | ConfigError
        try:
            found = read_text(self._path, self._most_bytes)
        except ConfigError as exc:
            found = exc
        if _is_other(found, self._seen):
            self._seen = found
        elif _is_other(found, self._settled):
            self._settled = found
        return self._settled


def _is_other(one: str | ConfigError, two: str | ConfigError) -> bool:
    """A text is never the same as an error that reads like it."""
    return isinstance(one, str) is not isinstance(two, str) or str(one) != str(two)
