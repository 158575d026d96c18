"""A simulated vLLM-like model server. It stands in for the GPU, and for nothing else."""
