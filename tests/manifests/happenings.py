"""What pickers go through while they are watched: days as they should be, and what alerts are for."""

from tests.manifests.recording import Happening, Site
from tests.unit.known import failed, gone

from extproc.registry.changes import Failure


def serves(site: Site, minute: int) -> None:
    """All is well: probes are answered, requests are routed, a few are refused or shed."""
    site.answer(a=["m"], b=["m", "n"])
    site.read(waiting=2.0)
    site.metrics.say_source("pods", is_connected=True)
    site.count(routed=198, replied=5, model_not_found=20, invalid_request=10, cancelled=10)
    site.count(overloaded=5, failed=1, model_unavailable=1)
    for delay_s in (0.0002, 0.003, 0.04):
        for _ in range(20):
            site.metrics.observe_loop_delay(delay_s)
            site.metrics.observe_decision(delay_s)


def from_minute(begin: int, happening: Happening, *, until: int = 10**6) -> Happening:
    """All is well, and from one minute to another something happens as well, at each scrape."""

    def both(site: Site, minute: int) -> None:
        serves(site, minute)
        if begin <= minute < until:
            happening(site, minute)

    return both


def once(happening: Happening, at: int = 5) -> Happening:
    """All is well, and something happens once."""
    return from_minute(at, lambda site, minute: happening(site, minute) if site.now == at * 60 else None)


def down(site: Site, minute: int) -> None:
    site.is_up = False


def falls_silent(site: Site, minute: int) -> None:
    """`b`, the only one that serves `n`, answers no more: no `serves` from then on."""
    site.metrics.say_source("pods", is_connected=True)
    site.answer(a=["m"])


def b_silent_from(begin: int) -> Happening:
    return lambda site, minute: falls_silent(site, minute) if minute >= begin else serves(site, minute)


def b_broken_from(begin: int, until: int = 10**6) -> Happening:
    def both(site: Site, minute: int) -> None:
        if begin <= minute < until:
            site.store.apply(failed("b", Failure.REFUSED, asked_at_s=site.now), now=site.now)
            site.answer(a=["m"])
        else:
            serves(site, minute)

    return both


def b_removed_at(begin: int) -> Happening:
    def both(site: Site, minute: int) -> None:
        if minute < begin:
            serves(site, minute)
        else:
            site.store.apply(gone("b"), now=site.now)
            site.answer(a=["m"])

    return both


def counts(**outcomes: int) -> Happening:
    return lambda site, minute: site.count(**outcomes)


def waiting(count: float) -> Happening:
    return lambda site, minute: site.read(waiting=count)


def disconnected(site: Site, minute: int) -> None:
    site.metrics.say_source("pods", is_connected=False)


def bad_config(site: Site, minute: int) -> None:
    site.metrics.say_config(False)


def good_config(site: Site, minute: int) -> None:
    site.metrics.say_config(True)


def bad_config_mended(site: Site, minute: int) -> None:
    """A bad edit at the fifth minute, a good one at the ninth."""
    once(bad_config)(site, minute)
    once(good_config, 9)(site, minute)


def knows_nothing(site: Site, minute: int) -> None:
    site.store.apply(gone("a", "b"), now=site.now)


def slow_decisions(site: Site, minute: int) -> None:
    for _ in range(10):
        site.metrics.observe_decision(0.6)


def late_loop(site: Site, minute: int) -> None:
    for _ in range(10):
        site.metrics.observe_loop_delay(0.2)


def misses_one(site: Site, minute: int) -> None:
    """`b` was asked before it had loaded `n`."""
    site.answer(a=["m"], b=["m"])
