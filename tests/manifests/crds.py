"""What an API server says to a custom resource: its CRD's schema, unknown fields being errors, where it drops them.

Source of the schemas: `schemas/README.md`; of the InferencePools', `tests/crds`.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

SCHEMAS = Path(__file__).parent / "schemas"
CRDS = Path(__file__).parents[1] / "crds"


def problems(found: Mapping[str, Any]) -> list[str]:
    """What is wrong with a custom resource. Raises LookupError for a kind whose schema is not here."""
    schema = _schemas()[found["apiVersion"], found["kind"]]
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(found)]


def is_custom(found: Mapping[str, Any]) -> bool:
    """Whether a schema for it is here."""
    return (found["apiVersion"], found["kind"]) in _schemas()


@cache
def _schemas() -> Mapping[tuple[str, str], Any]:
    schemas = {}
    for path in SCHEMAS.glob("*.json"):
        group, version, kind = path.stem.rsplit("_", 2)
        schemas[f"{group}/{version}", kind] = _closed(json.loads(path.read_text()))
    for path in CRDS.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return schemas


def _closed(schema: Any) -> Any:
    """The schema with objects that take no other fields than they state."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed
