"""The certificate of the ext_proc port: self-signed, or from a directory that is followed while it is replaced."""

import asyncio
import os
import stat
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, PublicKeyAlgorithmOID

from extproc.errors import ConfigError, Problem
from extproc.settings.schema import ServerSettings
from extproc.telemetry.logs import Log

CERTIFICATE_FILE = "tls.crt"
KEY_FILE = "tls.key"
"""Names of a Kubernetes Secret of type kubernetes.io/tls, which are also those that today's pickers assume."""

LOOK_INTERVAL_S = 1.0
"""The files are read this often. Kubernetes takes a minute to renew a mounted Secret: a watch would win nothing."""

SELF_SIGNED_FOR = timedelta(days=3650)
BACKDATED_BY = timedelta(days=1)
"""Clients whose clock is late would not take a certificate of this minute."""

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""Those that gRPC can serve. Envoy takes only the first unless its ecdh_curves say more (measured with 1.40)."""

SERVABLE_KEYS = (PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5, PublicKeyAlgorithmOID.EC_PUBLIC_KEY)
"""What a certificate may say that its key is for: rsaEncryption and id-ecPublicKey. gRPC takes no id-RSASSA-PSS."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_log = Log("servers.tls")


class KeyPair(NamedTuple):
    """A certificate chain, leaf first, and the leaf's private key."""

    chain_pem: bytes
    key_pem: bytes
    expires_at: datetime
    """End of the leaf's validity, in UTC. Told, not enforced: Envoy does not verify a picker's certificate."""


class _Files(NamedTuple):
    """What one look found."""

    certificate: bytes | Problem
    key: bytes | Problem


class Certificate:
    """What new handshakes are shown. Get it from `load_certificate`.

    With a `folder`, `look` takes over what has changed there. Connections that are open keep what they began with.
    """

    def __init__(self, pair: KeyPair, *, folder: str = "", files: _Files | None = None) -> None:
        self.pair = pair
        self._folder = folder
        self._seen = self._judged = files
        self._complaint: tuple[Problem, ...] = ()
        self._handed_over: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    def __repr__(self) -> str:
        return f"<Certificate {self.origin} {self._folder} until {self.pair.expires_at:%Y-%m-%d}>"

    @property
    def origin(self) -> str:
        """`self-signed`, or `cert-path`."""
        return "cert-path" if self._folder else "self-signed"

    def build_credentials(self) -> grpc.ServerCredentials:
        """Credentials for one port of one server, whose handshakes follow `pair`."""
        return grpc.dynamic_ssl_server_credentials(_configuration(self.pair), self._fetch)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The configuration that has changed since the last call, if one has.

        gRPC calls this before each handshake in a thread of its own, and frees what it was given: each is given once.
        """
        try:
            return self._handed_over.popleft()
        except IndexError:
            return None

    async def run(self) -> None:
        """Follows the files for ever."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Reads the files, and takes over a good pair that two looks in a row have found.

        The two are not read at one instant: between them the directory may be swapped. A bad pair keeps the last good
        one, and is told of once in the log; so does whatever else goes wrong, for which no open stream must pay.
        """
        try:
            self._compare()
        except Exception as exc:  # noqa: BLE001
            self._seen = self._judged = None
            self._complain([Problem(self._folder, f"cannot be looked at: {exc!r}")])

    def _compare(self) -> None:
        found = _read_files(self._folder)
        if found != self._seen:
            self._seen = found
        elif found != self._judged:
            self._judged = found
            self._judge(found)

    def _judge(self, files: _Files) -> None:
        try:
            pair = _read_pair(files, self._folder)
        except ConfigError as exc:
            self._complain(exc.problems)
            return
        if pair != self.pair:
            self.pair = pair
            self._handed_over.append(_configuration(pair))
            _log.info("certificate replaced", folder=self._folder, expires=_day(pair))
        elif self._complaint:
            _log.info("certificate is good again", folder=self._folder, expires=_day(pair))
        self._complaint = ()

    def _complain(self, problems: Sequence[Problem]) -> None:
        if tuple(problems) != self._complaint:
            self._complaint = tuple(problems)
            for problem in problems:
                _log.warning("certificate is bad, the last good one is kept", problem=problem)


def load_certificate(settings: ServerSettings) -> Certificate | None:
    """The certificate that the settings ask for, None for plaintext.

    Errors: ConfigError with everything that is wrong with the files in `certPath`, each by its path.
    """
    if not settings.secure_serving:
        return None
    if not settings.cert_path:
        return Certificate(make_self_signed(now=datetime.now(UTC)))
    files = _read_files(settings.cert_path)
    return Certificate(_read_pair(files, settings.cert_path), folder=settings.cert_path, files=files)


def make_self_signed(*, now: datetime) -> KeyPair:
    """A new key and a certificate that it signed itself: ECDSA P-256, for `localhost`, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "extproc")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED_BY)
        .not_valid_after(now + SELF_SIGNED_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair([certificate], key)


def _pair(chain: list[x509.Certificate], key: PrivateKey) -> KeyPair:
    """Written anew: gRPC's reader of PEM is another than the one that took the files for good."""
    return KeyPair(
        b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        chain[0].not_valid_after_utc,
    )


def _configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key_pem, pair.chain_pem)])


def _day(pair: KeyPair) -> str:
    return f"{pair.expires_at:%Y-%m-%d}"


def _read_files(folder: str) -> _Files:
    return _Files(*(_read_file(Path(folder, name)) for name in (CERTIFICATE_FILE, KEY_FILE)))


def _read_file(path: Path) -> bytes | Problem:
    """The content of a regular file: one that blocks its reader would keep the process from ending."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return Problem(str(path), "is no regular file")
        return path.read_bytes()
    except (OSError, ValueError) as exc:
        return Problem(str(path), f"cannot be read: {getattr(exc, 'strerror', None) or exc}")


def _read_pair(files: _Files, folder: str) -> KeyPair:
    """What the files hold. Errors: ConfigError."""
    chain = _read_chain(files.certificate, str(Path(folder, CERTIFICATE_FILE)))
    key = _read_key(files.key, str(Path(folder, KEY_FILE)))
    if isinstance(chain, Problem) or isinstance(key, Problem):
        raise ConfigError(folder, [each for each in (chain, key) if isinstance(each, Problem)])
    if chain[0].public_key() != key.public_key():
        what = f"does not belong to the first certificate in {CERTIFICATE_FILE}"
        raise ConfigError(folder, [Problem(str(Path(folder, KEY_FILE)), what)])
    return _pair(chain, key)


def _read_chain(content: bytes | Problem, path: str) -> list[x509.Certificate] | Problem:
    if isinstance(content, Problem):
        return content
    try:
        chain = x509.load_pem_x509_certificates(content)
        chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        return Problem(path, f"holds no certificate in PEM: {exc}")
    if chain[0].public_key_algorithm_oid not in SERVABLE_KEYS:
        return Problem(path, "is for neither an rsaEncryption nor an ECDSA key: gRPC cannot serve it")
    return chain


def _read_key(content: bytes | Problem, path: str) -> PrivateKey | Problem:
    if isinstance(content, Problem):
        return content
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        return Problem(path, "is encrypted: a server has nobody to ask for the password")
    except (ValueError, UnsupportedAlgorithm) as exc:
        return Problem(path, f"holds no private key in PEM: {exc}")
    if not isinstance(key, PrivateKey):
        return Problem(path, "is neither an RSA nor an ECDSA key")
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in CURVES:
        return Problem(path, f"is on the curve {key.curve.name}: take P-256, which every Envoy takes")
    return key
