"""The decision: from a request and a snapshot to one of the closed set of answers."""
