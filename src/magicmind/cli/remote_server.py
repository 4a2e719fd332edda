"""Serves calibration and offline models to other machines, until it is stopped (docs/guide/remote.md).

magicmind remote-server                                                     on this machine only, port 8008
magicmind remote-server --listen 0.0.0.0:8008 --cert server.pem --key server.key --token-file token
mm_run --magicmind_model net.mm --rpc_server host:8008                      on the other machine

An offline model is machine code: whoever may call this server can run code on it, as the user that runs it.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from magicmind import knobs
from magicmind.cli import options
from magicmind.errors import Error

SUMMARY = "let other machines calibrate and run models on this one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", default="127.0.0.1:8008", metavar="HOST:PORT", help="default: %(default)s; port 0 takes a free one"
    )
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate chain (PEM): switches TLS on")
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key (PEM) of the certificate")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"file of the token (default: {knobs.REMOTE_TOKEN.name})"
    )
    parser.add_argument("--calls", type=options.positive, default=8, metavar="N", help="calls at once (default: 8)")
    parser.add_argument("--threads", type=options.positive, metavar="N", help="threads that one call may use")
    parser.add_argument(
        "--max-models", type=options.positive, default=16, metavar="N", help="models held (default: 16)"
    )
    parser.add_argument(
        "--max-bytes", type=options.positive, default=4 << 30, metavar="N", help="bytes of them (default: 4 GiB)"
    )
    parser.add_argument(
        "--idle", type=options.positive_seconds, default=300.0, metavar="SECONDS",
        help="how long a client may be silent (default: 300)",
    )  # fmt: skip
    options.add_plugins(parser)


def execute(arguments: argparse.Namespace) -> None:
    from magicmind.remote.address import Address
    from magicmind.remote.connection import read_pem
    from magicmind.remote.server import Options, RemoteServer

    how = Options(
        address=Address.parse(arguments.listen),
        token=_token(arguments.token_file),
        certificate=b"" if arguments.cert is None else read_pem(arguments.cert),
        key=b"" if arguments.key is None else read_pem(arguments.key),
        calls=arguments.calls,
        threads=arguments.threads,
        max_models=arguments.max_models,
        max_bytes=arguments.max_bytes,
        idle=arguments.idle,
    )
    with RemoteServer(how) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        security = ", ".join(word for word, on in (("TLS", how.certificate), ("token", how.token)) if on)
        print(f"listening on {Address(how.address.host, server.port)} ({security or 'this machine only'})", flush=True)
        server.wait()


def _token(file: Path | None) -> str:
    if file is None:
        return knobs.REMOTE_TOKEN.text().strip()
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Error(f"{file} cannot be read: {error}") from error
