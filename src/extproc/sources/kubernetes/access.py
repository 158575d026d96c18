"""How Kubernetes is reached: as a pod of the cluster, or by a kubeconfig. By the client library's own loaders.

The order is client-go's: a file that is named, the pod's service account, the file of the home directory.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, list_kube_config_contexts, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, InClusterConfigLoader

from extproc.errors import ConfigError, MissingError, Problem

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HOME_KUBECONFIG = Path(".kube/config")


class Access(NamedTuple):
    """A way to reach Kubernetes."""

    origin: str
    """Where it is stated, for a person."""
    load: Callable[[], Awaitable[Configuration]]
    """Reads it anew: address, certificates, token. Errors: ConfigError."""
    namespace: str
    """The namespace that it states."""
    is_service_account: bool = False
    """It is the pod's own."""


def find_access(
    kubeconfig: str | None, *, environ: Mapping[str, str], home: Path, service_account: Path = SERVICE_ACCOUNT
) -> Access:
    """The first way there is. Errors: MissingError where there is none, ConfigError where it cannot be used."""
    if kubeconfig is None and SERVICE_HOST_ENV_NAME in environ:
        return _in_cluster(environ, service_account)
    file = kubeconfig or str(home / HOME_KUBECONFIG)
    if kubeconfig is None and not Path(file).exists():
        what = f"Kubernetes cannot be reached: this is no pod, and there is neither KUBECONFIG nor {file}"
        raise MissingError("kubeconfig", [Problem("source.kubeconfig", what)])
    return _by_file(file)


def _in_cluster(environ: Mapping[str, str], service_account: Path) -> Access:
    async def load() -> Configuration:
        configuration = Configuration()
        # No proxy of the environment: Python's NO_PROXY knows no networks, by which clusters' addresses are named.
        configuration.client_session_kwargs = {"trust_env": False}
        loader = InClusterConfigLoader(
            token_filename=str(service_account / "token"),
            cert_filename=str(service_account / "ca.crt"),
            environ=environ,
        )
        try:
            loader.load_and_set(configuration)
        except (ConfigException, OSError) as exc:
            raise ConfigError("service account", [Problem(str(service_account), str(exc))]) from exc
        return configuration

    try:
        namespace = (service_account / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    return Access(f"the service account in {service_account}", load, namespace, is_service_account=True)


def _by_file(file: str) -> Access:
    file = os.path.expanduser(file)

    async def load() -> Configuration:
        configuration = Configuration()
        try:
            await load_kube_config(file, client_configuration=configuration, persist_config=False)
        except _LOADING_ERRORS as exc:
            raise _unusable(file, exc) from exc
        return configuration

    if not any(Path(part).exists() for part in file.split(os.pathsep)):
        raise ConfigError("kubeconfig", [Problem("source.kubeconfig", f"{file}: there is no such file")])
    try:
        _, context = list_kube_config_contexts(file)
        if not isinstance(context.get("context"), Mapping):
            raise ConfigException("no current context")
        namespace = context["context"].get("namespace") or "default"
    except _LOADING_ERRORS as exc:
        raise _unusable(file, exc) from exc
    return Access(file, load, str(namespace))


_LOADING_ERRORS: tuple[type[Exception], ...] = (
    ConfigException,
    OSError,
    UnicodeDecodeError,
    yaml.YAMLError,
    # What the loader makes of documents that are YAML, and no kubeconfig.
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)


def _unusable(file: str, exc: Exception) -> ConfigError:
    text = " ".join(str(exc).split()) or type(exc).__name__
    return ConfigError("kubeconfig", [Problem("source.kubeconfig", f"{file} cannot be used: {text}")])


def header_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The headers that the library's `auth_settings` stand for. A file with a token may end with a line feed."""
    return {
        auth["key"]: auth["value"].strip() for auth in settings.values() if auth["in"] == "header" and auth["value"]
    }
