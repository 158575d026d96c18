"""Names that stand for models: aliases with weighted targets."""

import msgspec


class Target(msgspec.Struct, frozen=True):
    """A model that a name can stand for."""

    model: str
    weight: int = 1
    """Its share is this over the sum of the weights; 0 gets nothing while another has more."""


class Alias(msgspec.Struct, frozen=True):
    """A name that clients may ask for, and what they get: an exact match of the whole name."""

    name: str
    targets: tuple[Target, ...]
