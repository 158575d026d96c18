"""The director with all that it keeps in mind: what was sent where, what engines said, who knows which prompts."""

from extproc.admission.inflight import InFlight
from extproc.admission.loads import Loads
from extproc.admission.saturation import Limits
from extproc.director.decide import Director, DirectorPolicy
from extproc.scheduling.catalogue import build_profile
from extproc.scheduling.prefix import BLOCK_BYTES, PrefixIndex
from extproc.scheduling.profile import Profile
from extproc.settings.schema import Settings
from extproc.values.decision import Route
from extproc.values.load import EngineLoad


class Decider:
    """A director, and the memory that decisions and readings change, with nothing in it yet."""

    def __init__(self, settings: Settings) -> None:
        self.in_flight = InFlight()
        self.loads = Loads(in_flight=self.in_flight, staleness_s=settings.probes.metrics.staleness_s)
        self.prefixes = PrefixIndex(settings.scheduling.prefix_blocks)
        self.settings = settings
        self._profile = self._build_profile()
        self.configure(settings)

    def __repr__(self) -> str:
        return f"<Decider {self.loads!r} {self.prefixes!r}>"

    def configure(self, settings: Settings) -> None:
        """Has another `director` decide from now on, by these settings. What is kept in mind stays: the former one goes
        on with it for as long as anybody asks it.
        """
        scheduling, admission, before = settings.scheduling, settings.admission, self.settings
        self.settings = settings
        has_ended = before.probes.metrics.interval_s > 0 == settings.probes.metrics.interval_s
        if has_ended:
            self.loads.clear()  # what was read last would look like what is so for ever after
        if has_ended or scheduling != before.scheduling:
            self._profile = self._build_profile()
        self.prefixes.most_blocks = scheduling.prefix_blocks
        self.loads.staleness_s = settings.probes.metrics.staleness_s
        policy = DirectorPolicy(
            hold_s=settings.requests.hold_s,
            fallback_endpoints=settings.envoy.fallback_endpoints,
            unknown_model=settings.requests.unknown_model,
            limits=Limits(admission.queue_depth, admission.kv_used_ratio, admission.in_flight),
        )
        self.director = Director(profile=self._profile, policy=policy)

    def _build_profile(self) -> Profile:
        scheduling = self.settings.scheduling
        return build_profile(
            filters=scheduling.filters,
            scorer_weights={scorer.name: scorer.weight for scorer in scheduling.scorers},
            picker=scheduling.picker,
            loads=self.loads,
            tokens=self.loads.tokens,
            prefixes=self.prefixes,
        )

    def record(self, route: Route, *, now: float) -> None:
        """The route was given: the request is on its way to its first endpoint."""
        endpoint, work = route.endpoints[0], route.work
        self.loads.send(endpoint.id, work.uncached_tokens, now=now)
        if work.blocks:
            self.prefixes.add(endpoint.id, work.blocks)

    def report(self, endpoint_id: str, reading: EngineLoad, *, now: float) -> None:
        """An endpoint's metrics page was read."""
        self.loads.report(endpoint_id, reading, now=now)
        if reading.cache_tokens is not None:
            self.prefixes.resize(endpoint_id, int(reading.cache_tokens * self.loads.tokens.typical) // BLOCK_BYTES)

    def forget(self, endpoint_id: str) -> None:
        """An endpoint is gone, or began anew with an empty cache."""
        self.loads.forget(endpoint_id)
        self.prefixes.forget(endpoint_id)
        self._profile.forget(endpoint_id)
