"""values/endpoint: one spelling for each address."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.values.endpoint import canonical_address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1:8000", "10.0.0.1:8000"),
        (" 10.0.0.1:8000\t", "10.0.0.1:8000"),
        ("10.0.0.1:08000", "10.0.0.1:8000"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("10.0.0.1:65535", "10.0.0.1:65535"),
        ("[2001:db8::1]:8000", "[2001:db8::1]:8000"),
        ("[2001:0DB8:0:0:0:0:0:1]:8000", "[2001:db8::1]:8000"),
    ],
)
def test_equal_addresses_are_spelled_alike(text: str, canonical: str) -> None:
    assert canonical_address(text) == canonical


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not ip:port"),
        ("10.0.0.1", "is not ip:port"),
        ("10.0.0.1:", "is not ip:port"),
        ("10.0.0.1:http", "is not ip:port"),
        ("10.0.0.1:0", "is not ip:port"),
        ("10.0.0.1:65536", "is not ip:port"),
        ("10.0.0.1:-1", "is not ip:port"),
        ("10.0.0.1:٨", "is not ip:port"),  # an Arabic digit
        (":8000", "is not an IP address"),
        ("10.0.0.256:8000", "is not an IP address"),
        ("010.0.0.1:8000", "is not an IP address"),  # octal to some, decimal to others
        ("vllm-0:8000", "host names are not looked up"),
        ("10.0.0.1,10.0.0.2:8000", "is not an IP address"),
        ("2001:db8::1:8000", r"needs brackets: \[2001:db8::1\]:8000"),
        ("[10.0.0.1]:8000", "takes no brackets"),
        ("[]:8000", "is not an IP address"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        canonical_address(text)


@given(ip=st.ip_addresses(), port=st.integers(1, 65535))
def test_what_is_canonical_stays_as_it_is(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    host = ip.exploded if ip.version == 4 else f"[{ip.exploded}]"
    once = canonical_address(f"{host}:{port}")
    assert canonical_address(once) == once


@given(st.text())
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    try:
        canonical_address(text)
    except ValueError as exc:
        assert str(exc)  # noqa: PT017 - any text may also be an address
