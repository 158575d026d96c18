"""The source that the settings name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from extproc.settings.schema import SourceSettings
from extproc.sources.meters import SourceMeters
from extproc.sources.static import EndpointsFile
from extproc.values.pool import Pool

if TYPE_CHECKING:
    from extproc.sources.kubernetes.access import Access
    from extproc.sources.kubernetes.pools import Selection


class Source(Protocol):
    """Where a pool's endpoints come from."""

    @property
    def pool(self) -> Pool:
        """The pool."""

    @property
    def origin(self) -> str:
        """Where it comes from, for a person."""

    async def run(self, report: Callable[[Any], object], meters: SourceMeters) -> None:
        """Reports what the registry takes in (`PoolListed`, `PoolChanged`, `NamesListed`), for ever."""

    def doubt(self, endpoint_id: str) -> None:
        """Takes in that an endpoint does not behave as if it were there."""


def open_source(
    settings: SourceSettings, *, environ: Mapping[str, str], clock: Callable[[], float], rng: Random
) -> Source | None:
    """The source, None where the settings name none. Errors: ConfigError for one that cannot be used.

    Each is imported where it is wanted: Kubernetes' client library takes 0.4 s and 24 MB.
    """
    if settings.endpoints_file:
        return EndpointsFile(settings.endpoints_file, engine_label=settings.engine_label_key)
    if settings.dns_name:
        from extproc.sources.dns import DnsName

        host, _, port = settings.dns_name.rpartition(":")
        return DnsName(host, int(port), Pool(host, settings.pool_namespace or "default"), clock=clock, rng=rng)
    if settings.pool_name or settings.endpoint_selector:
        return _open_kubernetes(settings, environ, clock, rng)
    return None


class Way(NamedTuple):
    """How a pool in Kubernetes is reached."""

    access: "Access"
    namespace: str
    """The pool's."""
    selection: "Selection | None"
    """Of a pool without an InferencePool."""


def find_kubernetes(settings: SourceSettings, environ: Mapping[str, str]) -> Way:
    """The way to the pool. Errors: ConfigError where there is none, or it cannot be used."""
    from extproc.sources.kubernetes.access import find_access
    from extproc.sources.kubernetes.pools import Selection

    kubeconfig = settings.kubeconfig or environ.get("KUBECONFIG") or None
    access = find_access(kubeconfig, environ=environ, home=Path(environ.get("HOME") or "/"))
    namespace = settings.pool_namespace or environ.get("NAMESPACE") or access.namespace
    selector = settings.endpoint_selector
    selection = Selection(selector, None, settings.endpoint_target_ports) if selector else None
    return Way(access, namespace, selection)


def _open_kubernetes(
    settings: SourceSettings, environ: Mapping[str, str], clock: Callable[[], float], rng: Random
) -> Source:
    from extproc.sources.kubernetes.source import KubernetesPool, Wanted

    way = find_kubernetes(settings, environ)
    pool = Pool(settings.pool_name or settings.endpoint_selector or "", way.namespace)
    group = None if way.selection is not None else settings.pool_group
    wanted = Wanted(pool, way.selection, group=group, engine_label=settings.engine_label_key)
    return KubernetesPool(wanted, way.access, clock=clock, rng=rng)
