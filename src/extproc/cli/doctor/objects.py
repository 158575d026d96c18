"""The fields of Kubernetes' objects that the doctor reads beyond those that the picker does."""

from collections.abc import Sequence

import msgspec

from extproc.sources.kubernetes.objects import (
    ContainerStatus,
    InferencePool,
    KubernetesObject,
    PodSpec,
    PodStatus,
    PoolSpec,
)


class _Field(msgspec.Struct, frozen=True, rename="camel"):
    """The base of what is read below the top."""


class PortNumber(_Field, frozen=True):
    """A port of a reference."""

    number: int = 0


class PickerReference(_Field, frozen=True):
    """The picker that a pool names: v1's endpointPickerRef, v1alpha2's extensionRef."""

    name: str = ""
    kind: str | None = None
    port: PortNumber | None = None
    """v1."""
    port_number: int | None = None
    """v1alpha2."""
    failure_mode: str | None = None

    @property
    def number(self) -> int | None:
        """The Service's port, None where none is named."""
        return self.port.number if self.port is not None else self.port_number


class FullPoolSpec(PoolSpec, frozen=True):
    """The spec of an InferencePool with the picker that it names."""

    endpoint_picker_ref: PickerReference | None = None
    extension_ref: PickerReference | None = None


class FullPool(InferencePool, frozen=True):
    """An InferencePool of either group."""

    spec: FullPoolSpec = FullPoolSpec()

    @property
    def picker(self) -> PickerReference | None:
        """The picker that it names."""
        return self.spec.endpoint_picker_ref or self.spec.extension_ref


class ContainerPort(_Field, frozen=True):
    """A port that a container declares."""

    container_port: int
    name: str = ""


class GrpcProbe(_Field, frozen=True):
    """A kubelet's question to a health service."""

    port: int
    service: str | None = None


class OtherProbe(_Field, frozen=True):
    """Another kind of a kubelet's question."""

    port: int | str = 0


class Probe(_Field, frozen=True):
    """What a kubelet asks a container."""

    grpc: GrpcProbe | None = None
    http_get: OtherProbe | None = None


class Container(_Field, frozen=True):
    """A container of a pod."""

    name: str = ""
    ports: list[ContainerPort] | None = None
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None


class FullPodSpec(PodSpec, frozen=True):
    """What a pod was given, its containers included."""

    containers: list[Container] | None = None


class Waiting(_Field, frozen=True):
    """Why a container does not run."""

    reason: str = ""


class ContainerState(_Field, frozen=True):
    """Whether a container runs."""

    waiting: Waiting | None = None


class FullContainerStatus(ContainerStatus, frozen=True):
    """How a container fares, and why it waits."""

    name: str = ""
    state: ContainerState | None = None


class FullPodStatus(PodStatus, frozen=True):
    """Where a pod is, its containers included."""

    container_statuses: Sequence[FullContainerStatus] | None = None  # type: ignore[assignment]


class FullPod(KubernetesObject, frozen=True):
    """A v1 Pod."""

    spec: FullPodSpec = FullPodSpec()
    status: FullPodStatus = FullPodStatus()


class ServicePort(_Field, frozen=True):
    """A port of a Service, and the one of its pods behind it: a number, or the name of a container's port."""

    port: int
    target_port: int | str | None = None


class ServiceSpec(_Field, frozen=True):
    """Which pods a Service stands for, and on which ports."""

    selector: dict[str, str] | None = None
    ports: list[ServicePort] | None = None


class Service(KubernetesObject, frozen=True):
    """A v1 Service."""

    spec: ServiceSpec = ServiceSpec()
