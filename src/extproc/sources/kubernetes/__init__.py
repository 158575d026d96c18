"""A pool from Kubernetes: its pods, listed and watched, by an InferencePool or a selector."""
