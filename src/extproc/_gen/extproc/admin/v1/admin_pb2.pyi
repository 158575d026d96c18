from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetSnapshotRequest(_message.Message):
    __slots__ = ("most_decisions",)
    MOST_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    most_decisions: int
    def __init__(self, most_decisions: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("pool", "extproc_version", "uptime_s", "version", "age_s", "is_synced", "is_ready", "sources", "endpoints", "models", "aliases", "objectives", "open_streams", "callers", "outcomes", "changes", "config_file", "decisions")
    class ObjectivesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    POOL_FIELD_NUMBER: _ClassVar[int]
    EXTPROC_VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    IS_SYNCED_FIELD_NUMBER: _ClassVar[int]
    IS_READY_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVES_FIELD_NUMBER: _ClassVar[int]
    OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FILE_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    extproc_version: str
    uptime_s: float
    version: int
    age_s: float
    is_synced: bool
    is_ready: bool
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    objectives: _containers.ScalarMap[str, int]
    open_streams: int
    callers: _containers.RepeatedCompositeFieldContainer[Caller]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    config_file: ConfigFile
    decisions: _containers.RepeatedCompositeFieldContainer[DecisionEvent]
    def __init__(self, pool: _Optional[str] = ..., extproc_version: _Optional[str] = ..., uptime_s: _Optional[float] = ..., version: _Optional[int] = ..., age_s: _Optional[float] = ..., is_synced: _Optional[bool] = ..., is_ready: _Optional[bool] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ..., objectives: _Optional[_Mapping[str, int]] = ..., open_streams: _Optional[int] = ..., callers: _Optional[_Iterable[_Union[Caller, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., config_file: _Optional[_Union[ConfigFile, _Mapping]] = ..., decisions: _Optional[_Iterable[_Union[DecisionEvent, _Mapping]]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("name", "is_connected", "age_s", "problems")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_connected: bool
    age_s: float
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., is_connected: _Optional[bool] = ..., age_s: _Optional[float] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("id", "name", "address", "node", "role", "engine", "is_ready", "is_confirmed", "is_suspect", "models", "probe_age_s", "problem", "load", "load_problem", "in_flight")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    IS_READY_FIELD_NUMBER: _ClassVar[int]
    IS_CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    IS_SUSPECT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PROBE_AGE_S_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    LOAD_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    address: str
    node: str
    role: str
    engine: str
    is_ready: bool
    is_confirmed: bool
    is_suspect: bool
    models: _containers.RepeatedScalarFieldContainer[str]
    probe_age_s: float
    problem: str
    load: Load
    load_problem: str
    in_flight: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., node: _Optional[str] = ..., role: _Optional[str] = ..., engine: _Optional[str] = ..., is_ready: _Optional[bool] = ..., is_confirmed: _Optional[bool] = ..., is_suspect: _Optional[bool] = ..., models: _Optional[_Iterable[str]] = ..., probe_age_s: _Optional[float] = ..., problem: _Optional[str] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., load_problem: _Optional[str] = ..., in_flight: _Optional[int] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("age_s", "waiting", "running", "kv_used_ratio", "adapters")
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    KV_USED_RATIO_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    age_s: float
    waiting: float
    running: float
    kv_used_ratio: float
    adapters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, age_s: _Optional[float] = ..., waiting: _Optional[float] = ..., running: _Optional[float] = ..., kv_used_ratio: _Optional[float] = ..., adapters: _Optional[_Iterable[str]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("id", "parent", "endpoints")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    parent: str
    endpoints: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., parent: _Optional[str] = ..., endpoints: _Optional[_Iterable[str]] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("name", "targets")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    def __init__(self, name: _Optional[str] = ..., targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("model", "weight")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    model: str
    weight: int
    def __init__(self, model: _Optional[str] = ..., weight: _Optional[int] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("is_direct", "request_body_mode", "response_body_mode", "tells_modes", "answer", "streams", "age_s", "left_early", "left_after_s", "left_early_age_s", "refused", "refused_age_s", "first_age_s")
    IS_DIRECT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BODY_MODE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BODY_MODE_FIELD_NUMBER: _ClassVar[int]
    TELLS_MODES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    LEFT_EARLY_FIELD_NUMBER: _ClassVar[int]
    LEFT_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    LEFT_EARLY_AGE_S_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_AGE_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_AGE_S_FIELD_NUMBER: _ClassVar[int]
    is_direct: bool
    request_body_mode: str
    response_body_mode: str
    tells_modes: bool
    answer: str
    streams: int
    age_s: float
    left_early: int
    left_after_s: float
    left_early_age_s: float
    refused: int
    refused_age_s: float
    first_age_s: float
    def __init__(self, is_direct: _Optional[bool] = ..., request_body_mode: _Optional[str] = ..., response_body_mode: _Optional[str] = ..., tells_modes: _Optional[bool] = ..., answer: _Optional[str] = ..., streams: _Optional[int] = ..., age_s: _Optional[float] = ..., left_early: _Optional[int] = ..., left_after_s: _Optional[float] = ..., left_early_age_s: _Optional[float] = ..., refused: _Optional[int] = ..., refused_age_s: _Optional[float] = ..., first_age_s: _Optional[float] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("model", "outcome", "requests")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    outcome: str
    requests: int
    def __init__(self, model: _Optional[str] = ..., outcome: _Optional[str] = ..., requests: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("at_unix_s", "what", "endpoint", "detail")
    AT_UNIX_S_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    at_unix_s: float
    what: str
    endpoint: str
    detail: str
    def __init__(self, at_unix_s: _Optional[float] = ..., what: _Optional[str] = ..., endpoint: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ConfigFile(_message.Message):
    __slots__ = ("path", "age_s", "problems", "needs_restart")
    PATH_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    path: str
    age_s: float
    problems: _containers.RepeatedScalarFieldContainer[str]
    needs_restart: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., age_s: _Optional[float] = ..., problems: _Optional[_Iterable[str]] = ..., needs_restart: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "prompt", "method", "path", "headers", "body", "subset")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: str
    method: str
    path: str
    headers: _containers.ScalarMap[str, str]
    body: bytes
    subset: Subset
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[str] = ..., method: _Optional[str] = ..., path: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., body: _Optional[bytes] = ..., subset: _Optional[_Union[Subset, _Mapping]] = ...) -> None: ...

class Subset(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("pool", "snapshot_version", "snapshot_age_s", "named_model", "model", "outcome", "why", "destination", "endpoint", "answer", "held_s", "scorers", "picker", "compared", "candidates", "prompt_tokens")
    POOL_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_AGE_S_FIELD_NUMBER: _ClassVar[int]
    NAMED_MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    HELD_S_FIELD_NUMBER: _ClassVar[int]
    SCORERS_FIELD_NUMBER: _ClassVar[int]
    PICKER_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    snapshot_version: int
    snapshot_age_s: float
    named_model: str
    model: str
    outcome: str
    why: str
    destination: str
    endpoint: str
    answer: Answer
    held_s: float
    scorers: _containers.RepeatedCompositeFieldContainer[Scorer]
    picker: str
    compared: int
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    prompt_tokens: float
    def __init__(self, pool: _Optional[str] = ..., snapshot_version: _Optional[int] = ..., snapshot_age_s: _Optional[float] = ..., named_model: _Optional[str] = ..., model: _Optional[str] = ..., outcome: _Optional[str] = ..., why: _Optional[str] = ..., destination: _Optional[str] = ..., endpoint: _Optional[str] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., held_s: _Optional[float] = ..., scorers: _Optional[_Iterable[_Union[Scorer, _Mapping]]] = ..., picker: _Optional[str] = ..., compared: _Optional[int] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., prompt_tokens: _Optional[float] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("status", "headers", "body")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    status: int
    headers: _containers.ScalarMap[str, str]
    body: bytes
    def __init__(self, status: _Optional[int] = ..., headers: _Optional[_Mapping[str, str]] = ..., body: _Optional[bytes] = ...) -> None: ...

class Scorer(_message.Message):
    __slots__ = ("name", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("name", "address", "verdicts", "scores", "total", "choice", "cached_tokens")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    scores: _containers.RepeatedScalarFieldContainer[float]
    total: float
    choice: int
    cached_tokens: float
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., scores: _Optional[_Iterable[float]] = ..., total: _Optional[float] = ..., choice: _Optional[int] = ..., cached_tokens: _Optional[float] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("filter", "allows", "why")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALLOWS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    filter: str
    allows: bool
    why: str
    def __init__(self, filter: _Optional[str] = ..., allows: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class WatchDecisionsRequest(_message.Message):
    __slots__ = ("model", "refusals_only", "most_per_s")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_ONLY_FIELD_NUMBER: _ClassVar[int]
    MOST_PER_S_FIELD_NUMBER: _ClassVar[int]
    model: str
    refusals_only: bool
    most_per_s: int
    def __init__(self, model: _Optional[str] = ..., refusals_only: _Optional[bool] = ..., most_per_s: _Optional[int] = ...) -> None: ...

class DecisionEvent(_message.Message):
    __slots__ = ("at_unix_s", "request_id", "path", "named_model", "model", "outcome", "reason", "status", "endpoint", "destination", "seconds", "snapshot_version", "best", "left_out")
    AT_UNIX_S_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAMED_MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    at_unix_s: float
    request_id: str
    path: str
    named_model: str
    model: str
    outcome: str
    reason: str
    status: int
    endpoint: str
    destination: str
    seconds: float
    snapshot_version: int
    best: _containers.RepeatedCompositeFieldContainer[Ranked]
    left_out: int
    def __init__(self, at_unix_s: _Optional[float] = ..., request_id: _Optional[str] = ..., path: _Optional[str] = ..., named_model: _Optional[str] = ..., model: _Optional[str] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., status: _Optional[int] = ..., endpoint: _Optional[str] = ..., destination: _Optional[str] = ..., seconds: _Optional[float] = ..., snapshot_version: _Optional[int] = ..., best: _Optional[_Iterable[_Union[Ranked, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class Ranked(_message.Message):
    __slots__ = ("endpoint", "total")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    total: float
    def __init__(self, endpoint: _Optional[str] = ..., total: _Optional[float] = ...) -> None: ...

class GetConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Config(_message.Message):
    __slots__ = ("yaml", "settings", "file", "without_effect")
    YAML_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_EFFECT_FIELD_NUMBER: _ClassVar[int]
    yaml: str
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    file: ConfigFile
    without_effect: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, yaml: _Optional[str] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., file: _Optional[_Union[ConfigFile, _Mapping]] = ..., without_effect: _Optional[_Iterable[str]] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("key", "value", "origin", "needs_restart")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    origin: str
    needs_restart: bool
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., origin: _Optional[str] = ..., needs_restart: _Optional[bool] = ...) -> None: ...
