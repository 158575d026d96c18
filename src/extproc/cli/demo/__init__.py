"""`extproc demo`: a real Envoy, the picker and simulated model servers, joined on loopback."""
