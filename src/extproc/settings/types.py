"""How settings are written: durations, sizes, ports, addresses, selectors of labels and names."""

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from extproc.values.duration import format_duration, parse_duration

_SIZE = re.compile(r"([0-9]+)\s*(B|KiB|MiB|GiB)?")
_DURATION = r"(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+"
_KEY = r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"\s*(?:!\s*{_KEY}|{_KEY}|{_KEY}\s*(?:==?|!=)\s*{_VALUE}"
    rf"|{_KEY}\s+(?:in|notin)\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\))\s*",
    re.ASCII,
)
"""One requirement of a label selector. Source: apimachinery's labels package, `Parse`."""
_BETWEEN_REQUIREMENTS = re.compile(r",(?![^(]*\))")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
"""One label of a DNS name, of at most 63 characters."""
MOST_PORTS = 8
"""Of a pod, as an InferencePool has them."""
_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _read_duration(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError(f"a duration needs a unit, such as 500ms or 2s; got {value!r}")
    return parse_duration(value)


def _read_size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a size is a number of bytes, or one with B, KiB, MiB or GiB; got {value!r}")
    return int(match[1]) * _UNITS[match[2]]


def _read_address(value: str) -> str:
    try:
        ip = ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"{value!r} is no IP address; [::] or 0.0.0.0 is every interface") from None
    return f"[{ip}]" if ip.version == 6 else str(ip)


def empty_is_none(value: object) -> object:
    """For settings that charts write out empty."""
    return None if value == "" else value


def none_is_empty(value: object) -> object:
    """For mappings with nothing below them."""
    return {} if value is None else value


def _read_ports(value: object) -> object:
    """Ports as a list, or as the flag writes them."""
    if isinstance(value, list):
        is_plain = len(value) <= MOST_PORTS and all(type(port) is int for port in value)
        return list(dict.fromkeys(value)) if is_plain else value
    if not isinstance(value, str):
        return value
    words = [word.strip() for word in value.split(",") if word.strip()]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"ports are numbers separated by commas; got {value!r}")
    return list(dict.fromkeys(int(word) for word in words))


def _check_selector(value: str | None) -> str | None:
    if value is not None and not all(_REQUIREMENT.fullmatch(word) for word in _BETWEEN_REQUIREMENTS.split(value)):
        raise ValueError(f"{value!r} is no label selector, such as app=llm,tier!=test,gpu in (a100,h100)")
    return value


def _check_dns_name(value: str | None) -> str | None:
    if value is None:
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{value!r} is not host:port with a port of 1 to 65535")
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or all(map(str.isdigit, labels)):
        raise ValueError(f"{host!r} is no DNS name")
    return value


def _read_header(value: object) -> object:
    return empty_is_none(value.lower() if isinstance(value, str) else value)


def size_schema(most_bytes: int | None = None) -> WithJsonSchema:
    """A size for editors. They cannot compare `64MiB` with a limit, the loader can."""
    plain = {"type": "integer", "minimum": 1} | ({} if most_bytes is None else {"maximum": most_bytes})
    written = {"type": "string", "pattern": r"^\s*(?=.*[1-9])[0-9]+\s*(B|KiB|MiB|GiB)?\s*$"}
    return WithJsonSchema({"anyOf": [plain, written], "examples": ["64MiB"]})


def _require_positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


Duration = Annotated[
    float,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^(0|{_DURATION})$", "examples": ["500ms", "2s", "1m30s"]}),
]
PositiveDuration = Annotated[
    Duration,
    AfterValidator(_require_positive),
    WithJsonSchema({"type": "string", "pattern": f"^(?=.*[1-9]){_DURATION}$", "examples": ["500ms", "2s", "1m30s"]}),
]
Size = Annotated[
    int,
    BeforeValidator(_read_size),
    Field(ge=1),
    size_schema(),
]
OptionalText = Annotated[str | None, BeforeValidator(empty_is_none)]
"""A text that may be missing. Charts write Go's default, the empty one, out."""
Port = Annotated[int, Field(ge=0, le=65535)]
"""0 lets the system choose a free one."""
Address = Annotated[str, AfterValidator(_read_address)]
"""An IP address to listen on."""
TargetPorts = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65535)], ...],
    BeforeValidator(_read_ports),
    Field(max_length=MOST_PORTS, strict=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}, "maxItems": MOST_PORTS},
                {"type": "string", "pattern": r"^[0-9,\s]*$"},
            ]
        }
    ),
]
ModelName = Annotated[str, Field(min_length=1)]
LabelSelector = Annotated[OptionalText, AfterValidator(_check_selector)]
DnsName = Annotated[OptionalText, AfterValidator(_check_dns_name)]
HeaderName = Annotated[
    Annotated[str, Field(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]+$")] | None,
    BeforeValidator(_read_header),
    WithJsonSchema({"type": ["string", "null"], "pattern": r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$"}),
]
"""Name of a request header, in lower case. Source: RFC 9110 §5.6.2."""
