"""A pool from a DNS name, such as a headless Service's: every A and AAAA address is an endpoint.

| what comes back for a family | what follows |
|---|---|
| addresses | they are the family's; asked again when the smallest TTL is over |
| none, by NXDOMAIN or by an empty answer, where none were known | the family has none |
| none after some | the addresses stay, and go when the next answer says so too |
| no answer, SERVFAIL, REFUSED, nonsense, no resolver configuration | the addresses stay; again after a back-off |

A and AAAA are two families, asked for at once. The pool is what both have. Nothing ends the asking.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import NamedTuple

import dns.exception
import dns.name
from dns.asyncresolver import Resolver
from dns.rdatatype import RdataType
from dns.resolver import NXDOMAIN

from extproc.registry.changes import PoolListed
from extproc.sources.backoff import Backoff
from extproc.sources.meters import SourceMeters
from extproc.telemetry.changes import join_names
from extproc.telemetry.logs import Log
from extproc.values.endpoint import Endpoint
from extproc.values.pool import Pool

FAMILIES = (RdataType.A, RdataType.AAAA)
MOST_TOLD = 20
"""So many different problems of one outage are logged: a text with a number that changes would fill the log."""

_Address = IPv4Address | IPv6Address

_log = Log("sources.dns")


class Pace(NamedTuple):
    """How often a name is asked for. The defaults are for service, tests are in a hurry."""

    least_s: float = 1.0
    """Between two questions, whatever the TTL: one of 0 must not spin."""
    longest_s: float = 30.0
    """Whatever the TTL. CoreDNS gives 5 or 30."""
    first_backoff_s: float = 0.2
    longest_backoff_s: float = 5.0
    doubt_s: float = 1.0
    """From one question to the next that a doubt brings forward."""
    answer_s: float = 5.0
    """For one question to all servers, repetitions included."""

    def rest_s(self, ttl_s: float, rng: Random) -> float:
        """Seconds to leave a name alone whose answer holds for `ttl_s`; no two pickers ask in step for long."""
        return min(max(ttl_s, self.least_s) * rng.uniform(1.0, 1.1), self.longest_s * rng.uniform(0.9, 1.0))


class _Found(NamedTuple):
    """What a name has of one family, perhaps nothing."""

    addresses: frozenset[_Address]
    ttl_s: float


class _Failed(NamedTuple):
    """What is there is not known."""

    problem: str


_Said = _Found | _Failed


class _Family:
    """The addresses of one family, None until the first answer."""

    def __init__(self) -> None:
        self.addresses: frozenset[_Address] | None = None
        self._was_empty = False

    def take(self, said: _Said) -> None:
        """Takes an answer in. None after some counts when two answers in a row say so: resolvers that start may err."""
        is_empty = isinstance(said, _Found) and not said.addresses
        if isinstance(said, _Found) and (said.addresses or not self.addresses or self._was_empty):
            self.addresses = said.addresses
        self._was_empty = is_empty


class DnsName:
    """Asks for every address of a name, for ever. `run` it once.

    A name is looked for in the resolver's search domains as its `ndots` says; one that ends in a dot is not.
    """

    name = "dns"

    def __init__(
        self,
        host: str,
        port: int,
        pool: Pool,
        *,
        clock: Callable[[], float],
        rng: Random,
        resolver: Callable[[], Resolver] = Resolver,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        """`resolver` is called before each question; the default reads /etc/resolv.conf, which may change or miss."""
        self.pool = pool
        self.origin = f"DNS, {host}:{port}"
        self._name = dns.name.from_text(host, None)
        self._port = port
        self._clock = clock
        self._rng = rng
        self._make_resolver = resolver
        self._pace = pace
        self._families = {family: _Family() for family in FAMILIES}
        self._listed: frozenset[_Address] | None = None
        self._found_as: dns.name.Name | None = None
        self._backoff = Backoff(pace.first_backoff_s, pace.longest_backoff_s, rng=rng)
        self._told: set[str] = set()
        self._doubted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<DnsName {self._name} {self.pool}>"

    def doubt(self, endpoint_id: str) -> None:
        """Has the name asked for soon: an endpoint does not behave as if it were there."""
        self._doubted.set()

    async def run(self, report: Callable[[PoolListed], object], meters: SourceMeters) -> None:
        """Reports the pool when it is first known and whenever its addresses change. Failures take nothing away."""
        while True:
            asked_at_s = self._clock()
            self._doubted.clear()
            said = await self._ask()
            for family, state in self._families.items():
                state.take(said[family])
            self._list(report)
            await self._rest(self._judge(said, meters), asked_at_s)

    async def _ask(self) -> Mapping[RdataType, _Said]:
        """What is said of the name now, by family."""
        try:
            resolver = await asyncio.to_thread(self._make_resolver)
            names = self._spell_out(resolver)
        except Exception as exc:  # noqa: BLE001 - whatever stands in resolv.conf, the next reading may be good
            return dict.fromkeys(FAMILIES, _Failed(f"no resolver: {_describe(exc)}"))
        answers = await asyncio.gather(*(self._ask_for(name, resolver) for name in names))
        said = dict(zip(names, answers, strict=True))
        for name, by_family in said.items():
            if any(isinstance(answer, _Found) and answer.addresses for answer in by_family.values()):
                self._found_as = name
                return by_family
        if self._found_as in said:
            return said[self._found_as]
        return {family: _sum_up([by_family[family] for by_family in answers]) for family in FAMILIES}

    def _spell_out(self, resolver: Resolver) -> Sequence[dns.name.Name]:
        """The full names to ask for: the first with an address is meant.

        Source: resolv.conf(5). The library's own search is by family, and would mix two names. None comes after the
        name that had addresses once: a Service without a ready pod must not become a stranger of another domain.
        """
        if self._name.is_absolute():
            return [self._name]
        names = []
        for suffix in resolver.search or [resolver.domain]:
            with suppress(dns.name.NameTooLong):
                names.append(self._name + suffix)
        dots, ndots = len(self._name) - 1, 1 if resolver.ndots is None else resolver.ndots
        names.insert(0 if dots >= ndots else len(names), self._name + dns.name.root)
        names = list(dict.fromkeys(names))
        return names[: names.index(self._found_as) + 1] if self._found_as in names else names

    async def _ask_for(self, name: dns.name.Name, resolver: Resolver) -> Mapping[RdataType, _Said]:
        answers = await asyncio.gather(*(self._ask_family(name, family, resolver) for family in FAMILIES))
        return dict(zip(FAMILIES, answers, strict=True))

    async def _ask_family(self, name: dns.name.Name, family: RdataType, resolver: Resolver) -> _Said:
        try:
            answer = await resolver.resolve(
                name, family, search=False, raise_on_no_answer=False, lifetime=self._pace.answer_s
            )
            addresses = frozenset(ip_address(record.to_text()) for record in answer.rrset or ())
            return _Found(addresses, answer.chaining_result.minimum_ttl)
        except NXDOMAIN as exc:
            return _Found(frozenset(), exc.kwargs["responses"][name].resolve_chaining().minimum_ttl)
        except Exception as exc:  # noqa: BLE001 - whatever a server sends, the next answer may be good
            return _Failed(f"{name} {family.name}: {_describe(exc)}")

    def _list(self, report: Callable[[PoolListed], object]) -> None:
        """Reports the pool if it is another than before, or is known for the first time."""
        known = [family.addresses for family in self._families.values() if family.addresses is not None]
        addresses = frozenset[_Address]().union(*known)
        if addresses == self._listed or (not addresses and len(known) < len(FAMILIES)):
            return
        self._listed = addresses
        usable = [ip for ip in sorted(addresses, key=lambda ip: (ip.version, int(ip))) if _is_usable(ip)]
        if left_out := addresses.difference(usable):
            _log.warning("addresses that nobody can connect to are left out", addresses=join_names(_sort(left_out)))
        if not usable:
            _log.warning("the name has no addresses", name=self._name)
        report(PoolListed.of(_endpoint(ip, self._port) for ip in usable))

    def _judge(self, said: Mapping[RdataType, _Said], meters: SourceMeters) -> float:
        """Records how the asking went, each problem of an outage once. Returns the seconds to the next question."""
        problems = [answer.problem for answer in said.values() if isinstance(answer, _Failed)]
        meters.say_source(self.name, is_connected=not problems, problems=self._describe_state(problems))
        if not problems:
            if self._told:
                self._told.clear()
                _log.info("DNS answers again", name=self._name)
            self._backoff.reset()
            ttls = [answer.ttl_s for answer in said.values() if isinstance(answer, _Found)]
            return self._pace.rest_s(min(ttls), self._rng)
        problem = "; ".join(dict.fromkeys(problems))
        if problem not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(problem)
            _log.warning("DNS does not answer, what is known stays", name=self._name, problem=problem)
        return self._backoff.pause_s()

    def _describe_state(self, problems: Sequence[str]) -> list[str]:
        """What is wrong with the name now, each once."""
        empty = [] if self._listed or problems else [f"{self._name} has no addresses"]
        return [*dict.fromkeys(problems), *empty]

    async def _rest(self, pause_s: float, asked_at_s: float) -> None:
        """Returns when the pause is over, or sooner for a doubt."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._doubted.wait()
                await asyncio.sleep(asked_at_s + self._pace.doubt_s - self._clock())


