"""`extproc top` as its users run it: on a terminal, and into a pipe."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.servers.admin.site import AdminSite
from tests.unit.known import answered, listed

TAKES_SCREEN, GIVES_IT_BACK = b"\x1b[?1049h", b"\x1b[?1049l"

COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-7]m")


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, keyboard: int, screen: int) -> None:
        self.process = process
        self.screen = screen
        self._keyboard = keyboard
        self._before = termios.tcgetattr(screen)
        self._shown = b""
        self.has_colour = False
        self._has_more = asyncio.Event()
        asyncio.get_running_loop().add_reader(keyboard, self._read)

    def _read(self) -> None:
        self._shown += os.read(self._keyboard, 65536)
        self.has_colour |= COLOUR.search(self._shown) is not None
        self._has_more.set()

    def press(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    async def wait_for(self, *texts: str) -> None:
        """Returns when all of these stand in what was shown since the last one returned."""
        async with asyncio.timeout(20):
            while any(text.encode() not in self._shown for text in texts):
                self._has_more.clear()
                await self._has_more.wait()
        self._shown = self._shown[-len(GIVES_IT_BACK) :]

    async def wait_for_colour(self) -> None:
        """Returns when something was shown in colour."""
        async with asyncio.timeout(20):
            while not self.has_colour:
                self._has_more.clear()
                await self._has_more.wait()

    async def end(self) -> int:
        """Its exit code, once it is over and has left the terminal as it was."""
        async with asyncio.timeout(20):
            code = await self.process.wait()
            while GIVES_IT_BACK not in self._shown:
                self._has_more.clear()
                await self._has_more.wait()
        assert termios.tcgetattr(self.screen) == self._before
        return code


def _take_terminal(screen: int) -> None:
    """The controlling terminal of this process, for Ctrl-C, which a shell has those ignore that it starts behind it."""
    os.close(os.open(os.ttyname(screen), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def on_terminal(*arguments: str, **environ: str) -> AsyncIterator[Terminal]:
    keyboard, screen = pty.openpty()
    termios.tcsetwinsize(screen, (24, 80))
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extproc", "top", *arguments,
        stdin=screen, stdout=screen, stderr=screen, env=given | {"TERM": "xterm"} | environ, start_new_session=True,
        preexec_fn=lambda: _take_terminal(screen),
    )  # fmt: skip
    terminal = Terminal(process, keyboard, screen)
    try:
        yield terminal
    finally:
        asyncio.get_running_loop().remove_reader(keyboard)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(keyboard)
        os.close(screen)


async def run(arguments: Sequence[str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extproc", "top", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[AdminSite]:
    (tmp_path / "token").write_text("secret")
    site = AdminSite(token_file=str(tmp_path / "token"))
    site.apply(listed("ab"), answered("a", "phi"))
    site.decide()
    async with site.serve():
        yield site


def flags(site: AdminSite, tmp_path: Path) -> tuple[str, str]:
    return f"--target=127.0.0.1:{site.port}", f"--token-file={tmp_path / 'token'}"


async def test_it_is_live_survives_a_restart_and_ends_by_q(site: AdminSite, tmp_path: Path) -> None:
    async with on_terminal(*flags(site, tmp_path), "--interval=100ms") as terminal:
        await terminal.wait_for(TAKES_SCREEN.decode(), "default/test", "model_unknown")
        site.apply(listed("abc"))
        await terminal.wait_for("endpoints 1/3 ready")
        await site.server.stop()
        await terminal.wait_for("no answer since", "endpoints 1/3 ready")
        again = AdminSite(token_file=str(tmp_path / "token"), port=site.port)
        again.apply(listed("a"))
        async with again.serve():
            await terminal.wait_for("endpoints 0/1 ready")
            terminal.press(b"xq")
            assert await terminal.end() == 0


@pytest.mark.parametrize(
    ("how", "environ"), [("Ctrl-C", {}), ("SIGTERM", {"NO_COLOR": "1"}), ("SIGHUP", {})], ids=["Ctrl-C", "TERM", "HUP"]
)
async def test_it_ends_and_leaves_the_terminal_as_it_was(
    site: AdminSite, tmp_path: Path, how: str, environ: dict[str, str]
) -> None:
    """In colour, unless the environment says otherwise."""
    async with on_terminal(*flags(site, tmp_path), **environ) as terminal:
        await terminal.wait_for("default/test")
        if not environ:
            await terminal.wait_for_colour()
        if how == "Ctrl-C":
            terminal.press(b"\x03")
        else:
            terminal.process.send_signal(signal.Signals[how])
        assert await terminal.end() == 0
        assert terminal.has_colour is not bool(environ)


async def test_a_picker_that_hangs_does_not_hold_it() -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with on_terminal(f"--target=127.0.0.1:{server.getsockname()[1]}") as terminal:
            await terminal.wait_for("asking 127.0.0.1")
            terminal.press(b"q")
            assert await terminal.end() == 0


async def test_into_a_pipe(site: AdminSite, tmp_path: Path) -> None:
    """One frame, without a control character; as JSON, what grpcurl would print."""
    given = flags(site, tmp_path)
    (once, json_run, refused, missing) = await asyncio.gather(
        run(given), run([*given, "--json"]), run(given[:1]), run([given[0], f"--token-file={tmp_path / 'none'}"])
    )
    code, output, errors = once
    assert (code, errors) == (0, "")
    assert output.startswith("default/test   not ready   endpoints 1/2 ready   models 1")
    assert output.replace("\n", "").isprintable()
    code, output, errors = json_run
    assert (code, errors) == (0, "")
    answer = json.loads(output)
    assert [each["name"] for each in answer["endpoints"]] == ["a", "b"]
    assert (answer["decisions"][0]["reason"], answer["is_ready"]) == ("model_unknown", False)
    assert refused == (1, "", f"the picker at 127.0.0.1:{site.port} wants its token: give --token-file\n")
    assert missing[0] == 2
    assert "cannot be read" in missing[2]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        pytest.param(["--target=127.0.0.1:1", "--once"], 1, "no picker answers at 127.0.0.1:1", id="nobody is there"),
        pytest.param(["--interval=1ms"], 2, "at least 100ms", id="too often"),
    ],
)
async def test_what_cannot_be(arguments: list[str], code: int, text: str) -> None:
    told, output, errors = await run(arguments)
    assert (told, output) == (code, "")
    assert text in errors
    assert "Traceback" not in errors
