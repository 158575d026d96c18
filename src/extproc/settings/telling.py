"""What the picker tells of itself, and to whom."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import Field, model_validator

from extproc.settings.group import Group, setting
from extproc.settings.types import Address, OptionalText, Port


class AdminSettings(Group):
    """Where the picker explains itself: gRPC (`GetSnapshot`, `Explain`, `WatchDecisions`, `GetConfig`), which `extproc
    explain`, `top` and `doctor` ask, and a page for a browser.
    """

    address: Address = setting(
        "127.0.0.1",
        "IP address of both ports: by default this machine, or pod, alone. Any other needs `tokenFile`.",
        flag="admin-address",
        needs_restart=True,
    )
    grpc_port: Port = setting(
        9004, "Port of the admin service, always plaintext.", flag="admin-grpc-port", needs_restart=True
    )
    http_port: Port = setting(9091, "Port of the page.", flag="admin-http-port", needs_restart=True)
    token_file: OptionalText = setting(
        None,
        "File with a token that callers must show: as `authorization: Bearer TOKEN`, in a browser as the password. It "
        "can be rotated.",
        flag="admin-token-file",
        needs_restart=True,
    )

    @model_validator(mode="after")
    def _require_token(self) -> "AdminSettings":
        if not ip_address(self.address.strip("[]")).is_loopback and self.token_file is None:
            raise ValueError(
                f"address {self.address} can be reached from elsewhere: set tokenFile, or leave address at 127.0.0.1 "
                "and use `kubectl port-forward`"
            )
        return self


class TelemetrySettings(Group):
    """What the picker tells of itself."""

    verbosity: Annotated[int, Field(ge=0, le=10)] = setting(
        2, "0 errors, 1 warnings, 2 changes of what is known, 4 and more every decision (-v=4).", flag="v"
    )
