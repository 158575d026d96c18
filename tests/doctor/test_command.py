"""The command line of `extproc doctor`: what it takes, how it ends, and what is said of flags and of an Envoy."""

import json

import pytest
from click.testing import CliRunner
from tests.doctor.running import of, read_states, run_doctor
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream

from extproc.cli.doctor.command import doctor
from extproc.cli.doctor.gather import Asked, gather
from extproc.cli.doctor.report import judge
from extproc.settings.load import load_settings

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    "url",
    ["foo", "", "127.0.0.1:9901", "https://", "http://a:1/stats", "http://me:secret@a:1"],
    ids=["a word", "nothing", "no scheme", "no host", "a path", "a password"],
)
def test_what_is_no_url_of_an_admin_port_is_wrong_usage(url: str) -> None:
    ran = CliRunner().invoke(doctor, [f"--target={NOBODY}", f"--envoy-admin={url}"])
    assert (ran.exit_code, "http://HOST:PORT" in ran.output) == (2, True), ran.output
    assert "secret" not in ran.output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config-text=foo: 1"], "foo"),
        (["--config-text={"], "YAML"),
        (["--config-file=/nowhere/config.yaml"], "/nowhere/config.yaml"),
        (["--grpc-port=x"], "grpc-port"),
    ],
    ids=["unknown key", "no YAML", "no file", "a flag"],
)
def test_bad_settings(flags: list[str], words: str) -> None:
    plain = CliRunner().invoke(doctor, [f"--target={NOBODY}", *flags])
    assert (plain.exit_code, plain.stdout, words in plain.stderr) == (2, "", True)
    told = CliRunner().invoke(doctor, [f"--target={NOBODY}", "--json", *flags])
    [problem] = json.loads(told.stdout)["problems"]
    assert (told.exit_code, words in problem["where"] + problem["what"]) == (2, True)


async def test_an_endpoints_file_that_is_bad_ends_as_other_bad_settings_do() -> None:
    ran = await run_doctor(f"--target={NOBODY}", "--endpoints-file=/nowhere/pool.yaml", "--json")
    assert (ran.code, read_states(ran)["settings"]) == (2, "fault")


async def test_where_nobody_answers_an_envoy_that_was_named_is_missed() -> None:
    asked = Asked(load_settings(flag_values={}), NOBODY, None, "http://127.0.0.1:1", {}, ())
    evidence = await gather(asked)
    assert (evidence.knows_settings, of(judge(evidence), "Envoy").state) == (False, "warning")
    evidence = await gather(asked._replace(given_flags=("secure-serving",), envoy_admin=None))
    assert (evidence.knows_settings, of(judge(evidence), "Envoy").state) == (True, "not checked")


async def test_flags_beside_a_picker_that_answers_are_said_not_to_count() -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}) as picker:
        asked = Asked(
            load_settings(flag_values={}), picker.admin_address, None, None, {}, ("endpoints-file", "pool-name")
        )
        verdict = of(judge(await gather(asked)), "flags of serve")
        without = await gather(asked._replace(given_flags=()))
    assert (verdict.state, "--endpoints-file, --pool-name" in verdict.evidence) == ("warning", True)
    assert (without.knows_settings, "flags of serve" in {each.check for each in judge(without)}) == (True, False)
