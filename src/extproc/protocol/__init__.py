"""Envoy's external-processing protocol without I/O: bytes to events, events to commands, answers to bytes."""
