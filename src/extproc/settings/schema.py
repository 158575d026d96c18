"""Every setting, stated once: its key, type, unit, default, command-line flag and reason.

Keys in the file are the camelCase names; durations are Go's (`50ms`, `2s`, `1m30s`), sizes are bytes or `64MiB`.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from extproc.settings.group import Group, setting
from extproc.settings.telling import AdminSettings, TelemetrySettings
from extproc.settings.types import (
    Address,
    DnsName,
    Duration,
    HeaderName,
    LabelSelector,
    ModelName,
    OptionalText,
    Port,
    PositiveDuration,
    Size,
    TargetPorts,
    empty_is_none,
    none_is_empty,
    size_schema,
)
from extproc.values.names import Alias, Target

MOST_BODY_BYTES = 1023 << 20
"""gRPC's receive limit, twice this and 1 MiB, must fit into 31 bits."""


class ServerSettings(Group):
    """Where the server listens, and how it stops."""

    listen_address: Address = setting(
        "[::]", "IP address that every port is opened on.", flag="listen-address", needs_restart=True
    )
    grpc_port: Port = setting(9002, "Port of the ext_proc service.", flag="grpc-port", needs_restart=True)
    grpc_health_port: Port = setting(
        9003, "Port of the gRPC health service, always plaintext.", flag="grpc-health-port", needs_restart=True
    )
    metrics_port: Port = setting(9090, "Port of GET /metrics.", flag="metrics-port", needs_restart=True)
    secure_serving: bool = setting(
        True,
        "TLS on the ext_proc port, with a self-signed certificate unless `certPath` is set.",
        flag="secure-serving",
        needs_restart=True,
    )
    cert_path: str | None = setting(
        None,
        "Directory with tls.crt and tls.key in PEM, as a Kubernetes Secret is mounted: RSA or ECDSA P-256. Envoy takes "
        "no other curve unless its ecdh_curves say so.",
        flag="cert-path",
        needs_restart=True,
    )
    enable_cert_reload: bool = setting(
        True,
        "Take over a changed pair in `certPath` for new connections; open ones keep theirs.",
        flag="enable-cert-reload",
        needs_restart=True,
    )
    max_connection_age_s: Duration = setting(
        0.0,
        "Age (±10 %) at which an ext_proc connection is to be replaced, so that replicas share the load of Envoy's "
        "long-lived connections; 0s is never, as about 1 in 100 replacements under load fails a request with a 503. "
        "Envoy's own max_connection_duration fails none.",
        key="maxConnectionAge",
        needs_restart=True,
    )
    max_connection_age_grace_s: Duration = setting(
        0.0,
        "Time for the streams of such a connection to end before they are cut; 0s is as long as they need.",
        key="maxConnectionAgeGrace",
        needs_restart=True,
    )
    drain_delay_s: Duration = setting(
        5.0,
        "After a stop signal, new streams are still served for this long, and while they go on coming for up to as "
        "long again: data planes learn late that a picker leaves.",
        flag="drain-delay",
        key="drainDelay",
    )
    drain_timeout_s: Duration = setting(
        30.0, "Time for open streams to end after that.", flag="drain-timeout", key="drainTimeout"
    )


PoolGroup = Literal["inference.networking.k8s.io", "inference.networking.x-k8s.io"]