def _sum_up(answers: Sequence[_Said]) -> _Said:
    """What names say of which none has addresses: that there are none, unless one could not be asked."""
    for answer in answers:
        if isinstance(answer, _Failed):
            return answer
    return _Found(frozenset(), min(answer.ttl_s for answer in answers if isinstance(answer, _Found)))


def _describe(exc: Exception) -> str:
    """A library's error, without the times in its texts: the same problem has the same words.

    One that went through several servers holds what each of them did: (server, is_tcp, port, error or code, response).
    """
    if isinstance(exc, dns.exception.DNSException) and (errors := exc.kwargs.get("errors")):
        attempts = ((server, " over TCP" if is_tcp else "", error) for server, is_tcp, _, error, _ in errors)
        return ", ".join(dict.fromkeys(f"{server}{over}: {_describe_one(error)}" for server, over, error in attempts))
    return _describe_one(exc)


def _describe_one(error: Exception | str) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    return error if isinstance(error, str) else str(error) or type(error).__name__


def _is_usable(ip: _Address) -> bool:
    """False for what cannot be an endpoint: link-local IPv6 needs a scope, which Envoy takes none of."""
    return not (ip.is_unspecified or ip.is_multicast or (ip.version == 6 and ip.is_link_local))


def _sort(addresses: Iterable[_Address]) -> list[str]:
    return sorted(map(str, addresses))


def _endpoint(ip: _Address, port: int) -> Endpoint:
    address = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    return Endpoint(id=address, name=address, address=address)
