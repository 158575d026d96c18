"""Where a pool's endpoints come from."""
