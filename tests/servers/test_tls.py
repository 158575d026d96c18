"""servers/tls: what new handshakes are shown, through real ones."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.secret import NOW, issued, mount, self_signed, shake_hands

from extproc.errors import ConfigError
from extproc.servers.listen import build_grpc_server, open_port
from extproc.servers.tls import Certificate, KeyPair, load_certificate
from extproc.settings.schema import ServerSettings


def load(folder: Path) -> Certificate:
    certificate = load_certificate(ServerSettings.model_validate({"certPath": str(folder)}))
    assert certificate is not None
    return certificate


def look_twice(certificate: Certificate) -> None:
    """What is found twice counts."""
    certificate.look()
    certificate.look()


@asynccontextmanager
async def serve(certificate: Certificate) -> AsyncIterator[int]:
    """The port of a server that sends back what it is sent."""

    async def echo(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    server = build_grpc_server()
    method = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Echo": method}),))
    credentials = certificate.build_credentials()
    port = open_port(server, "127.0.0.1", 0, purpose="test", setting="grpc-port", credentials=credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def trusting(pem: bytes, port: int, *, name: str = "localhost") -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        f"127.0.0.1:{port}",
        grpc.ssl_channel_credentials(pem),
        # Without it two channels of one process share their connections.
        options=[("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)],
    )


def test_plaintext_has_no_certificate_and_reads_no_files() -> None:
    settings = {"secureServing": False, "certPath": "/nowhere"}
    assert load_certificate(ServerSettings.model_validate(settings)) is None


@pytest.mark.parametrize("given", [{}, {"certPath": None}, {"certPath": ""}], ids=["nothing", "null", "Go's default"])
async def test_without_a_path_it_is_self_signed(given: dict[str, object]) -> None:
    certificate = load_certificate(ServerSettings.model_validate(given))
    assert certificate is not None
    assert certificate.origin == "self-signed"
    async with serve(certificate) as port:
        shown, protocol = await shake_hands(port)
    assert (shown.encode(), protocol) == (certificate.pair.chain_pem, "h2")
    leaf = x509.load_pem_x509_certificate(shown.encode())
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert leaf.not_valid_before_utc < NOW - timedelta(hours=1)
    assert leaf.not_valid_after_utc > NOW + timedelta(days=3000)


async def test_each_start_makes_a_key_of_its_own() -> None:
    assert self_signed().key_pem != self_signed().key_pem


@pytest.mark.parametrize("make", [self_signed, issued, lambda: issued(key=ec.generate_private_key(ec.SECP384R1()))])
async def test_a_mounted_pair_is_shown_and_serves(tmp_path: Path, make: Callable[[], KeyPair]) -> None:
    pair = make()
    mount(tmp_path, pair)
    certificate = load(tmp_path)
    assert certificate.origin == "cert-path"
    async with serve(certificate) as port:
        assert (await shake_hands(port))[1] == "h2"
        name = "x.picker.test" if make is not self_signed else "localhost"
        async with trusting(certificate.pair.chain_pem, port, name=name) as channel:
            call = channel.stream_stream("/t.T/Echo")()
            await call.write(b"1")
            assert await call.read() == b"1"


async def test_text_around_the_pem_is_no_matter(tmp_path: Path) -> None:
    """As `openssl x509 -text` writes it."""
    pair = self_signed()
    (tmp_path / "tls.crt").write_bytes(b"Certificate:\n    Data:\n" + pair.chain_pem)
    (tmp_path / "tls.key").write_bytes(b"\n\n" + pair.key_pem)
    async with serve(load(tmp_path)) as port:
        assert (await shake_hands(port))[0].encode() == pair.chain_pem


async def test_new_handshakes_see_a_new_pair_and_open_streams_go_on(tmp_path: Path) -> None:
    pairs = [self_signed() for _ in range(4)]
    mount(tmp_path, pairs[0])
    certificate = load(tmp_path)
    async with serve(certificate) as port, trusting(pairs[0].chain_pem, port) as old:
        open_since_before = old.stream_stream("/t.T/Echo")()
        for number, pair in enumerate(pairs):
            mount(tmp_path, pair)
            look_twice(certificate)
            for _ in range(3):
                assert (await shake_hands(port))[0].encode() == pair.chain_pem
            async with trusting(pair.chain_pem, port) as new:
                call = new.stream_stream("/t.T/Echo")()
                await call.write(b"new")
                assert await call.read() == b"new"
            await open_since_before.write(b"%d" % number)
            assert await open_since_before.read() == b"%d" % number
        await open_since_before.done_writing()
        assert await open_since_before.code() is grpc.StatusCode.OK


async def test_of_several_pairs_between_two_handshakes_the_last_is_shown(tmp_path: Path) -> None:
    mount(tmp_path, self_signed())
    certificate = load(tmp_path)
    async with serve(certificate) as port:
        for _ in range(3):
            mount(tmp_path, last := self_signed())
            look_twice(certificate)
        assert (await shake_hands(port))[0].encode() == last.chain_pem


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, level and text, as it comes."""
    found: list[str] = []

    class Taker(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"{record.levelname} {record.getMessage()} {getattr(record, 'fields', '')}")

    logger = logging.getLogger("extproc.servers.tls")
    taker = Taker()
    logger.addHandler(taker)
    caplog.set_level(logging.INFO, logger="extproc")
    return found


