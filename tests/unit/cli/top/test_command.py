"""cli/top/command: one frame or one message of a picker, and what is said where it gives none."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.cli.serving import SHOWN, Refusing, serving
from tests.unit.cli.top.shown import MIXED

from extproc._gen.extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.cli import main


class Admin(admin_pb2_grpc.AdminServicer):
    """Tells of one pool."""

    def GetSnapshot(self, request: admin_pb2.GetSnapshotRequest, context: Any) -> admin_pb2.Snapshot:  # noqa: N802
        assert request.most_decisions > 0
        return MIXED


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["top", *arguments])


def test_one_frame_where_standard_output_is_no_terminal() -> None:
    with serving(Admin()) as target:
        result = run("--target", target)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("default/demo   ready   endpoints 2/5 ready")


def test_json_is_the_message_with_its_own_names() -> None:
    with serving(Admin()) as target:
        told = json.loads(run("--target", target, "--json").stdout)
    assert (told["pool"], len(told["endpoints"]), told["is_ready"]) == ("default/demo", 5, True)
    assert told["endpoints"][3]["is_ready"] is False, "what is false is there, too"


def test_what_a_service_says_of_a_failure_stays_on_one_line() -> None:
    with serving(Refusing()) as target:
        result = run("--target", target, "--once")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{target}: PERMISSION_DENIED: {SHOWN}\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(["--interval", "99ms"], "at least 100ms", id="too often"),
        pytest.param(["--target", "x"], "--target takes host:port", id="no target"),
    ],
)
def test_bad_usage_exits_with_2(options: list[str], text: str) -> None:
    result = run(*options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in " ".join(result.stderr.split())
