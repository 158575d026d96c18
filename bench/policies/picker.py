"""The project's own director as a policy: the real parser's values, registry, prefix index, loads and decisions.

`track` is told when answers end, as a picker is that stays on the response path; `detach` never is.
"""

from random import Random

from bench.policies.jobs import Job
from extproc.director.decider import Decider
from extproc.registry.changes import ModelsListed, NamesListed, PoolListed
from extproc.registry.store import Store
from extproc.settings.schema import Settings
from extproc.values.decision import Route, Work
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad
from extproc.values.model import ModelCard
from extproc.values.pool import Pool
from extproc.values.refusal import Reject
from extproc.values.request import InferenceRequest, Prompt, RouteToModel

MODEL = "m"


class Picker:
    """One replica of the picker, for engines that all serve one model."""

    reads_loads = True

    def __init__(self, rng: Random, settings: Settings, *, tracks: bool) -> None:
        self._rng = rng
        self._tracks = tracks
        self._decider = Decider(settings)
        self._decider.in_flight.is_exact = tracks
        self._store = Store(Pool("bench"))
        self._store.apply(NamesListed(objectives=settings.admission.objectives), now=0.0)
        self._endpoints: dict[int, Endpoint] = {}
        self._works: dict[int, Work] = {}
        """By job, of those in flight."""

    def choose(self, job: Job, *, now: float) -> int | Reject:
        """See `Policy.choose`."""
        text = job.text()
        size_bytes = job.prompt_bytes
        request = InferenceRequest(RouteToModel(MODEL), now, prompt=Prompt(text, size_bytes), objective=job.objective)
        decision = self._decider.director.decide(request, self._store.snapshot, now=now, rng=self._rng)
        if isinstance(decision, Reject):
            return decision
        assert isinstance(decision, Route)
        self._decider.record(decision, now=now)
        endpoint = decision.endpoints[0]
        if self._tracks:
            self._decider.in_flight.begin(endpoint, decision.work)
            self._works[job.index] = decision.work
        return int(endpoint.id)

    def read(self, engine: int, load: EngineLoad, *, now: float) -> None:
        """See `Policy.read`."""
        if engine in self._endpoints:
            self._decider.report(str(engine), load, now=now)

    def end(self, engine: int, job: Job, *, now: float) -> None:
        """See `Policy.end`."""
        if self._tracks:
            self._decider.in_flight.end(_endpoint(engine), self._works.pop(job.index))

    def join(self, engine: int, *, now: float) -> None:
        """See `Policy.join`."""
        self._endpoints[engine] = _endpoint(engine)
        self._store.apply(PoolListed.of(self._endpoints.values()), now=now)
        self._store.apply(ModelsListed(str(engine), now, (ModelCard(MODEL),)), now=now)

    def leave(self, engine: int, *, now: float) -> None:
        """See `Policy.leave`."""
        del self._endpoints[engine]
        self._store.apply(PoolListed.of(self._endpoints.values()), now=now)
        self._decider.forget(str(engine))


def _endpoint(engine: int) -> Endpoint:
    return Endpoint(str(engine), f"engine-{engine}", f"10.0.0.{engine + 1}:8000")
