"""Choosing among endpoints that could all serve a request: filters ▸ scorers ▸ picker."""
