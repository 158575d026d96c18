"""An endpoint: one port of one pod, with an identity of its own."""

import ipaddress

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """One place that serves requests.

    `id` outlives nothing: another process behind the same ip:port is another endpoint with another id, so that what is
    known of the one is never believed of the other.
    """

    id: str
    name: str
    address: str
    """`ip:port` as Envoy takes it, an IPv6 address in brackets."""
    labels: dict[str, str] = {}
    role: str = ""
    """What the engine does of a request: `prefill`, `decode`, `both`…; empty is all of it."""
    engine: str = ""
    """The kind of engine, such as `vllm` or `sglang`; empty where nobody says."""
    node: str = ""
    """The machine that it runs on, where its source says so: what stands there dies together."""


def canonical_address(text: str) -> str:
    """`text` as `ip:port`, IPv6 in brackets and in its shortest form, so that equal addresses are equal strings.

    Errors: ValueError, worded for the person who wrote `text`. Host names are refused: Envoy's override_host takes IP
    addresses only.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not ip:port with a port of 1 to 65535")
    if "%" in host:
        raise ValueError(f"{text!r}: Envoy takes no address with a scope")
    has_brackets = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if has_brackets else host)
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address (host names are not looked up here)") from None
    if ip.version == 6 and not has_brackets:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets: [{ip}]:{port}")
    if ip.version == 4 and has_brackets:
        raise ValueError(f"{text!r}: an IPv4 address takes no brackets")
    return f"[{ip}]:{int(port)}" if ip.version == 6 else f"{ip}:{int(port)}"
