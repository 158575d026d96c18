"""`extproc explain`: why a request would go where.

A running picker is asked, or `offline` learns what one would know of an endpoints file; `view` prints the answer.
"""

from extproc.cli.explain.command import explain

__all__ = ["explain"]
