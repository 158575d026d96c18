"""Hypothesis without its deadline: on a busy machine an example's wall-clock time says nothing of the code."""

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
