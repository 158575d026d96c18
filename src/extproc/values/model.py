"""What an engine says of one model (or LoRA adapter) that it serves."""

import msgspec


class ModelCard(msgspec.Struct, frozen=True):
    """One entry of an engine's `GET /v1/models`, reduced to the fields that do not change from call to call.

    vLLM makes up `created` and the ids below `permission` anew at each call, so that two answers never compare equal;
    `created` is kept as first seen, `permission` not at all. Source: docs/architecture.md, "Nothing flickers".
    """

    id: str
    created: int = 0
    owned_by: str = "vllm"
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None

    def says_the_same_as(self, other: "ModelCard") -> bool:
        """True when both differ in `created` at most."""
        return (self.id, self.owned_by, self.root, self.parent, self.max_model_len) == (
            other.id,
            other.owned_by,
            other.root,
            other.parent,
            other.max_model_len,
        )
