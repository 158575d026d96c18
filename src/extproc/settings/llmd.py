"""Reading an EndpointPickerConfig, the configuration of llm-d's picker and the Inference Extension's, as ours.

What has a counterpart here becomes a setting; the rest is noted with its place, and nothing in it keeps a server from
starting. Source: the types of apix/config/v1alpha1 and the sample configs, of the Inference Extension from 0.5 to 1.4,
llm-d-inference-scheduler and llm-d-router.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from extproc.settings.problems import show

KIND = "EndpointPickerConfig"
GROUPS = ("inference.networking.x-k8s.io", "llm-d.ai")

SCORERS: Mapping[str, str | None] = {
    "active-request-scorer": "inflight",
    "context-length-aware-scorer": None,
    "kv-cache-scorer": "kv-cache",
    "kv-cache-utilization-scorer": "kv-cache",
    "latency-scorer": "ttft",
    "load-aware-scorer": "queue",
    "lora-affinity-scorer": "lora-affinity",
    "no-hit-lru-scorer": None,
    "precise-prefix-cache-scorer": "prefix",
    "prefix-cache-scorer": "prefix",
    "queue-depth-scorer": "queue",
    "queue-scorer": "queue",
    "running-requests-size-scorer": "running",
    "session-affinity-scorer": None,
    "token-load-scorer": None,
}
"""Their type of scorer → the name of ours that does the same, or None. Two of theirs on one of ours add up."""

LIMITS: Mapping[str, tuple[str, float]] = {
    "queueDepthThreshold": ("queueDepth", 1e9),
    "kvCacheUtilThreshold": ("kvUsedRatio", 1.0),
}
"""Their limits of saturation → ours, and the most that each can be."""

PICKERS: Mapping[str, str | None] = {
    "max-score-picker": "max-score",
    "random-picker": None,
    "weighted-random-picker": None,
}
"""Their type of picker → the name of ours, or None."""

DONE_ANYWAY = frozenset({"single-profile-handler", "openai-parser"})
"""Types that say what happens here in any case, so that leaving them out changes nothing."""

METRICS_SOURCE, METRICS_EXTRACTOR = "metrics-data-source", "core-metrics-extractor"
"""Types that say how the engines' metrics are read."""

PROFILES_IN_USE = ("default", "decode")
"""Of several profiles the first with one of these names is used, else the first: one request goes to one endpoint."""

MOST_WEIGHT = 1e9
"""Beyond any use, and few enough that no sum of them loses its end."""
MOST_ENDPOINTS = 16
"""The picked endpoint and the most fallbacks that `envoy.fallbackEndpoints` takes."""


class Note(NamedTuple):
    """Something in a document that was understood and has no effect."""

    where: str
    """Its place in the file, such as `schedulingProfiles[0].plugins[2]`."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Mapped(NamedTuple):
    """An EndpointPickerConfig as a document of our schema, which may be empty."""

    document: dict[str, Any]
    notes: tuple[Note, ...]


class _Plugin(NamedTuple):
    where: str
    type: str
    parameters: Any


class _Use(NamedTuple):
    """A plugin's place in the profile that is used."""

    where: str
    plugin: _Plugin
    weight: Any


def is_picker_config(document: Mapping[Any, Any]) -> bool:
    """True for a document that says it is an EndpointPickerConfig."""
    return document.get("kind") == KIND


