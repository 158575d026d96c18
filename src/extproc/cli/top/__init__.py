"""`extproc top`: the pool, live.

`feed` asks a picker again and again in a thread; `view` makes the lines of a frame, with the `tables`; `keys` reads q.
"""

from extproc.cli.top.command import top

__all__ = ["top"]
