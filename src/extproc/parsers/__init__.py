"""From an HTTP request to what it asks for. Pure functions on bytes; the body itself is never changed."""
