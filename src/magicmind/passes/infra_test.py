"""The runner: order, skipping, stopping, dumps, checks and what errors say."""

from __future__ import annotations

from pathlib import Path

import onnx_ir
import pytest

from magicmind.debug import DebugSettings
from magicmind.errors import CompileError, Error, ShapeError
from magicmind.passes.compare import compare_outputs
from magicmind.passes.fuse_gelu import FuseGelu
from magicmind.passes.infra import Pass, Runner, Stage
from magicmind.passes.pipeline import describe, simplify, stages
from magicmind.passes.verify import verify
from magicmind.testing.check_pass import parse_model

TEXT = "(float[N,2] x) => (float[N,2] y) { t = Identity(x)  y = Relu(t) }"


class RenameNode(Pass):
    """Changes a name once."""

    def __init__(self, to: str = "renamed") -> None:
        self.to = to

    def call(self, model: onnx_ir.Model) -> bool:
        node = model.graph.node(0)
        changed, node.name = node.name != self.to, self.to
        return changed


class Dishonest(RenameNode):
    """Changes a name and denies it."""

    def call(self, model: onnx_ir.Model) -> bool:
        super().call(model)
        return False


class Restless(Pass):
    """Always claims to have changed something."""

    def call(self, model: onnx_ir.Model) -> bool:
        return True


class BreakTheOrder(Pass):
    """Moves the first node behind its user."""

    def call(self, model: onnx_ir.Model) -> bool:
        first, second = model.graph
        model.graph.remove(first)
        model.graph.insert_after(second, first)
        return True


class ChangeTheNumbers(Pass):
    """Turns Relu into Sigmoid."""

    def call(self, model: onnx_ir.Model) -> bool:
        old = model.graph.node(1)
        new = onnx_ir.Node("", "Sigmoid", old.inputs, name="new")
        model.graph.insert_before(old, new)
        new.outputs[0].name, new.outputs[0].type, new.outputs[0].shape = "z", old.outputs[0].type, old.outputs[0].shape
        old.outputs[0].replace_all_uses_with(new.outputs[0], replace_graph_outputs=True)
        model.graph.remove(old, safe=True)
        new.outputs[0].name = "y"
        return True