class SourceSettings(Group):
    """Where the pool's endpoints come from: one of a file, an InferencePool, a selector of pods, and a DNS name."""

    endpoints_file: OptionalText = setting(
        None, "YAML file of pools and endpoints, re-read when it changes.", flag="endpoints-file", needs_restart=True
    )
    pool_name: OptionalText = setting(
        None, "Name of an InferencePool, whose selector and ports are followed.", flag="pool-name", needs_restart=True
    )
    pool_namespace: OptionalText = setting(
        None,
        "Namespace of the InferencePool and of its pods. Without it NAMESPACE in the environment, else that of the "
        "service account or of the kubeconfig's context, else `default`.",
        flag="pool-namespace",
        needs_restart=True,
    )
    pool_group: Annotated[PoolGroup | None, BeforeValidator(empty_is_none)] = setting(
        None,
        "API group of the InferencePool: `inference.networking.k8s.io` (v1) or `inference.networking.x-k8s.io` "
        "(v1alpha2). Without it the one that the cluster has the pool in, the former first.",
        flag="pool-group",
        needs_restart=True,
    )
    endpoint_selector: LabelSelector = setting(
        None,
        "Label selector of pods in Kubernetes' syntax (`app=llm,tier!=test`), instead of an InferencePool. Needs "
        "`endpointTargetPorts`.",
        flag="endpoint-selector",
        needs_restart=True,
    )
    endpoint_target_ports: TargetPorts = setting(
        (),
        "The ports of each such pod, each an endpoint of its own. As a flag separated by commas.",
        flag="endpoint-target-ports",
        needs_restart=True,
    )
    engine_label_key: OptionalText = setting(
        None,
        "Label of a pod, or of an endpoint in the file, whose value is the kind of its engine: vllm, sglang, "
        "trtllm-serve or triton-tensorrt-llm. Without it `llm-d.ai/engine-type`, else "
        "`inference.networking.k8s.io/engine-type`. Where there is none, the metrics page tells.",
        flag="engine-label-key",
        needs_restart=True,
    )
    dns_name: DnsName = setting(
        None,
        "host:port, such as a headless Service's. Every A and AAAA address is an endpoint; the name is asked for again "
        "when its TTL is over.",
        flag="dns-name",
        needs_restart=True,
    )
    kubeconfig: OptionalText = setting(
        None,
        "File that says how to reach Kubernetes. Without it the one that KUBECONFIG names in the environment, else the "
        "pod's service account, else ~/.kube/config.",
        flag="kubeconfig",
        needs_restart=True,
    )

    @model_validator(mode="after")
    def _require_one(self) -> "SourceSettings":
        sources = {
            "endpointsFile": self.endpoints_file,
            "poolName": self.pool_name,
            "endpointSelector": self.endpoint_selector,
            "dnsName": self.dns_name,
        }
        given = [key for key, value in sources.items() if value]
        if len(given) > 1:
            raise ValueError(f"one source of endpoints to a server; {' and '.join(given)} are given")
        if self.endpoint_target_ports and not self.endpoint_selector:
            raise ValueError("endpointTargetPorts goes with endpointSelector; an InferencePool states its own ports")
        if self.endpoint_selector and not self.endpoint_target_ports:
            raise ValueError("endpointSelector needs endpointTargetPorts")
        return self


class ModelProbeSettings(Group):
    """Asking each endpoint which models it serves."""

    interval_s: PositiveDuration = setting(
        5.0,
        "Time between two probes of an endpoint that answers; longer in a pool that would need more than 400 probes a "
        "second. What an engine unloads unannounced is known after it.",
        key="interval",
    )
    timeout_s: PositiveDuration = setting(5.0, "Time for one answer; a late one evicts nothing.", key="timeout")
    first_answer_budget_s: PositiveDuration = setting(
        5.0, "A new endpoint that has not answered after this is no longer waited for.", key="firstAnswerBudget"
    )
    path: Annotated[str, Field(pattern="^/")] = setting("/v1/models", "Path of the model list.")


class MetricsProbeSettings(Group):
    """Reading each engine's load off its metrics page, in the text format of Prometheus."""

    interval_s: Duration = setting(
        0.5,
        "Time between two readings of an endpoint; longer in a pool that would need more than 500 a second, and while "
        "the event loop is late. 0s reads "
        "none: endpoints are then chosen without knowledge of their load.",
        flag="refresh-metrics-interval",
        key="interval",
    )
    timeout_s: PositiveDuration = setting(1.0, "Time for one page.", key="timeout")
    staleness_s: PositiveDuration = setting(
        2.0,
        "Age from which a reading counts less and less; twice the interval at the size of the pool, where that is "
        "longer.",
        flag="metrics-staleness-threshold",
        key="staleness",
    )
    path: Annotated[str, Field(pattern="^/")] = setting(
        "/metrics", "Path of the page. trtllm-serve has it at /prometheus/metrics.", flag="model-server-metrics-path"
    )
    port: Port = setting(
        0, "Port of the page, the same for every endpoint; 0 is the endpoint's own.", flag="model-server-metrics-port"
    )
    scheme: Literal["http", "https"] | None = setting(None, "Scheme of the page, where it is not `probes.scheme`.")


