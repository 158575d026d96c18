"""What the picker says of itself when asked: the messages of proto/extproc/admin/v1/admin.proto, field by field.

What the fields mean stands there. Ages are in seconds before the answer; None is not known, which is not 0.
"""

import msgspec


class Source(msgspec.Struct, frozen=True):
    """Where the pool's endpoints come from."""

    name: str
    is_connected: bool
    age_s: float | None = None
    problems: tuple[str, ...] = ()


class Load(msgspec.Struct, frozen=True):
    """What an engine's metrics page says."""

    age_s: float
    waiting: float | None = None
    running: float | None = None
    kv_used_ratio: float | None = None
    adapters: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint and what is known of it."""

    id: str
    name: str
    address: str
    node: str = ""
    role: str = ""
    engine: str = ""
    is_ready: bool = False
    is_confirmed: bool = False
    is_suspect: bool = False
    models: tuple[str, ...] = ()
    probe_age_s: float | None = None
    problem: str = ""
    load: Load | None = None
    load_problem: str = ""
    in_flight: int | None = None


class Model(msgspec.Struct, frozen=True):
    """A known model and the names of those that serve it now."""

    id: str
    parent: str = ""
    endpoints: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True):
    """What an alias can stand for."""

    model: str
    weight: int


class Alias(msgspec.Struct, frozen=True):
    """A name that stands for models."""

    name: str
    targets: tuple[Target, ...]


class Caller(msgspec.Struct, frozen=True):
    """One kind of stream that was seen."""

    is_direct: bool
    request_body_mode: str
    response_body_mode: str
    tells_modes: bool
    answer: str
    streams: int
    age_s: float
    left_early: int = 0
    left_after_s: float | None = None
    left_early_age_s: float | None = None
    refused: int = 0
    refused_age_s: float | None = None
    first_age_s: float | None = None


class Outcome(msgspec.Struct, frozen=True):
    """Requests for a model by what became of them."""

    model: str
    outcome: str
    requests: int


class Change(msgspec.Struct, frozen=True):
    """A change of what is known."""

    at_unix_s: float
    what: str
    endpoint: str = ""
    detail: str = ""


class ConfigFile(msgspec.Struct, frozen=True):
    """The config file, and whether what stands in it is in effect."""

    path: str
    age_s: float
    problems: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


class Ranked(msgspec.Struct, frozen=True):
    """A candidate and its weighted sum."""

    endpoint: str
    total: float


class DecisionEvent(msgspec.Struct, frozen=True):
    """A decision that was made."""

    at_unix_s: float
    request_id: str
    path: str
    named_model: str
    model: str
    outcome: str
    reason: str = ""
    status: int = 0
    endpoint: str = ""
    destination: str = ""
    seconds: float = 0.0
    snapshot_version: int = 0
    best: tuple[Ranked, ...] = ()
    left_out: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """The pool as it is known."""

    pool: str
    extproc_version: str
    uptime_s: float
    version: int
    age_s: float
    is_synced: bool
    is_ready: bool
    sources: tuple[Source, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    models: tuple[Model, ...] = ()
    aliases: tuple[Alias, ...] = ()
    objectives: dict[str, int] = {}
    open_streams: int = 0
    callers: tuple[Caller, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    changes: tuple[Change, ...] = ()
    config_file: ConfigFile | None = None
    decisions: tuple[DecisionEvent, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What a client gets from the picker itself."""

    status: int
    headers: dict[str, str]
    body: bytes


class Scorer(msgspec.Struct, frozen=True):
    """A scorer and how much it counts."""

    name: str
    weight: float


class Verdict(msgspec.Struct, frozen=True):
    """What one filter says of one endpoint."""

    filter: str
    allows: bool
    why: str = ""


class Candidate(msgspec.Struct, frozen=True):
    """An endpoint as a candidate for one request."""

    name: str
    address: str
    verdicts: tuple[Verdict, ...]
    scores: tuple[float, ...] = ()
    total: float | None = None
    choice: int = 0
    cached_tokens: float = 0.0


class Explanation(msgspec.Struct, frozen=True):
    """Where a request would go, and why."""

    pool: str
    snapshot_version: int
    snapshot_age_s: float
    named_model: str
    model: str
    outcome: str
    why: str
    destination: str = ""
    endpoint: str = ""
    answer: Answer | None = None
    held_s: float = 0.0
    scorers: tuple[Scorer, ...] = ()
    picker: str = ""
    compared: int = 0
    candidates: tuple[Candidate, ...] = ()
    prompt_tokens: float = 0.0


class Setting(msgspec.Struct, frozen=True):
    """A setting in effect."""

    key: str
    value: str
    origin: str
    needs_restart: bool = False


class Config(msgspec.Struct, frozen=True):
    """The settings in effect."""

    yaml: str
    settings: tuple[Setting, ...] = ()
    file: ConfigFile | None = None
    without_effect: tuple[str, ...] = ()