def map_picker_config(
    document: Mapping[Any, Any],
    *,
    scorers: Mapping[str, str | None] = SCORERS,
    pickers: Mapping[str, str | None] = PICKERS,
) -> Mapped:
    """What of an EndpointPickerConfig means something here, as a document of our schema.

    Without a scorer (or picker) that we have, the schema's defaults stay.
    """
    notes = list(_note_sections(document))
    plugins = _read_plugins(document.get("plugins"), notes)
    uses = list(_read_uses(document.get("schedulingProfiles"), plugins, notes))
    result: dict[str, Any] = {}
    weights: dict[str, float] = {}
    for use in uses:
        kind = use.plugin.type
        if name := scorers.get(kind):
            weights[name] = weights.get(name, 0.0) + _read_weight(use, notes)
            if use.plugin.parameters:
                notes.append(Note(f"{use.plugin.where}.parameters", "have no effect here"))
        elif name := pickers.get(kind):
            result.setdefault("scheduling", {})["picker"] = name
            if fallbacks := _read_endpoints(use.plugin, notes) - 1:
                result["envoy"] = {"fallbackEndpoints": fallbacks}
        elif kind not in DONE_ANYWAY:
            what = "scorer" if kind in scorers else "picker" if kind in pickers else "plugin"
            notes.append(Note(use.where, f"there is no {what} like {_show(kind)} here"))
    if weights:
        listed = [{"name": name, "weight": weight} for name, weight in weights.items()]
        result.setdefault("scheduling", {})["scorers"] = listed
    if limits := _read_limits(document.get("saturationDetector"), notes):
        result["admission"] = limits
    named = _names_in(document.get("schedulingProfiles"))
    for name, plugin in plugins.items():
        if plugin.type == METRICS_SOURCE:
            if probes := _read_metrics_source(plugin):
                result["probes"] = probes
        elif plugin.type == METRICS_EXTRACTOR:
            result |= _read_metrics_extractor(plugin, notes)
        elif plugin.type not in DONE_ANYWAY and name not in named and all(use.plugin is not plugin for use in uses):
            notes.append(Note(plugin.where, f"{_show(plugin.type)} has no effect here"))
    return Mapped(result, tuple(notes))


def _note_sections(document: Mapping[Any, Any]) -> Iterator[Note]:
    version = document.get("apiVersion")
    if not isinstance(version, str) or version.partition("/")[0] not in GROUPS:
        yield Note("apiVersion", f"{_show(version)} is not known; read like {GROUPS[0]}/v1alpha1")
    for key in document:
        if key not in ("apiVersion", "kind", "metadata", "plugins", "schedulingProfiles", "saturationDetector"):
            yield Note(_show(key), "has no effect here")


def _read_plugins(listed: object, notes: list[Note]) -> dict[str, _Plugin]:
    """The plugins by the names that profiles refer to."""
    plugins: dict[str, _Plugin] = {}
    if not isinstance(listed, list):
        notes.append(Note("plugins", "is no list of plugins"))
        return plugins
    for index, entry in enumerate(listed):
        where = f"plugins[{index}]"
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str):
            notes.append(Note(where, f"has no type: {_show(entry)}"))
            continue
        name = entry.get("name") or kind
        if not isinstance(name, str) or name in plugins:
            notes.append(Note(where, f"is left out, as its name {_show(name)} is no text or taken"))
            continue
        plugins[name] = _Plugin(where, kind, entry.get("parameters"))
    return plugins


def _read_uses(profiles: object, plugins: Mapping[str, _Plugin], notes: list[Note]) -> Iterator[_Use]:
    """The plugins of the profile that is used. Without any profile it is one of all plugins, as it is there."""
    if not isinstance(profiles, list) or not profiles:
        if profiles:
            notes.append(Note("schedulingProfiles", "is no list of profiles; all plugins are taken for one"))
        for plugin in plugins.values():
            if plugin.type in SCORERS or plugin.type in PICKERS:
                yield _Use(plugin.where, plugin, None)
        return
    names = [profile.get("name") if isinstance(profile, dict) else None for profile in profiles]
    used = next((index for index, name in enumerate(names) if name in PROFILES_IN_USE), 0)
    for index, name in enumerate(names):
        if index != used:
            only = f"only the profile {_show(names[used])} is used"
            notes.append(Note(f"schedulingProfiles[{index}]", f"{_show(name)} has no effect here: {only}"))
    where = f"schedulingProfiles[{used}]"
    entries = profiles[used].get("plugins") if isinstance(profiles[used], dict) else None
    if not isinstance(entries, list):
        notes.append(Note(f"{where}.plugins", "is no list of plugins"))
        return
    for index, entry in enumerate(entries):
        place = f"{where}.plugins[{index}]"
        name = entry.get("pluginRef") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in plugins:
            yield _Use(place, plugins[name], entry.get("weight"))
        else:
            notes.append(Note(place, f"refers to no plugin of the list: {_show(name)}"))