def cut_certificate(folder: Path) -> None:
    content = (folder / "tls.crt").read_bytes()
    (folder / "tls.crt").write_bytes(content[: len(content) // 2])


def empty_certificate(folder: Path) -> None:
    (folder / "tls.crt").write_bytes(b"")


def take_anothers_key(folder: Path) -> None:
    (folder / "tls.key").write_bytes(self_signed().key_pem)


def remove_key(folder: Path) -> None:
    (folder / "tls.key").unlink()


def remove_folder(folder: Path) -> None:
    folder.rename(folder.with_name("gone"))


@pytest.mark.parametrize("spoil", [cut_certificate, empty_certificate, take_anothers_key, remove_key, remove_folder])
async def test_a_bad_pair_keeps_the_last_good_one_and_is_told_once(
    tmp_path: Path, spoil: Callable[[Path], None], lines: list[str]
) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    first = self_signed()
    write(folder, first.chain_pem, first.key_pem)
    certificate = load(folder)
    async with serve(certificate) as port:
        spoil(folder)
        certificate.look()
        assert lines == []
        look_twice(certificate)
        assert lines
        assert all(line.startswith("WARNING certificate is bad, the last good one is kept") for line in lines)
        assert str(folder) in lines[0]
        told = len(lines)
        look_twice(certificate)
        assert len(lines) == told
        assert (await shake_hands(port))[0].encode() == first.chain_pem
        folder.mkdir(exist_ok=True)
        second = self_signed()
        write(folder, second.chain_pem, second.key_pem)
        look_twice(certificate)
        assert lines[told:] == [f"INFO certificate replaced {{'folder': '{folder}', 'expires': '{day(second)}'}}"]
        assert (await shake_hands(port))[0].encode() == second.chain_pem


def hide_behind_a_long_name(link: Path) -> None:
    """What lstat takes, stat refuses: ENAMETOOLONG, which pathlib does not ignore."""
    link.unlink()
    link.symlink_to("x" * 300)


def hide_behind_a_loop(link: Path) -> None:
    link.unlink()
    link.symlink_to(link)


@pytest.mark.parametrize(
    ("hide", "what"),
    [(hide_behind_a_long_name, "File name too long"), (hide_behind_a_loop, "Too many levels of symbolic links")],
)
async def test_a_folder_that_cannot_be_looked_into_ends_nothing(
    tmp_path: Path, lines: list[str], hide: Callable[[Path], None], what: str
) -> None:
    mount(tmp_path / "real", pair := self_signed())
    link = tmp_path / "certs"
    link.symlink_to("real")
    certificate = load(link)
    hide(link)
    look_twice(certificate)
    look_twice(certificate)
    assert certificate.pair == pair
    assert [line.partition(" {")[0] for line in lines] == ["WARNING certificate is bad, the last good one is kept"] * 2
    assert f"'{link}/tls.crt', what='cannot be read: {what}'" in lines[0]
    link.unlink()
    link.symlink_to("real")
    look_twice(certificate)
    assert lines[2].startswith("INFO certificate is good again")


async def test_whatever_a_look_raises_is_one_warning(tmp_path: Path, lines: list[str]) -> None:
    """Faults that nobody has thought of: the task that looks is one whose end is the server's."""
    write(tmp_path, GOOD.chain_pem, GOOD.key_pem)

    class Failing(Certificate):
        is_failing = True

        def _compare(self) -> None:
            if self.is_failing:
                raise RuntimeError("no luck")
            super()._compare()

    certificate = Failing(GOOD, folder=str(tmp_path))
    look_twice(certificate)
    assert len(lines) == 1
    assert "cannot be looked at: RuntimeError('no luck')" in lines[0]
    certificate.is_failing = False
    look_twice(certificate)
    assert certificate.pair == GOOD
    assert lines[1].startswith("INFO certificate is good again")


async def test_the_running_look_outlives_a_folder_that_it_cannot_look_into(tmp_path: Path, lines: list[str]) -> None:
    mount(tmp_path / "real", self_signed())
    link = tmp_path / "certs"
    link.symlink_to("real")
    certificate = load(link)
    following = asyncio.create_task(certificate.run())
    try:
        hide_behind_a_long_name(link)
        async with asyncio.timeout(10):
            while not lines and not following.done():
                await asyncio.wait([following], timeout=0.1)
        assert not following.done()
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_an_rsa_pss_certificate_is_not_taken_over(tmp_path: Path, lines: list[str]) -> None:
    write(tmp_path, GOOD.chain_pem, GOOD.key_pem)
    certificate = load(tmp_path)
    write(tmp_path, RSA_PSS, RSA_PSS_KEY)
    look_twice(certificate)
    assert certificate.pair == GOOD
    assert len(lines) == 1
    assert "tls.crt', what='is for neither an rsaEncryption nor an ECDSA key" in lines[0]


async def test_other_files_with_the_same_fault_are_not_told_again(tmp_path: Path, lines: list[str]) -> None:
    """As with a copy that is slow to come, of which each look finds more."""
    mount(tmp_path, self_signed())
    certificate = load(tmp_path)
    for _ in range(3):
        (tmp_path / "tls.key").write_bytes(self_signed().key_pem)
        look_twice(certificate)
    assert len(lines) == 1


async def test_the_old_pair_put_back_is_told_as_good(tmp_path: Path, lines: list[str]) -> None:
    pair = self_signed()
    write(tmp_path, pair.chain_pem, pair.key_pem)
    certificate = load(tmp_path)
    (tmp_path / "tls.key").unlink()
    look_twice(certificate)
    write(tmp_path, pair.chain_pem, pair.key_pem)
    look_twice(certificate)
    assert [line.partition(" {")[0] for line in lines] == [
        "WARNING certificate is bad, the last good one is kept",
        "INFO certificate is good again",
    ]


async def test_a_swap_between_the_two_reads_is_not_taken_for_a_bad_pair(tmp_path: Path, lines: list[str]) -> None:
    """The certificate of before with the key of after is what one look can find; the next finds another."""
    before, after = self_signed(), self_signed()
    write(tmp_path, before.chain_pem, before.key_pem)
    certificate = load(tmp_path)
    write(tmp_path, before.chain_pem, after.key_pem)
    certificate.look()
    write(tmp_path, after.chain_pem, after.key_pem)
    look_twice(certificate)
    assert [line.partition(" {")[0] for line in lines] == ["INFO certificate replaced"]
    assert certificate.pair == after


def day(pair: KeyPair) -> str:
    return f"{pair.expires_at:%Y-%m-%d}"


def write(folder: Path, chain: bytes, key: bytes) -> None:
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(key)


def encrypted(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    best = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, best)


def ed25519_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


GOOD = self_signed()

RSA_PSS = b"""\
-----BEGIN CERTIFICATE-----
MIIDZzCCAhqgAwIBAgIUAK543+wN0I1SlDqO0dDsRLbVF9kwQgYJKoZIhvcNAQEK
MDWgDzANBglghkgBZQMEAgEFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgEF
AKIEAgIA3jAOMQwwCgYDVQQDDANwc3MwIBcNMjYxMTIyMDI0NTU1WhgPMjEyNjEw
MjkwMjQ1NTVaMA4xDDAKBgNVBAMMA3BzczCCASAwCwYJKoZIhvcNAQEKA4IBDwAw
ggEKAoIBAQDA3CawANlk6khCc7N55wfw94xmqpHInsul507hqnnZw1OXc+ptnk2Z
Qn+LHlm9IWnGzRP4062gP64cC9fNtPYSQvepF9X1WaUE7Q5IMARrdbIyeT7+qbu4
4EhO5aUc88aQ+9a0Y4ksrN/YChjWwjLF20uLefLLEn7721XRWup9iOGKH74uwRh1
HV6VG0twHcgjIlF1EbC2FbzfT+rO7SBu3I5leHcXvpy08Nm88FguZRI7Os7D3LDl
hX1/AMVFaLBFkH3xUOuEm9kFLLk3lXNc/b1oMMhR5yqiH66mULvJ/KHeaIE2kdGu
Lz70pW1VWIKsunceVg2a+iNA6JGw2Br9AgMBAAGjUzBRMB0GA1UdDgQWBBTlojjn
3VLpiPmrUiKP4+eVys8fLDAfBgNVHSMEGDAWgBTlojjn3VLpiPmrUiKP4+eVys8f
LDAPBgNVHRMBAf8EBTADAQH/MEIGCSqGSIb3DQEBCjA1oA8wDQYJYIZIAWUDBAIB
BQChHDAaBgkqhkiG9w0BAQgwDQYJYIZIAWUDBAIBBQCiBAICAN4DggEBAFsv1za3
HxD8/TLFkShNgrQa2OxO7vSyxRyII9pjSTuXoNQ1YtRm+i9R9zrdS2aUfn2uh/GB
1NMATFEFxql6sjm/LT4bGfh99uXY6dlRKG9UzwBtrvZFkibWUrg40Zf0nz19zoJg
HjE0kC2L20iLpMHjSYakzFVMT4l2RNx7rqvYwftkqPWezja7Nkkbj7zagwSD6Tb/
POPMV3gY8NgkZGohPOabT/KxraUAmiWGosg/pHDgNqbKBMe7DcgMDc8YXLXN1IkC
7th2AOfDPAP7mt/6+BunuMAl8M+K+rkyExZgANlpVSaHM97LrZpMNF0la4DP3z8I
kyhncebwbjxnyJA=
-----END CERTIFICATE-----
"""
"""Made by `openssl req -x509 -newkey rsa-pss`: what it says of its key is id-RSASSA-PSS, not rsaEncryption."""

RSA_PSS_KEY = b"""\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADALBgkqhkiG9w0BAQoEggSpMIIEpQIBAAKCAQEAwNwmsADZZOpIQnOz
eecH8PeMZqqRyJ7LpedO4ap52cNTl3PqbZ5NmUJ/ix5ZvSFpxs0T+NOtoD+uHAvX
zbT2EkL3qRfV9VmlBO0OSDAEa3WyMnk+/qm7uOBITuWlHPPGkPvWtGOJLKzf2AoY
1sIyxdtLi3nyyxJ++9tV0VrqfYjhih++LsEYdR1elRtLcB3IIyJRdRGwthW830/q
zu0gbtyOZXh3F76ctPDZvPBYLmUSOzrOw9yw5YV9fwDFRWiwRZB98VDrhJvZBSy5
N5VzXP29aDDIUecqoh+uplC7yfyh3miBNpHRri8+9KVtVViCrLp3HlYNmvojQOiR
sNga/QIDAQABAoIBACtXTjpvdmt/Ww3UApl6mgZFG4BXBLwZM5rtCIUeUpPlmXuH
yT8pPDcdApy5DWG7iJHstHhO2c4RgYc8Ahtwd3xTIGUXvjWNF9CrlXITmGqt4IYH
SWjhrBY4EQfqA9klz5H1hqKzW7h2gTeDzWE180MTrT6DAVUxqufeusJ5tAjRvYNF
H8lc3VCjqt4UOAsG7rLplJC0GjpxCwvqpoaNvn6cPIM8oF2EYrbBBnQ0g1IiNqBp
u+qz5IhdWyaLWxIBKw3doDHFkvrjcCQZm3/rFAF+0tAUoWUnXnyjezvyMKaw9p4k
qJsP1SrWBayX7J/R9GagOX6cFgimuVjzS7lO4OECgYEA+tDuA2+nVGKkXtjArnjS
m+U+lCcWjTLJbypBGl7Vy9vyIeuqOmahx3fZrtUMy+DbBZIbGi/yD3vxlohtmlfT
yJUwhUZoF1JqTJJCziJ21q1t5PiVtN3bkfjqt6wdZjtPWxJK3hY+KZEXkzJdnSzf
jBaUGbFmtBl958k9xtVEhIsCgYEAxNiTJ1/oAdscmweZOHFDN3kfQ5eHiH31BVAB
SI9xfT3ERLcb5/hdfU0n5xheEEobEgnCvdE+Nz1TUdQdf8wig5YU6lr94fRXdTwY
gjVnr8u9qJ7BSllVXwXIgRGbRHAyHudz33sfOqGOajf2ceIirQQzbxsS3fFXfLCZ
VE2OZ5cCgYEAuOT8EJxmhdaRxTmUEQoQd8vu7dhCz6P4ynIjvATdJoLlZAwOWS7/
Y8P+PNvhqwn/a4PhZtShZLjBx26bHYRRIzSXqCfW5BplMj0/8iWF5YvDz19RPRuv
mVQd83h10781KLW7ayyKdqn27xPZ3twNj3+1fZtBUtLX9d5sI/9jmzECgYEAjBAu
ZM3xH6Dw8b6uX2L4GPiuLkIbxhsZxPXwc9jdP+g7R0mjKaOnogjMY7sK8zxHlsYr
MzU3t8aDCq6Lbuupg0e/CiJElApwUJK6PawSYxvtj5Wmo2h9Pme3C1+jw0ax4xt9
b38D8YwS8bFwQghN9B4RGvWArzuSrL5b24hz03ECgYEA31U6ii5XKvqY/7y2go8M
jDjrGE7rSnbqkGLxwjfAP085ySCRH1Bfezz41szxeJzR73iQdWa8fiwg4RiL4J+4
e7pIi0aLt/yvb7NQRmbMqY3ROmYU2d/SFxC9kNCaa2Tfi7dCzblAMcL09eDW9x7q
9ao1A8OswpzIzxu911ZoXDs=
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("chain", "key", "problems"),
    [
        pytest.param(None, GOOD.key_pem, ["tls.crt: cannot be read: No such file or directory"], id="no certificate"),
        pytest.param(GOOD.chain_pem, None, ["tls.key: cannot be read: No such file or directory"], id="no key"),
        pytest.param(b"", GOOD.key_pem, ["tls.crt: holds no certificate in PEM: "], id="empty certificate"),
        pytest.param(b"\xff\x00", GOOD.key_pem, ["tls.crt: holds no certificate in PEM: "], id="binary certificate"),
        pytest.param(GOOD.key_pem, GOOD.key_pem, ["tls.crt: holds no certificate in PEM: "], id="key for certificate"),
        pytest.param(GOOD.chain_pem, b"secret", ["tls.key: holds no private key in PEM: "], id="no PEM key"),
        pytest.param(
            GOOD.chain_pem, GOOD.chain_pem, ["tls.key: holds no private key in PEM: "], id="certificate for key"
        ),
        pytest.param(
            GOOD.chain_pem,
            self_signed().key_pem,
            ["tls.key: does not belong to the first certificate in tls.crt"],
            id="another's key",
        ),
        pytest.param(GOOD.chain_pem, encrypted(GOOD.key_pem), ["tls.key: is encrypted: "], id="encrypted key"),
        pytest.param(GOOD.chain_pem, ed25519_key(), ["tls.key: is neither an RSA nor an ECDSA key"], id="Ed25519"),
        pytest.param(
            GOOD.chain_pem,
            issued(key=ec.generate_private_key(ec.SECP256K1())).key_pem,
            ["tls.key: is on the curve secp256k1: take P-256"],
            id="a curve that gRPC cannot serve",
        ),
        pytest.param(
            RSA_PSS,
            RSA_PSS_KEY,
            ["tls.crt: is for neither an rsaEncryption nor an ECDSA key: gRPC cannot serve it"],
            id="RSA-PSS",
        ),
        pytest.param(None, b"", ["tls.crt: cannot be read: ", "tls.key: holds no private key in PEM"], id="both"),
        pytest.param(
            self_signed().chain_pem + GOOD.chain_pem,
            GOOD.key_pem,
            ["tls.key: does not belong to the first certificate in tls.crt"],
            id="leaf not first",
        ),
    ],
)
def test_what_cannot_be_served_is_told_before_the_start(
    tmp_path: Path, chain: bytes | None, key: bytes | None, problems: list[str]
) -> None:
    for name, content in (("tls.crt", chain), ("tls.key", key)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert len(caught.value.problems) == len(problems)
    for found, wanted in zip(caught.value.problems, problems, strict=True):
        assert str(found).startswith(f"{tmp_path}/{wanted}")


@pytest.mark.parametrize("kind", ["a directory", "a pipe", "a file for the folder", "a NUL", "a long name", "a loop"])
def test_files_that_are_none(tmp_path: Path, kind: str) -> None:
    write(tmp_path, GOOD.chain_pem, GOOD.key_pem)
    folder, what = tmp_path, "cannot be read: "
    if kind == "a file for the folder":
        folder = tmp_path / "tls.crt"
    elif kind == "a NUL":
        folder = tmp_path / "\0"
    elif kind == "a long name":
        folder, what = tmp_path / ("x" * 300), "cannot be read: File name too long"
    elif kind == "a loop":
        folder, what = tmp_path / "loop", "cannot be read: Too many levels of symbolic links"
        folder.symlink_to(folder)
    else:
        (tmp_path / "tls.crt").unlink()
        if kind == "a directory":
            (tmp_path / "tls.crt").mkdir()
        else:
            os.mkfifo(tmp_path / "tls.crt")
            what = "is no regular file"
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert str(caught.value.problems[0]).startswith(f"{folder}/tls.crt: {what}")
