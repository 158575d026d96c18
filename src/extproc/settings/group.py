"""What settings are stated with: groups of keys, each with its default, flag and reason."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


def setting(
    default: Any, doc: str, *, flag: str | None = None, key: str | None = None, needs_restart: bool = False
) -> Any:
    """A field with its reason, the flag that sets it, its key where that is not the camelCase of the name, and whether
    a change of it counts at the next start only.
    """
    extra: dict[str, Any] = {"flag": flag} if flag else {}
    if needs_restart:
        extra["needs_restart"] = True
    return Field(default, description=doc, alias=key, json_schema_extra=extra or None)


class Group(BaseModel):
    """A group of settings. Unknown keys are errors; a group with nothing below it (`server:`) is an empty one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _read_empty(cls, value: object) -> object:
        return {} if value is None else value
