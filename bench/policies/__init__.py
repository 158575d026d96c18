"""A discrete-event simulation of engines behind a router, which judges routing policies on one and the same traffic."""
