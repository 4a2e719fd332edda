"""A server and its clients: results as at home, who is let in, and every way in which a call can fail."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("grpc", reason="needs the extra [remote]")
pytest.importorskip("cryptography", reason="needs the extra [test]")

import magicmind
from magicmind.errors import Error, OfflineModelError, PrecisionError, RemoteError, ShapeError
from magicmind.remote import connection, jobs, protocol
from magicmind.remote.address import Address
from magicmind.remote.calibrate import calibrate
from magicmind.remote.connection import Connection
from magicmind.remote.library import grpc
from magicmind.remote.models import RemoteModel
from magicmind.remote.protocol_test import MALFORMED
from magicmind.remote.server import Options, RemoteServer
from magicmind.testing.remote import Authority, raw_call, server_process, serving

DATA = Path(magicmind.__file__).parent / "data"
TOKEN = "a token of the tests"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "CA", "TIMEOUT"):
        monkeypatch.delenv(f"MAGICMIND_REMOTE_{name}", raising=False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("remote") / "digits.mm"
    magicmind.build(magicmind.parse(DATA / "digits.onnx"), shapes={"image": ("1..64", 1, 8, 8)}).save(path)
    return path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as found:
        yield found


def graph() -> magicmind.Graph:
    return magicmind.parse(DATA / "digits.onnx")


def images(count: int, batch: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"image": rng.random((batch, 1, 8, 8), np.float32)} for _ in range(count)]


def refused(address: str, code: str) -> str:
    """The text with which a connection fails."""
    with pytest.raises(RemoteError) as found:
        Connection(address).close()
    assert found.value.code == code, found.value
    return str(found.value)


def still_serves(address: str) -> None:
    with Connection(address) as found:
        assert found.server["version"] == magicmind.__version__


# ------------------------------------------------------------------------------------------------------------- models


def test_a_model_runs_there_as_here(address: str, digits: Path) -> None:
    with magicmind.load(digits) as model, model.session() as session, RemoteModel(address, digits) as remote:
        assert (remote.inputs, remote.outputs, remote.target) == (model.inputs, model.outputs, model.target)
        for batch in (1, 5):
            (feeds,) = images(1, batch)
            expected = session.run(feeds)["probabilities"]
            found = remote.run(feeds)["probabilities"]
            np.testing.assert_array_equal(found, expected)
            found[:] = 0  # fresh, so it may be written to
            place = np.zeros_like(expected)
            with remote.engine(2) as engine, engine.context() as context:
                assert context.run(feeds, {"probabilities": place})["probabilities"] is place
            np.testing.assert_array_equal(place, expected)


def test_many_threads_share_a_model(address: str, digits: Path) -> None:
    with magicmind.load(digits) as model, model.session() as session, RemoteModel(address, digits) as remote:
        feeds = images(4, 2)
        expected = [session.run(each)["probabilities"] for each in feeds]
        wrong: list[int] = []

        def work(which: int) -> None:
            for _ in range(10):
                if not np.array_equal(remote.run(feeds[which])["probabilities"], expected[which]):
                    wrong.append(which)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_wrong_inputs_raise_what_a_session_raises(address: str, digits: Path) -> None:
    with RemoteModel(address, digits) as remote:
        for feeds, says in (
            ({}, "input 'image' is missing"),
            ({"image": np.zeros((1, 1, 8, 8))}, "dtype float64"),
            ({"image": np.zeros((1, 1, 8, 9), np.float32)}, "image"),
            ({"image": np.zeros((65, 1, 8, 8), np.float32)}, "image"),
            ({"image": np.zeros((1, 1, 8, 8), np.float32), "more": np.zeros(1)}, "unknown inputs: more"),
            ({"image": np.array(["text"])}, "cannot be sent"),
            ([1], "by name"),
        ):
            with pytest.raises(ShapeError, match=says):
                remote.run(feeds)  # type: ignore[arg-type]
        with pytest.raises(ShapeError, match="expected float32"):
            remote.run(images(1)[0], {"probabilities": np.zeros(3)})
        assert remote.run(images(1)[0])["probabilities"].shape == (1, 10)


def test_a_model_is_sent_once_and_again_when_it_had_to_make_room(digits: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mm"
    magicmind.build(graph(), shapes={"image": (2, 1, 8, 8)}).save(other)
    with serving(max_models=1) as address, RemoteModel(address, digits) as first:
        digest = hashlib.sha256(digits.read_bytes()).hexdigest()
        with Connection(address) as plain:
            assert plain.call(protocol.DESCRIBE, protocol.encode({"model": digest})).text("target") == first.target
        with RemoteModel(address, other) as second:
            for _ in range(2):
                assert second.run(images(1, 2)[0])["probabilities"].shape == (2, 10)
                assert first.run(images(1, 3)[0])["probabilities"].shape == (3, 10)
    with serving(max_bytes=1000) as address, pytest.raises(RemoteError, match="no room") as full:
        RemoteModel(address, digits)
    assert full.value.code == "RESOURCE_EXHAUSTED"


def test_damaged_models_are_refused(address: str, digits: Path, tmp_path: Path) -> None:
    data = bytearray(digits.read_bytes())
    for at in (9, 70, 300, len(data) // 2, len(data) - 1):
        damaged = data.copy()
        damaged[at] ^= 0xFF
        (tmp_path / "damaged.mm").write_bytes(damaged)
        with pytest.raises(OfflineModelError, match="remote server"):
            RemoteModel(address, tmp_path / "damaged.mm")
    for path in (tmp_path / "nowhere.mm", tmp_path):
        with pytest.raises(OfflineModelError, match="cannot open"):
            RemoteModel(address, path)
    (tmp_path / "empty.mm").touch()
    with pytest.raises(OfflineModelError, match="0 bytes"):
        RemoteModel(address, tmp_path / "empty.mm")
    still_serves(address)


# -------------------------------------------------------------------------------------------------------- calibration


@pytest.mark.slow
@pytest.mark.parametrize("per_axis", [True, False])
def test_scales_are_those_measured_here(address: str, per_axis: bool) -> None:
    how = magicmind.Quantisation("linear", per_axis=per_axis, symmetric=not per_axis)
    shapes = {"image": ("1..4", 1, 8, 8)}
    steps: list[tuple[str, int]] = []
    data = [*images(3, 2), *images(3, 4)]
    found = calibrate(address, graph(), data, how, shapes=shapes, progress=lambda what, n, _: steps.append((what, n)))
    expected = magicmind.calibrate(graph(), data, how, shapes=shapes)
    assert found.tensors == expected.tensors and found.peaks == expected.peaks
    assert found.provenance == expected.provenance and found.samples == 6
    assert found.means.keys() == expected.means.keys()
    for name, means in expected.means.items():
        np.testing.assert_allclose(found.means[name], means, rtol=1e-6)
    assert ("calibrating", 6) in steps
    magicmind.build(graph(), "qint8_mixed_float32", scales=found)  # every name is one that a build looks for


def test_caffe_networks_too(address: str) -> None:
    network = magicmind.parse(DATA / "digits.caffemodel", prototxt=DATA / "digits.prototxt")
    (info,) = network.inputs
    data = [{info.name: x["image"]} for x in images(2)]
    shapes = {info.name: (1, 1, 8, 8)}
    assert (
        calibrate(address, network, data, shapes=shapes).tensors
        == magicmind.calibrate(network, data, shapes=shapes).tensors
    )


def test_samples_are_taken_as_they_are_needed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead: list[int] = []
    taken = done = 0

    def samples() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for sample in images(40):
            taken += 1
            ahead.append(taken - done)
            yield sample

    def progress(what: str, count: int, _: int) -> None:
        nonlocal done
        done = count if what == "calibrating" else done

    assert calibrate(address, graph(), samples(), progress=progress).samples == 40
    assert max(ahead) <= 3, "one runs, one waits, one is on its way"


def test_what_samples_do_wrong(address: str) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield images(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(address, graph(), failing())
    nan = {"image": np.full((1, 1, 8, 8), np.nan, np.float32)}
    for data, says in (
        ([], "holds no sample"),
        ([{"picture": np.zeros(1)}], "sample 1 gives picture"),
        ([images(1)[0], nan], "sample 2: tensor 'image' contains NaN"),
        ([{"image": np.zeros((1, 3, 8, 8), np.float32)}], "sample 1"),
        ([{"image": np.array(["text"])}], "sample 1: tensor 'image' has dtype"),
        ([7], "sample 1 is int"),
    ):
        with pytest.raises(PrecisionError, match=says):
            calibrate(address, graph(), data)  # type: ignore[arg-type]
    still_serves(address)


def test_a_network_that_refers_to_files_of_the_server(address: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[1,4] x) => (float[1,4] y) <float[4] w = {1,2,3,4}>'
        "{ y = Mul(x, w) }"
    )
    weight = proto.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    weight.external_data.add(key="location", value=str(secret))
    data = proto.SerializeToString()
    head = {"bytes": len(data), "samples": 0, "quantisation": asdict(magicmind.Quantisation())}
    messages = protocol.encode(head), protocol.encode_piece({}, data)
    assert raw_call(address, protocol.CALIBRATE, *messages) == "INVALID_ARGUMENT"


# --------------------------------------------------------------------------------------------------- who is let in


def test_tls_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Path) -> None:
    authority, other = Authority.make(tmp_path), Authority.make(tmp_path, "other")
    with serving(token=TOKEN, **authority.signed("127.0.0.1")) as address:
        assert refused(address, "UNAVAILABLE"), "plain"
        monkeypatch.setenv("MAGICMIND_REMOTE_CA", str(authority.path))
        assert "MAGICMIND_REMOTE_TOKEN" in refused(address, "UNAUTHENTICATED")
        monkeypatch.setenv("MAGICMIND_REMOTE_TOKEN", TOKEN + ".")
        assert "missing or wrong" in refused(address, "UNAUTHENTICATED")
        monkeypatch.setenv("MAGICMIND_REMOTE_TOKEN", TOKEN)
        with RemoteModel(address, digits) as remote:
            assert remote.run(images(1)[0])["probabilities"].shape == (1, 10)
        monkeypatch.setenv("MAGICMIND_REMOTE_CA", str(other.path))
        assert "MAGICMIND_REMOTE_CA" in refused(address, "UNAVAILABLE")
        monkeypatch.setenv("MAGICMIND_REMOTE_CA", str(digits))
        with pytest.raises(Error, match="is no PEM file"):
            Connection(address)
    monkeypatch.setenv("MAGICMIND_REMOTE_CA", str(authority.path))
    with serving(token=TOKEN, **authority.signed("another.host")) as address:
        assert "MAGICMIND_REMOTE_CA" in refused(address, "UNAVAILABLE")


@pytest.mark.parametrize("method", [protocol.HELLO, protocol.RUN, protocol.UPLOAD, protocol.CALIBRATE, "Nothing"])
def test_every_call_needs_the_token(method: str) -> None:
    with serving(token=TOKEN) as address:
        for token in ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN):
            assert raw_call(address, method, protocol.encode({}), token=token) == "UNAUTHENTICATED"
        assert raw_call(address, method, protocol.encode({}), token=f"Bearer {TOKEN}") != "UNAUTHENTICATED"


def test_other_machines_need_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "MAGICMIND_REMOTE_TOKEN" in refused("10.0.0.1:1", "UNAUTHENTICATED")
    monkeypatch.setenv("MAGICMIND_REMOTE_TOKEN", TOKEN)
    assert "MAGICMIND_REMOTE_CA" in refused("10.0.0.1:1", "UNAUTHENTICATED")
    anywhere, pair = Address.parse("0.0.0.0:0"), Authority.make(tmp_path).signed("127.0.0.1")
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"token": TOKEN},
        pair,
        {"token": "short", **pair},
        {"token": TOKEN, "key": pair["key"]},
    )
    for options in wrong:
        with pytest.raises(Error):
            Options(address=anywhere, **options)
    Options(address=anywhere, token=TOKEN, **pair)


# ------------------------------------------------------------------------------------------------- what can go wrong


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert "is the server running" in refused(f"127.0.0.1:{port}", "UNAVAILABLE")


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refused(f"127.0.0.1:{silent.getsockname()[1]}", "DEADLINE_EXCEEDED")


def test_another_kind_of_server() -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert "remote-server" in refused(f"127.0.0.1:{port}", "UNIMPLEMENTED")
    finally:
        server.stop(0).wait()


def test_a_server_that_is_killed(digits: Path) -> None:
    with server_process() as (process, address), RemoteModel(address, digits) as remote:
        remote.run(images(1)[0])

        def samples() -> Iterator[dict[str, Any]]:
            yield from images(2)
            process.kill()
            yield from images(2)

        with pytest.raises(RemoteError) as found:
            calibrate(address, graph(), samples())
        assert found.value.code == "UNAVAILABLE"
        with pytest.raises(RemoteError) as found:
            remote.run(images(1)[0])
        assert found.value.code == "UNAVAILABLE"


@pytest.mark.slow
def test_a_server_that_hangs(digits: Path) -> None:
    with server_process() as (process, address), RemoteModel(address, digits) as remote, Connection(address) as plain:
        remote.run(images(1)[0])
        remote._connection.timeout = plain.timeout = 2.5  # from here on: beginning may take longer on a busy machine

        def stop(frame: protocol.Frame) -> None:
            assert frame.header["kind"] == "alive"
            process.send_signal(signal.SIGSTOP)

        for call in (lambda: plain.converse(protocol.UPLOAD, [], stop), lambda: remote.run(images(1)[0])):
            with pytest.raises(RemoteError) as found:
                call()
            assert found.value.code == "DEADLINE_EXCEEDED" and "MAGICMIND_REMOTE_TIMEOUT" in str(found.value)


def test_a_server_ends_when_it_is_told_to() -> None:
    with server_process() as (process, address):
        still_serves(address)
        process.terminate()
        assert process.wait(20) == 0
    with server_process() as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_a_client_that_goes_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the server says so: what it does with the first sample takes a time that is not known."""
    given_up = threading.Event()

    def remote_error(*arguments: Any) -> RemoteError:
        given_up.set()
        return RemoteError(*arguments)

    monkeypatch.setattr(jobs, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "RemoteError", remote_error)
    with serving(idle=0.3) as address:

        def slow() -> Iterator[dict[str, Any]]:
            yield images(1)[0]
            assert given_up.wait(60)
            yield images(1)[0]

        with pytest.raises(RemoteError) as found:
            calibrate(address, graph(), slow())
        assert found.value.code == "DEADLINE_EXCEEDED" and "client was silent" in str(found.value)
        still_serves(address)


