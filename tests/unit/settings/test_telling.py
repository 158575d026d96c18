"""settings/telling: the admin ports are reachable from elsewhere only with a token."""

import pytest

from extproc.errors import ConfigError
from extproc.settings.load import load


@pytest.mark.parametrize(
    ("address", "token_file", "is_good"),
    [
        pytest.param(None, None, True, id="the default"),
        pytest.param("127.0.0.2", None, True, id="loopback"),
        pytest.param("[::1]", None, True, id="loopback, IPv6"),
        pytest.param("0.0.0.0", None, False, id="everywhere"),
        pytest.param("[::]", None, False, id="everywhere, IPv6"),
        pytest.param("10.0.0.1", None, False, id="one address"),
        pytest.param("10.0.0.1", "", False, id="an empty path"),
        pytest.param("10.0.0.1", "/run/token", True, id="with a token"),
        pytest.param("0.0.0.0", "/run/token", True, id="everywhere with a token"),
    ],
)
def test_who_can_reach_the_admin_ports(address: str | None, token_file: str | None, is_good: bool) -> None:
    """By flags as in the file."""
    flags = {"admin-address": address, "admin-token-file": token_file}
    values = {name: value for name, value in flags.items() if value is not None}
    document = {"address": address, "tokenFile": token_file}
    text = f"admin: { ({name: value for name, value in document.items() if value is not None}) }"
    for given in ({"flag_values": values}, {"flag_values": {}, "text": text}):
        if is_good:
            admin = load(**given).settings.admin
            assert (admin.address, admin.token_file) == (address or "127.0.0.1", token_file)
        else:
            with pytest.raises(ConfigError, match="can be reached from elsewhere: set tokenFile") as error:
                load(**given)
            assert address is not None
            assert address in str(error.value)