class ProbeSettings(Group):
    """Asking the endpoints."""

    models: ModelProbeSettings = Field(default_factory=ModelProbeSettings)
    metrics: MetricsProbeSettings = Field(default_factory=MetricsProbeSettings)
    scheme: Literal["http", "https"] = setting("http", "Scheme of the engines.")
    bearer_token_file: str | None = setting(
        None, "File with the engines' API key, read again at each probe, or once a second, so that it can be rotated."
    )
    ca_file: str | None = setting(
        None, "CA bundle for https. Read at the start, and again when an edit changes something in this group."
    )
    insecure_skip_verify: bool = setting(False, "Accept any certificate of an engine.")


class TargetSettings(Group):
    """A model that an alias stands for."""

    model: ModelName = Field(description="Name of the model, as the engines list it.")
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        1, "Its share is this over the sum; with 0 it serves only where no other target can."
    )


class AliasSettings(Group):
    """What a name stands for. Written as a text, that model alone."""

    targets: Annotated[tuple[TargetSettings, ...], Field(strict=False)] = Field(
        description="Models that requests are shared out to, by weight."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_shorthand(cls, value: object) -> object:
        return {"targets": [{"model": value}]} if isinstance(value, str) else value

    @field_validator("targets")
    @classmethod
    def _require_weight(cls, targets: tuple[TargetSettings, ...]) -> tuple[TargetSettings, ...]:
        if not targets:
            raise ValueError("needs at least one model")
        if not any(target.weight for target in targets):
            raise ValueError("all weights are 0: nothing would be sent anywhere")
        models = [target.model for target in targets]
        if len(set(models)) < len(models):
            raise ValueError("a model stands twice; give it one weight")
        return targets


class RequestSettings(Group):
    """What clients may send, and how long they may wait."""

    max_body_bytes: Annotated[Size, Field(le=MOST_BODY_BYTES), size_schema(MOST_BODY_BYTES)] = setting(
        64 << 20, "Largest request body, also once decompressed; more is a 413.", needs_restart=True
    )
    max_held_bytes: Size = setting(512 << 20, "Bytes of bodies held at one time over all requests; more is a 429.")
    unknown_model: Literal["reject", "passthrough"] = setting(
        "reject", "What becomes of a request for a model that no endpoint lists: a 404, or any ready endpoint."
    )
    hold_s: Duration = setting(1.0, "How long a request may wait for fresh probes before it is refused.", key="hold")
    aliases: Annotated[dict[ModelName, AliasSettings], BeforeValidator(none_is_empty)] = setting(
        {},
        "Further names of models: `NAME: MODEL`, or `NAME: {targets: [{model: M, weight: W}, …]}`. The model's name is "
        "written into the request. They come before what InferenceModelRewrites state of the same name.",
    )

    def build_aliases(self) -> tuple[Alias, ...]:
        """The aliases as the registry takes them in."""
        return tuple(
            Alias(name, tuple(Target(target.model, target.weight) for target in alias.targets))
            for name, alias in self.aliases.items()
        )


BodyModeName = Literal["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]


class EnvoySettings(Group):
    """How to answer the data plane."""

    request_body_mode: BodyModeName = setting(
        "FULL_DUPLEX_STREAMED", "The filter's request_body_mode, for an Envoy too old to tell it with each request."
    )
    response_body_mode: BodyModeName = setting("NONE", "The same of its response_body_mode.")
    response_phase: Literal["auto", "detach", "track", "observe"] = setting(
        "auto",
        "Whether streams end with the request's answer (detach), or stay open until the response ends: track and "
        "observe count requests in flight exactly, at the price that a killed picker cuts the responses it follows. "
        "auto detaches, and observes only where an HTTP hop between Envoy and picker makes leaving unsafe. To be "
        "followed, a response's headers and trailers must be sent by the filter.",
    )
    request_body_answer: Literal["auto", "whole", "chunks"] = setting(
        "auto",
        "How a streamed body goes back: in one message with the answer (whole), which Envoy takes, or in chunks, which "
        "every data plane takes. auto is whole for Envoy itself, and chunks through an HTTP hop.",
    )
    allow_mode_override: bool = setting(
        False,
        "The filter has allow_mode_override: in the modes NONE, STREAMED and BUFFERED_PARTIAL the picker then asks for "
        "the buffered body. Must not be set where the filter does not have it: requests would go anywhere.",
    )
    message_timeout_s: PositiveDuration = setting(
        0.2,
        "The filter's message_timeout; 200ms is Envoy's default. In every mode but full duplex no decision waits "
        "longer than half of it.",
        key="messageTimeout",
    )
    read_usage: bool = setting(
        False, "Read the token usage and the time to the first token from streamed answers that pass by (observe)."
    )
    decision_timeout_s: PositiveDuration = setting(
        10.0,
        "From the start of a stream to its answer, the upload included; then a 503. Envoy has no limit of its own in "
        "full duplex.",
        key="decisionTimeout",
    )
    fallback_endpoints: Annotated[int, Field(ge=0, le=15)] = setting(
        0, "Further endpoints of the same model after the first, for a data plane that retries. Some take one only."
    )


ScorerName = Literal["ttft", "lora-affinity", "queue", "kv-cache", "running", "inflight", "prefix", "session"]


class ScorerSettings(Group):
    """A scorer and how much it counts."""

    name: ScorerName = setting(..., "Name of the scorer.")
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = setting(1.0, "Factor of its score in the sum.")


DEFAULT_SCORERS = (ScorerSettings(name="ttft"), ScorerSettings(name="lora-affinity"))


class SchedulingSettings(Group):
    """Choosing among the endpoints of a model. That they serve it, are ready and within the subset, always holds."""

    filters: Annotated[tuple[Literal["role"], ...], Field(strict=False)] = setting(
        ("role",), "Further filters. `role` leaves out pods whose label llm-d.ai/role says prefill or encode."
    )
    scorers: tuple[ScorerSettings, ...] = Field(
        default=DEFAULT_SCORERS,
        strict=False,
        description="Scorers whose weighted sum decides; docs/scheduling.md says what each looks at.",
    )
    picker: Literal["max-score", "power-of-two"] = setting(
        "max-score", "What picks by the sums: the highest, or the higher of two that are drawn at random."
    )
    session_header: HeaderName = setting(
        None,
        "Request header that tells sessions apart, such as x-session-id; the scorer `session` keeps each together.",
    )
    prefix_blocks: Annotated[int, Field(ge=0, le=100_000_000)] = setting(
        1_000_000,
        "Blocks of 256 bytes of prompts that are remembered over all endpoints, at about 250 bytes of memory each; "
        "shared out by the sizes of the engines' caches.",
    )

    @field_validator("scorers")
    @classmethod
    def _refuse_repetition(cls, scorers: tuple[ScorerSettings, ...]) -> tuple[ScorerSettings, ...]:
        names = [scorer.name for scorer in scorers]
        if not names:
            raise ValueError("needs at least one scorer")
        if len(set(names)) < len(names):
            raise ValueError("a scorer stands twice; give it one weight")
        return scorers

    @model_validator(mode="after")
    def _require_session(self) -> "SchedulingSettings":
        if self.session_header is None and any(scorer.name == "session" for scorer in self.scorers):
            raise ValueError("the scorer session needs sessionHeader: the request header that tells sessions apart")
        return self


Priority = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class AdmissionSettings(Group):
    """When requests that can be shed, those of a negative priority, are refused with a 429: while the endpoints that
    could serve have, on average, reached one of these limits.
    """

    queue_depth: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = setting(
        5.0, "Requests that wait at an endpoint; null is no limit."
    )
    kv_used_ratio: Annotated[float | None, Field(ge=0, le=1)] = setting(
        0.8, "Share of its KV cache in use; null is no limit."
    )
    in_flight: Annotated[float | None, Field(ge=1, allow_inf_nan=False)] = setting(
        None, "Requests that it has, waiting or running; null is no limit."
    )
    objectives: Annotated[dict[str, Priority], BeforeValidator(none_is_empty)] = setting(
        {},
        "Priorities by name, as InferenceObjectives have them, for the header x-gateway-inference-objective. Negative: "
        "can be shed. They stand before those of the cluster.",
    )


class Settings(Group):
    """All settings. Every group and key is optional."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    source: SourceSettings = Field(default_factory=SourceSettings)
    probes: ProbeSettings = Field(default_factory=ProbeSettings)
    requests: RequestSettings = Field(default_factory=RequestSettings)
    envoy: EnvoySettings = Field(default_factory=EnvoySettings)
    scheduling: SchedulingSettings = Field(default_factory=SchedulingSettings)
    admission: AdmissionSettings = Field(default_factory=AdmissionSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
