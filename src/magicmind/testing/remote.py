"""Help for tests: servers on this machine, certificates made on the spot, and calls that no client of ours makes."""

from __future__ import annotations

import datetime
import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from magicmind.remote import protocol
from magicmind.remote.address import Address
from magicmind.remote.library import grpc
from magicmind.remote.server import Options, RemoteServer


@contextmanager
def serving(host: str = "127.0.0.1", **options: Any) -> Iterator[str]:
    """The address of a server in this process."""
    with RemoteServer(Options(address=Address(host, 0), **options)) as server:
        yield f"{host}:{server.port}"


@contextmanager
def server_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    program = "import sys; from magicmind.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "remote-server", "--listen", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield process, line.split()[2]
    finally:
        process.kill()
        process.wait()


def raw_call(
    address: str, method: str, *messages: bytes, version: str = str(protocol.PROTOCOL), token: str = ""
) -> str:
    """What a server answers to these bytes: the name of the status code."""
    sent = [(protocol.PROTOCOL_KEY, version)] + ([(protocol.TOKEN_KEY, token)] if token else [])
    metadata: Any = tuple(sent)
    name = f"/{protocol.SERVICE}/{method}"
    with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        try:
            if method in (protocol.UPLOAD, protocol.CALIBRATE):
                streams: Any = channel.stream_stream(name)
                list(streams(iter(messages), timeout=20, metadata=metadata))
            else:
                single: Any = channel.unary_unary(name)
                single(messages[0], timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            return str(error.code().name)
    return "OK"


@dataclass(frozen=True)
class Authority:
    """Makes certificates; `path` is what clients trust."""

    path: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, name: str = "authority") -> Authority:
        """A new authority, its certificate in the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = _certificate(name, name, key, key, constraints)
        path = folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(path, certificate, key)

    def signed(self, host: str) -> dict[str, Any]:
        """`certificate` and `key` of a server under this name or address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            names: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            names = x509.DNSName(host)
        issuer = self.path.stem
        certificate = _certificate(host, issuer, key, self.key, x509.SubjectAlternativeName([names]))
        return {
            "certificate": certificate.public_bytes(serialization.Encoding.PEM),
            "key": key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        }


def _certificate(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=False)
    )
    return builder.sign(signer, hashes.SHA256())
