"""Immutable values that the parts of the picker hand to one another. No behaviour beyond reading them."""
