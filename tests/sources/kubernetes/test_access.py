"""sources/kubernetes/access: by which way Kubernetes is reached, and what is said of one that leads nowhere."""

from pathlib import Path

import pytest
import yaml

from extproc.errors import ConfigError, MissingError
from extproc.sources.kubernetes.access import find_access, header_of

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def kubeconfig(token: str, *, namespace: str | None = None, server: str = "https://api.test") -> str:
    context = {"cluster": "c", "user": "u"} | ({"namespace": namespace} if namespace else {})
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": context}],
            "current-context": "x",
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".kube").mkdir()
    return tmp_path


@pytest.fixture
def service_account(tmp_path: Path) -> Path:
    directory = tmp_path / "account"
    directory.mkdir()
    for name, text in (("token", "by-account"), ("ca.crt", "a certificate"), ("namespace", "models\n")):
        (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("is_named", "environ", "is_home", "headers", "namespace"),
    [
        pytest.param(True, IN_CLUSTER, True, "Bearer by-name", "named", id="a file that is named, before all"),
        pytest.param(False, IN_CLUSTER, True, "bearer by-account", "models", id="a pod's service account, before home"),
        pytest.param(False, {}, True, "Bearer by-home", "default", id="the file of the home directory"),
    ],
)
async def test_the_first_way_there_is(
    home: Path,
    service_account: Path,
    is_named: bool,
    environ: dict[str, str],
    is_home: bool,
    headers: str,
    namespace: str,
) -> None:
    named = home / "named.yaml"
    named.write_text(kubeconfig("by-name", namespace="named"))
    (home / ".kube/config").write_text(kubeconfig("by-home"))
    access = find_access(str(named) if is_named else None, environ=environ, home=home, service_account=service_account)
    configuration = await access.load()
    assert header_of(await configuration.auth_settings()) == {"authorization": headers}
    assert access.namespace == namespace


async def test_tokens_are_read_anew_at_each_loading(home: Path) -> None:
    file = home / ".kube/config"
    file.write_text(kubeconfig("one"))
    access = find_access(None, environ={}, home=home)
    file.write_text(kubeconfig("two"))
    configuration = await access.load()
    assert header_of(await configuration.auth_settings()) == {"authorization": "Bearer two"}


async def test_a_token_in_a_file_may_end_with_a_line_feed(home: Path) -> None:
    (home / "token").write_text("from-file\n")
    document = yaml.safe_load(kubeconfig(""))
    document["users"][0]["user"] = {"tokenFile": str(home / "token")}
    (home / ".kube/config").write_text(yaml.safe_dump(document))
    configuration = await find_access(None, environ={}, home=home).load()
    assert header_of(await configuration.auth_settings()) == {"authorization": "Bearer from-file"}


async def test_in_a_cluster_no_proxy_of_the_environment_is_used(service_account: Path, tmp_path: Path) -> None:
    access = find_access(None, environ=IN_CLUSTER, home=tmp_path, service_account=service_account)
    assert (await access.load()).client_session_kwargs == {"trust_env": False}


def test_without_any_way_the_problem_names_them(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"this is no pod, and there is neither KUBECONFIG nor .*/\.kube/config"):
        find_access(None, environ={}, home=tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "cannot be used", id="empty"),
        pytest.param("[]", "cannot be used", id="a list"),
        pytest.param("a: [", "cannot be used", id="no YAML"),
        pytest.param("kind: Config\ncontexts: []\ncurrent-context: x", "cannot be used", id="no such context"),
        pytest.param("kind: Config\ncontexts: 3\ncurrent-context: x", "cannot be used", id="contexts of another type"),
        pytest.param(None, "there is no such file", id="no file"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, text: str | None, problem: str) -> None:
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        find_access(str(file), environ={}, home=tmp_path)
    assert str(file) in str(caught.value)
    assert problem in str(caught.value)


async def test_a_service_account_that_is_not_mounted(tmp_path: Path) -> None:
    """It may come: what is missing is said when it is wanted, and again whenever the pool is read."""
    access = find_access(None, environ=IN_CLUSTER, home=tmp_path, service_account=tmp_path / "none")
    assert access.namespace == "default"
    with pytest.raises(ConfigError, match="Service token file does not exist"):
        await access.load()
