"""Everything that can be set: stated once in `schema`, read and checked in `load`."""
