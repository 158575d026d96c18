"""`extproc doctor`: checks the wiring and names the fault.

`gather` looks and asks, once; the check modules judge what it found (`evidence`), each a pure function; `report` tells.
"""

from extproc.cli.doctor.command import doctor

__all__ = ["doctor"]
