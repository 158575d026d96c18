"""What the tests of `extproc top` show: endpoints, snapshots, and a frame's lines as text."""

import io
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.top.view import Frame, render


def endpoint(name: str = "phi-0", **fields: Any) -> admin_pb2.Endpoint:
    given: dict[str, Any] = {"id": name, "name": name, "is_ready": True, "is_confirmed": True, "models": ["phi"]}
    return admin_pb2.Endpoint(**given | {"probe_age_s": 1.5} | fields)


def snapshot(*endpoints: admin_pb2.Endpoint, **fields: Any) -> admin_pb2.Snapshot:
    given: dict[str, Any] = {"pool": "default/demo", "is_synced": True, "is_ready": True, "uptime_s": 300.0}
    return admin_pb2.Snapshot(**given | {"version": 12, "age_s": 3.0} | fields, endpoints=endpoints)


def show(shown: admin_pb2.Snapshot | None, *, width: int = 80, height: int = 24, **frame: Any) -> list[str]:
    """The lines of a frame."""
    console = Console(width=width, height=height, record=True, file=io.StringIO(), color_system=None)
    console.print(render(Frame("host:9004", shown, **frame), width=width, height=height))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    return lines


def row(lines: list[str], name: str) -> list[str]:
    """The words of the line of one endpoint."""
    [line] = [line for line in lines if line.startswith(name)]
    return line.split()


MIXED = snapshot(
    endpoint("phi-0", load={"waiting": 2, "running": 3, "kv_used_ratio": 0.473}),
    endpoint("sql-0", models=["phi", "sql"], load={"running": 0}),
    endpoint("new-0", is_confirmed=False, models=[], problem="connection refused"),
    endpoint("old-0", is_ready=False),
    endpoint("sus-0", is_suspect=True, load_problem="status 404"),
    models=[{"id": "phi", "endpoints": ["phi-0", "sql-0", "sus-0"]}, {"id": "gone"}],
    open_streams=5,
    outcomes=[
        {"model": "phi", "outcome": "routed", "requests": 40},
        {"model": "sql", "outcome": "routed", "requests": 2},
        {"model": "unknown", "outcome": "model_not_found", "requests": 1},
        {"model": "phi", "outcome": "overloaded", "requests": 7},
        {"model": "none", "outcome": "replied", "requests": 1},
        {"model": "none", "outcome": "cancelled", "requests": 100},
    ],
    decisions=[
        {"at_unix_s": 1.0, "named_model": "fast", "model": "phi", "outcome": "routed", "endpoint": "phi-0",
         "seconds": 0.0004},
        {"at_unix_s": 1.0, "named_model": "nope", "outcome": "model_not_found", "reason": "model_unknown"},
        {"at_unix_s": 1.0, "outcome": "replied", "path": "/v1/models", "status": 200},
    ],
)  # fmt: skip
