"""A TLS Secret on disk, as Kubernetes mounts it, and the certificates in it."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from extproc.servers.tls import KeyPair, PrivateKey, make_self_signed

NOW = datetime.now(UTC)


def self_signed() -> KeyPair:
    """A fresh pair."""
    return make_self_signed(now=NOW)


def issued(*, key: PrivateKey | None = None, name: str = "picker.test") -> KeyPair:
    """A leaf without the authority that issued it, as many Secrets hold it."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "some authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{name}")]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem, traditional = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    key_pem = key.private_bytes(pem, traditional, serialization.NoEncryption())
    return KeyPair(leaf.public_bytes(pem), key_pem, leaf.not_valid_after_utc)


def mount(folder: Path, pair: KeyPair) -> None:
    """Puts a pair into the place of the one before in one step, by a link, as the kubelet does."""
    folder.mkdir(exist_ok=True)
    fresh = folder / f"..{len(list(folder.iterdir()))}"
    fresh.mkdir()
    (fresh / "tls.crt").write_bytes(pair.chain_pem)
    (fresh / "tls.key").write_bytes(pair.key_pem)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").replace(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data", name))


async def shake_hands(port: int) -> tuple[str, str | None]:
    """The certificate, in PEM, that a new connection is shown, and the protocol that was agreed on."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1", "h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")
    protocol = tls.selected_alpn_protocol()
    writer.transport.abort()
    return shown, protocol
