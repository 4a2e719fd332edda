"""Downloads from a server of the test's own."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pooch", reason="the extra 'zoo' is not installed")

from magicmind.errors import Error
from magicmind.zoo.export import quiet
from magicmind.zoo.fetch import Download, obtain

CONTENT = bytes(range(256)) * 2000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves files by name; `breaks` is after how many bytes the next answer ends, `asked` what ranges were wanted."""

    def __init__(self) -> None:
        self.files = {"/net.bin": CONTENT}
        self.breaks: int | None = None
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        data = server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.path.endswith(".html"):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
        else:
            self.send_response(206 if wanted else 200)
        rest = data[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        part, server.breaks = rest[: server.breaks], None
        self.wfile.write(part)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def test_a_download_is_checked_kept_and_reported(server: Server, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    wanted = Download("net.onnx", (server.url("net.bin"),), SUM, len(CONTENT))
    path = obtain(wanted, tmp_path / "models", lambda *r: reports.append(r))
    assert path == tmp_path / "models/net.onnx"
    assert path.read_bytes() == CONTENT
    assert reports[-1] == ("net.bin", len(CONTENT), len(CONTENT))
    obtain(wanted, tmp_path / "models", quiet)
    assert len(server.asked) == 1
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(Error, match="has 511,999 bytes instead of 512,000"):
        obtain(wanted, tmp_path / "models", quiet)


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    wanted = Download("net.onnx", (server.url("net.bin"),), SUM[:8])
    server.breaks = 3 << 16
    with pytest.raises(Error, match=r"(?s)net.onnx is missing; it cannot be downloaded.*put it at .*net.onnx"):
        obtain(wanted, tmp_path, quiet)
    obtain(wanted, tmp_path, quiet)
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=196608-"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    urls = (server.url("gone.bin"), "http://127.0.0.1:9/net.bin", server.url("net.bin"))
    assert obtain(Download("net.onnx", urls, SUM), tmp_path, quiet).read_bytes() == CONTENT


def test_the_wrong_file_is_refused(server: Server, tmp_path: Path) -> None:
    for wrong in ("0" * 64, "0" * 8):
        with pytest.raises(Error):
            obtain(Download("net.onnx", (server.url("net.bin"),), wrong), tmp_path / wrong, quiet)
    server.files["/page.html"] = b"<html>log in</html>"
    with pytest.raises(Error, match="page instead of the file"):
        obtain(Download("net.onnx", (server.url("page.html"),)), tmp_path, quiet)


def test_without_a_network_the_file_the_address_and_the_place_are_named(tmp_path: Path) -> None:
    wanted = Download("net.onnx", ("http://127.0.0.1:9/models/net.onnx",), origin="https://example.org/page")
    with pytest.raises(Error) as caught:
        obtain(wanted, tmp_path, quiet)
    for part in (
        "net.onnx is missing",
        "http://127.0.0.1:9/models/net.onnx",
        "https://example.org/page",
        str(tmp_path),
    ):
        assert part in str(caught.value)
    with pytest.raises(Error, match="it has no public address"):
        obtain(Download("weights.bin", origin="its authors"), tmp_path, quiet)


def test_files_of_the_users_are_copied_and_checked(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "net.onnx").write_bytes(CONTENT)
    wanted = Download("net.onnx", ("http://127.0.0.1:9/net.onnx",), SUM)
    assert obtain(wanted, tmp_path / "models", quiet, given=given).read_bytes() == CONTENT
    (given / "net.onnx").write_bytes(b"other")
    with pytest.raises(Error, match="is not the published file"):
        obtain(wanted, tmp_path / "more", quiet, given=given)
    with pytest.raises(Error, match="no such file"):
        obtain(Download("other.onnx"), tmp_path / "more", quiet, given=given)


def test_a_member_of_an_archive(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("folder/graph.pb")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"graph"))
    server.files["/archive.tar.gz"] = packed.getvalue()
    url = server.url("archive.tar.gz")
    wanted = Download("graph.pb", (url,), size=len(packed.getvalue()), member="folder/graph.pb")
    assert obtain(wanted, tmp_path, quiet).read_bytes() == b"graph"
    with pytest.raises(Error, match="does not hold folder/none"):
        obtain(Download("none.pb", (url,), member="folder/none"), tmp_path, quiet)
