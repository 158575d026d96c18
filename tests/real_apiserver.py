"""A real kube-apiserver on a real etcd, as controller projects run them: from the folder `KUBEBUILDER_ASSETS` names."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

ADMIN_TOKEN = "admin-token"
PICKER_TOKEN = "picker-token"
PICKER_USER = "system:serviceaccount:default:picker"

START_TIMEOUT_S = 60.0


def assets() -> Path | None:
    """The folder with the binaries, if there is one."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(folder) if folder else None


def serving_pair() -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1 that is its own authority, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


class RealApiServer:
    """etcd and kube-apiserver as processes of their own, with all they write in a folder that goes with them.

    Two users: `ADMIN_TOKEN` may do anything, `PICKER_TOKEN` is `PICKER_USER`, who may do what RBAC lets him.
    """

    def __init__(self, binaries: Path):
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="extproc-apiserver-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port, etcd_port, peer_port = _free_ports(3)
        self.etcd_url = f"http://127.0.0.1:{etcd_port}"
        self._peer_url = f"http://127.0.0.1:{peer_port}"
        self.url = f"https://127.0.0.1:{self.port}"
        self.certificate = self._folder / "serving.crt"

    def start(self) -> None:
        """Starts both; returns when the API server says that it is ready."""
        certificate, key = serving_pair()
        self.certificate.write_bytes(certificate)
        (self._folder / "serving.key").write_bytes(key)
        signing_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._folder / "accounts.key").write_bytes(_pem(signing_key))
        (self._folder / "tokens.csv").write_text(
            f"{ADMIN_TOKEN},admin,admin,system:masters\n{PICKER_TOKEN},{PICKER_USER},picker\n"
        )
        self._run(
            "etcd", "--unsafe-no-fsync", f"--data-dir={self._folder / 'etcd'}", "--log-level=error",
            f"--listen-client-urls={self.etcd_url}", f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={self._peer_url}", f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=default={self._peer_url}",
        )  # fmt: skip
        self._run(
            "kube-apiserver", f"--etcd-servers={self.etcd_url}", f"--cert-dir={self._folder}",
            "--bind-address=127.0.0.1", f"--secure-port={self.port}", "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self.certificate}", f"--tls-private-key-file={self._folder / 'serving.key'}",
            "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://127.0.0.1/", "--allow-privileged=true",
            f"--service-account-signing-key-file={self._folder / 'accounts.key'}",
            f"--service-account-key-file={self._folder / 'accounts.key'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}", "--authorization-mode=RBAC",
            # else a page of a compacted version is served from memory for 15 s more
            "--feature-gates=ListFromCacheSnapshot=false",
        )  # fmt: skip
        self._wait_until_ready()

    def stop(self) -> None:
        """Ends both, the API server first, and removes the folder."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:  # it drains for a minute
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log_text(self) -> str:
        """What both logged so far."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def _run(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            command = [str(self._binaries / program), *arguments]
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
            )

    def _wait_until_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.certificate))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready(context):
            assert time.monotonic() < deadline, self.log_text()
            assert all(process.poll() is None for process in self._processes), self.log_text()
            time.sleep(0.05)  # another process's start has no event to wait for

    def _is_ready(self, context: ssl.SSLContext) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        try:
            for path in ("/readyz", "/api/v1/namespaces/default"):
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    return False
        except OSError:
            return False
        finally:
            connection.close()
        return True


def _free_ports(count: int) -> list[int]:
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in with_ports]
    for listener in with_ports:
        listener.close()
    return ports


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
