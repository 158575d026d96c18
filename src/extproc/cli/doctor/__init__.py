"""`extproc doctor`: checks the wiring and names the fault."""
