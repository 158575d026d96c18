"""servers/terms: a stream is served by the settings that were in force when it began, and by no others."""

import asyncio
import json
import time
from typing import Any

import grpc
import pytest
from tests.servers.test_ext_proc import BODY, PATH, PHI, Site, answer, post

from extproc.cli.probe import build_requests, read_verdict
from extproc.director.decide import Director
from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Policy
from extproc.registry.changes import NamesListed, RoundCompleted
from extproc.servers.terms import Terms, terms_of
from extproc.settings.schema import Settings
from extproc.values.names import Alias, Target

FAST = NamesListed((Alias("fast", (Target("phi"),)),), {"batch": -1})
FAST_BODY = json.dumps({"model": "fast", "prompt": "x"}).encode()
THRICE = ",".join([PHI.address] * 3)


def reload(site: Site, names: NamesListed = FAST, **groups: Any) -> None:
    """What the app does when an edit of the config is taken over."""
    settings = Settings.model_validate(groups)
    site.decider.configure(settings)
    site.terms.retire(site.store.snapshot)
    site.terms = terms_of(settings, site.decider.director)
    site.service.configure(site.terms)
    site.store.configure(names, now=time.monotonic())


async def began(site: Site) -> None:
    """Returns once a stream is open."""
    async with asyncio.timeout(5):
        while not site.service.open_streams:
            await asyncio.sleep(0)


async def test_a_stream_that_is_open_sees_nothing_of_an_edit_and_the_next_all_of_it() -> None:
    """Its name for the model is gone by the edit, and a route has fallbacks."""
    async with Site(hold_s=0.0).serve() as site:
        site.list_models("phi")
        site.store.configure(FAST, now=time.monotonic())
        head, body = post(FAST_BODY)
        call = await site.send(head)
        await began(site)
        reload(site, NamesListed(), envoy={"fallbackEndpoints": 2}, requests={"hold": "0s"})
        await call.write(body)
        assert read_verdict(bytes(await answer(call))).destination == PHI.address
        assert read_verdict(bytes(await answer(await site.send(*post(FAST_BODY))))).status == 404
        assert read_verdict(bytes(await answer(await site.send(*post(BODY))))).destination == THRICE


async def test_a_request_that_is_held_is_decided_as_it_began() -> None:
    async with Site(hold_s=5.0).serve() as site:
        site.list_models("phi")
        call = await site.send(*build_requests("POST", PATH, {}, b'{"model": "sql"}'))
        async with asyncio.timeout(5):
            while site.rounds == 0:
                await asyncio.sleep(0)
        reload(site, requests={"unknownModel": "passthrough"})
        site.store.apply(RoundCompleted(time.monotonic()), now=time.monotonic())
        assert read_verdict(bytes(await answer(call))).status == 404


async def test_what_is_known_stays_of_the_moment_for_those_of_before() -> None:
    async with Site(hold_s=5.0).serve() as site:
        head, body = post(FAST_BODY)
        site.store.configure(FAST, now=time.monotonic())
        call = await site.send(head)
        await began(site)
        reload(site, NamesListed())
        site.list_models("phi")
        await call.write(body)
        assert read_verdict(bytes(await answer(call))).destination == PHI.address


@pytest.mark.parametrize(("before", "after"), [("auto", "observe"), ("observe", "auto")])
async def test_who_stays_may_change(before: str, after: str) -> None:
    async with Site(response_phase=before).serve() as site:
        site.list_models("phi")
        reload(site, envoy={"responsePhase": after})
        call = await site.send(*post(BODY))
        assert read_verdict(await call.read()).is_routed
        if after == "auto":
            assert await call.read() is grpc.aio.EOF
        else:
            assert site.service.open_streams == 1
            await call.done_writing()
        await site.idle()


async def test_a_new_time_limit_is_that_of_new_streams() -> None:
    async with Site(timeout_s=60.0).serve() as site:
        old = await site.send(post(BODY)[0])
        await began(site)
        reload(site, envoy={"decisionTimeout": "50ms"})
        new = await site.send(post(BODY)[0])
        assert read_verdict(await new.read()).status == 503
        assert site.service.open_streams >= 1
        old.cancel()
        await site.idle()


def test_terms_are_what_the_settings_say() -> None:
    settings = Settings.model_validate(
        {
            "requests": {"maxBodyBytes": 5},
            "envoy": {
                "requestBodyMode": "BUFFERED",
                "responseBodyMode": "STREAMED",
                "responsePhase": "track",
                "requestBodyAnswer": "chunks",
                "allowModeOverride": True,
                "messageTimeout": "3s",
                "readUsage": True,
                "decisionTimeout": "4s",
            },
            "scheduling": {"sessionHeader": "x-session-id"},
        }
    )
    director: Director = object()  # type: ignore[assignment]  # passed on
    terms = terms_of(settings, director)
    assert terms.director is director
    assert terms.policy == Policy(5, BodyMode.BUFFERED, BodyMode.STREAMED, "track", "chunks", True)
    assert (terms.deadlines.limit_s, terms.longest_wait_s, terms.reads_usage) == (4.0, 1.5, True)
    assert terms.session_header == "x-session-id"
    assert "x-session-id" in terms.headers_read


def test_those_of_before_say_so() -> None:
    site = Site()
    assert repr(site.terms) == f"<Terms {site.terms.policy}>"
    site.terms.retire(site.store.snapshot)
    assert repr(site.terms) == f"<Terms {site.terms.policy} of before>"
    assert isinstance(site.terms, Terms)