def _names_in(profiles: object) -> set[str]:
    """The names that any profile refers to, used or not."""
    lists = [each.get("plugins") for each in profiles if isinstance(each, dict)] if isinstance(profiles, list) else []
    entries = [entry for listed in lists if isinstance(listed, list) for entry in listed if isinstance(entry, dict)]
    return {name for entry in entries if isinstance(name := entry.get("pluginRef"), str)}


def _read_weight(use: _Use, notes: list[Note]) -> float:
    if use.weight is None:
        return 1.0
    if isinstance(use.weight, int | float) and not isinstance(use.weight, bool) and 0 <= use.weight <= MOST_WEIGHT:
        return float(use.weight)
    notes.append(Note(f"{use.where}.weight", f"{_show(use.weight)} is no weight from 0 to {MOST_WEIGHT:g}; 1 is taken"))
    return 1.0


def _read_endpoints(plugin: _Plugin, notes: list[Note]) -> int:
    """How many endpoints a picker is to return: the one that is picked, and fallbacks."""
    if not plugin.parameters:
        return 1
    parameters = plugin.parameters if isinstance(plugin.parameters, dict) else {}
    count = parameters.get("maxNumOfEndpoints")
    if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= MOST_ENDPOINTS:
        if len(parameters) > 1:
            notes.append(Note(f"{plugin.where}.parameters", "have no effect here, but for maxNumOfEndpoints"))
        return count
    notes.append(Note(f"{plugin.where}.parameters", "have no effect here"))
    return 1


def _read_metrics_source(plugin: _Plugin) -> dict[str, Any]:
    """Where the metrics are, and how the engines are to be asked: of TLS it says so of /metrics, on their one port."""
    parameters = plugin.parameters if isinstance(plugin.parameters, dict) else {}
    probes: dict[str, Any] = {}
    if isinstance(path := parameters.get("path"), str) and path.startswith("/"):
        probes["metrics"] = {"path": path}
    if parameters.get("scheme") == "https":
        probes |= {"scheme": "https", "insecureSkipVerify": parameters.get("insecureSkipVerify") is not False}
    return probes


def _read_metrics_extractor(plugin: _Plugin, notes: list[Note]) -> dict[str, Any]:
    """Which label tells the engine. The names of each engine's metrics are known here."""
    parameters = plugin.parameters if isinstance(plugin.parameters, dict) else {}
    if parameters.keys() - {"engineLabelKey"}:
        notes.append(Note(f"{plugin.where}.parameters", "have no effect here, but for engineLabelKey"))
    key = parameters.get("engineLabelKey")
    return {"source": {"engineLabelKey": key}} if isinstance(key, str) and key else {}


def _read_limits(detector: object, notes: list[Note]) -> dict[str, Any]:
    """Our limits of saturation. One that could not be ours is noted."""
    limits: dict[str, Any] = {}
    if not isinstance(detector, dict):
        if detector is not None:
            notes.append(Note("saturationDetector", f"{_show(detector)} has no effect here"))
        return limits
    for key, value in detector.items():
        ours, most = LIMITS.get(key, ("", 0.0)) if isinstance(key, str) else ("", 0.0)
        if ours and isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most:
            limits[ours] = float(value)
        else:
            notes.append(Note(f"saturationDetector.{_show(key)}", f"{_show(value)} has no effect here"))
    return limits


def _show(value: object) -> str:
    """A name as it is, if it can stand in a line; anything else in short."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 80 else show(value)
