"""cli/doctor/gather: where the picker's ports are looked for. What it gathers is tested in tests/doctor."""

import pytest

from extproc.cli.doctor.gather import find_host
from extproc.settings.load import load_settings


@pytest.mark.parametrize(
    ("listen", "target", "host"),
    [
        pytest.param("[::]", "127.0.0.1:9004", "127.0.0.1", id="everywhere: where the admin service is"),
        pytest.param("0.0.0.0", "picker.ns:9004", "picker.ns", id="everywhere, by name"),
        pytest.param("10.0.0.1", "127.0.0.1:9004", "10.0.0.1", id="on one address: there"),
        pytest.param("[::]", "[::1]:9004", "[::1]", id="IPv6"),
        pytest.param("[::]", ":9004", "127.0.0.1", id="no host"),
    ],
)
def test_the_host_of_the_pickers_ports(listen: str, target: str, host: str) -> None:
    settings = load_settings(flag_values={"listen-address": listen})
    assert find_host(settings, target) == host
