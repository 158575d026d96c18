"""Asking every endpoint what it serves."""
