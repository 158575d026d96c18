"""extproc: the model-aware endpoint picker, an Envoy external-processing server for Kubernetes InferencePools."""

__version__ = "0.1.0"
