"""What the image promises: its Dockerfile, and that the program needs no user of its own and no file to write to."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tests.e2e.picker import FLAGS, PORTS
from tests.e2e.upstreams import InstantUpstream
from tests.manifests.render import find, picker

UID = 1_000_680_000
"""As OpenShift chooses them: there is no such user, and its group is 0."""
READ_ONLY = """\
mount -o remount,bind,ro /
for place in /dev /dev/shm /run /tmp /var /work; do mount -o remount,bind,ro $place 2>/dev/null; done
for place in /tmp /var/tmp /dev/shm / "$1"; do
  if touch "$place/written" 2>/dev/null; then rm "$place/written"; echo "$place can be written to" >&2; exit 99; fi
done
shift
exec "$@"
"""
AS_NOBODY_KNOWN = (
    "setpriv", f"--reuid={UID}", "--regid=0", "--clear-groups", "--no-new-privs",
    # The image lets group 0 read everything; here the interpreter may lie in root's own folder.
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


def can_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


def command(folder: Path, *arguments: str) -> Sequence[str]:
    """Runs `extproc …` as that user, in a mount namespace where nothing can be written."""
    program = (*AS_NOBODY_KNOWN, sys.executable, "-m", "extproc", *arguments)
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", READ_ONLY, "sh", str(folder), *program)


async def is_ready(address: str) -> None:
    """Returns once the health service there says so."""
    async with grpc.aio.insecure_channel(address) as channel:
        async for answer in HealthStub(channel).Watch(HealthCheckRequest(service="readiness")):
            if answer.status == HealthCheckResponse.SERVING:
                return


needs_root = pytest.mark.skipif(not can_unshare(), reason="needs root, to become another user and mount read-only")


@needs_root
async def test_the_picker_serves_as_any_user_from_a_read_only_tree(tmp_path: Path) -> None:
    config = find("base", "ConfigMap", "extproc-config")["data"]["config.yaml"]
    (tmp_path / "config.yaml").write_text(config)
    async with InstantUpstream() as upstream:
        endpoints = [{"name": "a", "address": upstream.address}]
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"pools": [{"name": "test", "endpoints": endpoints}]}))
        flags = (f"--endpoints-file={tmp_path / 'pool.yaml'}", f"--config-file={tmp_path / 'config.yaml'}", *FLAGS)
        process = await asyncio.create_subprocess_exec(
            *command(tmp_path, "serve", *flags),
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        log = ""
        try:
            async with asyncio.timeout(20):
                while not (match := PORTS.search(log)):
                    line = await process.stderr.readline()
                    assert line, log
                    log += line.decode()
                status = Path(f"/proc/{process.pid}/status").read_text()
                assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in status
                await is_ready(f"127.0.0.1:{match['health']}")
                process.terminate()
                _, rest = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    log += rest.decode()
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert "warning" not in log.lower(), log


@needs_root
def test_the_settings_are_checked_as_any_user(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server: {drainDelay: 5s}")
    result = subprocess.run(
        command(tmp_path, "check", str(tmp_path / "config.yaml"), "--pool-name=llm"),
        cwd="/",
        env={"PATH": os.environ["PATH"], "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "drainDelay" in result.stdout, result.stderr
    assert "# pool default/llm: Kubernetes, by the service account in /var/run/secrets" in result.stdout


def test_the_image_starts_as_the_manifests_expect() -> None:
    lines = Path("Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["extproc"]' in lines
    assert "USER 65532:0" in lines
    assert picker("base")["args"][0] == "serve"
    assert any("PYTHONDONTWRITEBYTECODE=1" in line for line in lines)
    ports = {str(port["containerPort"]) for port in picker("base")["ports"]}
    assert set(next(line for line in lines if line.startswith("EXPOSE")).split()[1:]) == ports


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