class Raise(Pass):
    """Fails as a pass may."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def call(self, model: onnx_ir.Model) -> bool:
        raise self.error


def run(*passes: Pass, until_stable: bool = False, **settings: object) -> Runner:
    runner = Runner(DebugSettings(**settings), compare=compare_outputs)  # type: ignore[arg-type]
    runner.run([Stage("stage", passes, until_stable)], parse_model(TEXT))
    return runner


def test_names_are_verbs_in_snake_case() -> None:
    assert RenameNode.name == "rename_node"
    assert "fold_batch_norm" in describe() and "until nothing changes" in describe()


def test_a_stable_stage_ends_after_a_round_without_changes() -> None:
    records = run(RenameNode(), until_stable=True).records
    assert [r.modified for r in records] == [True, False]


def test_a_stage_that_never_settles_names_the_pass() -> None:
    with pytest.raises(CompileError, match="stage stage does not settle: restless keep"):
        run(RenameNode(), Restless(), until_stable=True)


def test_skip_and_stop() -> None:
    passes = (RenameNode(), Restless(), Dishonest())
    assert [r.pass_name for r in run(*passes, skip=("restless",)).records] == ["rename_node", "dishonest"]
    assert [r.pass_name for r in run(*passes, stop="restless").records] == ["rename_node", "restless"]


def test_an_unknown_pass_in_a_setting_is_an_error() -> None:
    with pytest.raises(Error, match=r"no pass named 'fold_it'(?s:.*)rename_node"):
        run(RenameNode(), skip=("fold_it",))


def test_dumps_are_numbered_and_can_be_selected(tmp_path: Path) -> None:
    run(RenameNode(), Dishonest("renamed"), dump=tmp_path, dump_passes=("rename_node",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000-rename_node.after.txt", "000-rename_node.before.txt"]
    assert "Identity" in (tmp_path / "000-rename_node.after.txt").read_text()


def test_debug_level_two_prints_each_pass(capsys: pytest.CaptureFixture[str]) -> None:
    run(RenameNode(), level=2)
    assert "stage/rename_node: 2 -> 2 nodes" in capsys.readouterr().err


def test_debug_level_two_tells_why_rules_did_not_fire(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "(float[2] x) => (float[2] y, float[2] z) { [e] y = Erf(x) [f] z = Erf(y) }"
    Runner(DebugSettings(level=2, dump=tmp_path)).run([Stage("one two", [FuseGelu()])], parse_model(text))
    assert "one two/fuse_gelu left 2 nodes (e, f): it is no part of x / 2 * (1 + erf" in capsys.readouterr().err
    lines = (tmp_path / "001-one_two.declined.txt").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["fuse_gelu", "e"], ["fuse_gelu", "f"]]


def test_check_finds_dishonest_passes_and_bad_graphs() -> None:
    with pytest.raises(CompileError, match=r"pass dishonest of stage stage .*reports that it did not"):
        run(Dishonest(), check=1)
    with pytest.raises(CompileError, match=r"changed the graph before it: rename_node\).*before anything defines it"):
        run(RenameNode(), BreakTheOrder(), check=1)


def test_check_two_compares_numbers() -> None:
    run(ChangeTheNumbers(), check=1)
    with pytest.raises(CompileError, match="output 'y': differs by") as caught:
        run(ChangeTheNumbers(), check=2)
    assert "pass change_the_numbers" in caught.value.__notes__[0]


def test_errors_name_the_pass() -> None:
    with pytest.raises(CompileError, match=r"pass raise of stage stage .* failed: KeyError: 'w'"):
        run(Raise(KeyError("w")))
    with pytest.raises(ShapeError) as caught:
        run(RenameNode(), Raise(ShapeError("conv1: no")))
    assert "changed the graph before it: rename_node" in caught.value.__notes__[0]


def test_verify_finds_untyped_and_twice_named_values() -> None:
    model = parse_model(TEXT)
    assert verify(model) == []
    first, second = model.graph
    first.outputs[0].type = None
    first.outputs[0].name = second.outputs[0].name = "y"
    assert verify(model) == ["'y' has no type", "two values are named 'y'"]


def test_every_pass_has_a_summary() -> None:
    assert all(p.summary for stage in stages() for p in stage.passes)


BLOCK = (
    "(float[N,2,8,8] x) => (float[N,2,8,8] y) <float[2,2,3,3] w = {W}, float[2] s = {{1.0, 2.0}},"
    " float[2] b = {{0.0, 1.0}},"
    " float[2] m = {{0.5, 0.0}}, float[2] v = {{1.0, 2.0}}> {{"
    " [conv1] t = Conv<pads=[1,1,1,1]>(x, w)  [bn1] u = BatchNormalization(t, s, b, m, v)  [relu1] r = Relu(u)"
    ' [conv2] c = Conv<auto_pad="SAME_UPPER">(r, w)  [add] a = Add(c, x)  [sig] g = Sigmoid(a)  [mul] y = Mul(a, g) }}'
)


def test_a_residual_block_becomes_two_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICMIND_CHECK", "2")
    weights = "{" + ", ".join(f"{(i * 7 % 11 - 5) / 8}" for i in range(36)) + "}"
    model = parse_model(BLOCK.format(W=weights))
    simplify(model)
    assert [(n.domain, n.op_type, n.name) for n in model.graph] == [
        ("magicmind", "Conv", "conv1"),
        ("magicmind", "Conv", "conv2"),
    ]
    first, second = (n.attributes["epilogue"].as_strings() for n in model.graph)
    assert list(first) == ["t0 = Relu(acc)"]
    assert list(second) == ["t0 = Add(acc, x0)", "t1 = Swish(t0, 1.0)"]
    assert model.graph.node(1).metadata_props["magicmind.sources"].split(",") == ["conv2", "add", "mul", "sig"]
