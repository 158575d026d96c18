"""`extproc top`: the pool, live."""
