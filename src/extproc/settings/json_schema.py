"""The config file as a JSON Schema, for editors: made from the settings' schema by `extproc check --schema`.

Whatever the loader takes is valid by it. The loader refuses more: what one key means for another, and what files hold.
"""

from typing import Any

from extproc.settings.keys import all_keys
from extproc.settings.llmd import KIND
from extproc.settings.schema import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OF_PYDANTIC = ("title", "flag", "needs_restart")


def render_json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12. An EndpointPickerConfig is valid too, whatever stands in it."""
    schema = Settings.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.pop("$defs")
    definitions["Settings"] = schema
    _describe_keys(definitions)
    for definition in definitions.values():
        definition.pop("title", None)
        definition["description"] = " ".join(definition["description"].split())
        if "required" not in definition:  # a group with nothing below it
            definition["type"] = ["object", "null"]
        for value in definition["properties"].values():
            for key in OF_PYDANTIC:
                value.pop(key, None)
    _mend_names(definitions)
    return {
        "$schema": DIALECT,
        "title": "Settings of extproc",
        "if": {"type": "object", "required": ["kind"], "properties": {"kind": {"const": KIND}}},
        "else": {"$ref": "#/$defs/Settings"},
        "$defs": definitions,
    }


def _describe_keys(definitions: dict[str, Any]) -> None:
    """Gives each key its default as it is written in a file, and says how else it is set and when a change counts."""
    defaults = Settings().model_dump(mode="json", by_alias=True)
    for key in all_keys():
        group, default = definitions["Settings"], defaults
        for part in key.path[:-1]:
            group, default = definitions[group["properties"][part]["$ref"].rpartition("/")[2]], default[part]
        value = group["properties"][key.path[-1]]
        value["default"] = default[key.path[-1]]
        notes = [value["description"]]
        if key.flag:
            notes.append(f"Flag: --{key.flag}.")
        if key.needs_restart:
            notes.append("A change counts at the next start.")
        value["description"] = " ".join(notes)


def _mend_names(definitions: dict[str, Any]) -> None:
    """What validators read before the types do, which pydantic's own schema does not know."""
    alias = definitions["AliasSettings"]
    definitions["AliasSettings"] = {
        "description": alias.pop("description"),
        "anyOf": [{"type": "string", "minLength": 1}, alias],
    }
    alias["properties"]["targets"]["minItems"] = 1
    definitions["SchedulingSettings"]["properties"]["scorers"]["minItems"] = 1
    definitions["SourceSettings"]["properties"]["poolGroup"]["anyOf"].append({"const": ""})
    for group, key in (("RequestSettings", "aliases"), ("AdmissionSettings", "objectives")):
        definitions[group]["properties"][key]["type"] = ["object", "null"]
