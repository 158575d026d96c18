"""`extproc explain`: why a request would go where."""
