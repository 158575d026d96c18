"""Label and field selectors as API servers read them.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api, field-selectors;
k8s.io/apimachinery pkg/labels/selector.go: `!=` and `notin` also match an object without the key.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.api_objects import Resource
from tests.api_status import ApiError, bad_request

Matches = Callable[[Mapping[str, Any]], bool]

_TERM = re.compile(
    r"\s*(?:"
    r"!\s*(?P<absent>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=|>|<)\s*(?P<value>[\w.-]*)"
    r"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
    r")\s*(?:,(?=.)|$)"
)
_POD_FIELDS = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.nominatedNodeName",
)  # fmt: skip
_FIELDS = ("metadata.name", "metadata.namespace")


def parse_labels(text: str) -> Matches:
    """What `labelSelector` says, as a predicate over objects; `ApiError` 400 if it says nothing that makes sense."""
    terms: list[Callable[[Mapping[str, str]], bool]] = []
    at = 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise bad_request(f"unable to parse requirement: found {text[at:]!r}")
        terms.append(_label_term(term))
        at = term.end()
    return lambda manifest: all(term(manifest["metadata"].get("labels") or {}) for term in terms)


def _label_term(term: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if absent := term["absent"]:
        return lambda labels: absent not in labels
    key, op, value = term["key"], term["op"] or term["set"], term["value"]
    values = frozenset(text.strip() for text in (term["values"] or "").split(","))
    match op:
        case None:
            return lambda labels: key in labels
        case "=" | "==":
            return lambda labels: labels.get(key) == value
        case "!=":
            return lambda labels: labels.get(key) != value
        case "in":
            return lambda labels: labels.get(key) in values
        case "notin":
            return lambda labels: labels.get(key) not in values
    is_above = op == ">"
    return lambda labels: key in labels and (int(labels[key]) > int(value)) == is_above and labels[key] != value


def parse_fields(text: str, resource: Resource) -> Matches:
    """What `fieldSelector` says, as a predicate over objects; `ApiError` 400 for a field that has no selector."""
    known = _FIELDS if resource.is_custom else (*_FIELDS, *_POD_FIELDS)
    terms: list[tuple[tuple[str, ...], bool, str]] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if found is None:
            raise bad_request(f"invalid selector: {text!r}; can't understand {part!r}")
        if found[1] not in known:
            raise _unknown_field(found[1])
        terms.append((tuple(found[1].split(".")), found[2] != "!=", found[3]))
    return lambda manifest: all((_field(manifest, path) == value) is is_equal for path, is_equal, value in terms)


def _unknown_field(name: str) -> ApiError:
    return bad_request(f"field label not supported: {name}")


def _field(manifest: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = manifest
    for key in path:
        value = value.get(key, "") if isinstance(value, Mapping) else ""
    return str(value)