def test_more_calls_than_the_server_takes() -> None:
    with serving(calls=1) as address, Connection(address) as plain:

        def busy(frame: protocol.Frame) -> bytes | None:
            if frame.header.get("kind") == "alive":
                with pytest.raises(RemoteError, match="--calls") as found:
                    plain.call(protocol.HELLO, protocol.encode({}))
                assert found.value.code == "RESOURCE_EXHAUSTED"
                raise ZeroDivisionError
            return None

        with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(jobs, "HEARTBEAT_SECONDS", 0.05)
            plain.converse(protocol.UPLOAD, [], busy)


def test_another_version() -> None:
    with serving() as address:
        for version in ("2", "", "1.0", "none"):
            assert raw_call(address, protocol.HELLO, protocol.encode({}), version=version) == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    "method", [protocol.HELLO, protocol.DESCRIBE, protocol.RUN, protocol.UPLOAD, protocol.CALIBRATE]
)
def test_malformed_messages(address: str, method: str) -> None:
    for message in MALFORMED.values():
        assert raw_call(address, method, message) == "INVALID_ARGUMENT"
    still_serves(address)


def test_malformed_conversations(address: str) -> None:
    piece = protocol.encode_piece({}, b"12345678")
    for head in (
        {},
        {"model": 7, "bytes": 8},
        {"model": "00", "bytes": -1},
        {"model": "00", "bytes": 1 << 60},
        {"model": "00", "bytes": 8},
        {"model": "00", "bytes": 9},
        {"model": "00", "bytes": 7},
        {"bytes": 8, "samples": 0, "quantisation": {}},
        {"bytes": 8, "samples": 0, "quantisation": {"algorithm": "exec"}},
    ):
        for method in (protocol.UPLOAD, protocol.CALIBRATE):
            assert raw_call(address, method, protocol.encode(head), piece) == "INVALID_ARGUMENT", (method, head)
    assert raw_call(address, protocol.UPLOAD) == "INVALID_ARGUMENT"
    still_serves(address)


def test_messages_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(protocol, "MAX_MESSAGE", 1 << 20)
        small.setattr(protocol, "MAX_HEADER", 1 << 10)
        server = RemoteServer(Options(address=Address.parse("127.0.0.1:0")))
    with server:
        address = f"127.0.0.1:{server.port}"
        for method in (protocol.HELLO, protocol.RUN, protocol.UPLOAD):
            assert raw_call(address, method, bytes(3 << 20)) == "RESOURCE_EXHAUSTED"
        still_serves(address)


def test_a_port_that_is_taken(address: str) -> None:
    with pytest.raises(Error, match="is the port taken"):
        RemoteServer(Options(address=Address.parse(address)))


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none(address: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICMIND_REMOTE_TIMEOUT", text)
    with pytest.raises(Error, match="MAGICMIND_REMOTE_TIMEOUT"):
        Connection(address)
