"""Programs as a whole: scripts with branches, loops and state, structures of arguments and results, and bad input."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import magicmind  # noqa: E402
from magicmind.errors import Error, MissingExtraError, ModelFormatError, ShapeError, UnsupportedOperatorError  # noqa: E402


def run(graph: Any, *inputs: Any) -> dict[str, Any]:
    """Our engine's outputs for tensors and numbers in the graph's order."""
    session = magicmind.build(graph).session(threads=1)
    feeds = {i.name: np.asarray(x) for i, x in zip(graph.inputs, inputs, strict=True)}
    return session.run(feeds)


def check(found: Mapping[str, Any], *expected: Any) -> None:
    """In order; each close to PyTorch's."""
    for y, x in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(y, np.asarray(x), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- scripts


class Branching(nn.Module):
    """A branch on data that also changes a tensor in place, one on sizes, an exception."""

    def forward(self, x: Tensor, flag: bool) -> Tensor:
        if x.dim() != 2:
            raise ValueError("two dimensions are wanted")
        y = x * 2
        if flag:
            y[:, 0] = 0
            z = y + 1
        else:
            z = F.relu(y)
        if x.shape[1] > 3:
            z = z[:, :3]
        return z.sum(1) + y.sum(1)


def test_branches_on_data_become_ifs() -> None:
    module = torch.jit.script(Branching())
    graph = magicmind.parse(module, input_shapes={"x": ("1..4", 5)})
    assert [n.op_type for n in graph.model.graph].count("If") == 1
    x = torch.randn(3, 5)
    for flag in (True, False):
        check(run(graph, x, flag), module(x, flag))


def test_branches_on_constants_are_decided() -> None:
    module = torch.jit.script(Branching())
    graph = magicmind.parse(module, input_shapes={"x": (2, 5)}, constants={"flag": True})
    assert [i.name for i in graph.inputs] == ["x"] and "If" not in [n.op_type for n in graph.model.graph]


def test_exceptions_on_the_way_are_told() -> None:
    with pytest.raises(UnsupportedOperatorError, match="two dimensions are wanted"):
        magicmind.parse(torch.jit.script(Branching()), input_shapes={"x": (2, 5, 6)})


class Doubling(nn.Module):
    """A while loop whose condition is data."""

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        turns = 0
        while bool(x.sum() < 100.0):
            x = x * 2
            turns += 1
        return x, turns


def test_loops_on_data() -> None:
    module = torch.jit.script(Doubling())
    x = torch.tensor([1.0, 2.0])
    found = run(magicmind.parse(module, input_shapes=[(2,)]), x)
    check(found, *module(x))


class Rows(nn.Module):
    """Loops over a size: a carried state, a list that grows, a tensor written row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = torch.zeros(1, 3)
        states: list[Tensor] = []
        table = torch.zeros(x.shape[0], 3)
        for i in range(x.shape[0]):
            state = self.cell(x[i : i + 1], state)
            states.append(state)
            table[i] = state[0] * 2
        return torch.cat(states, 0), torch.stack(states, 1), table


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, "1..6"])
def test_loops_over_sizes(rows: Any) -> None:
    """Written out for a number of rows, a Loop for a mutable one."""
    torch.manual_seed(0)
    module = torch.jit.script(Rows().eval().requires_grad_(False))
    graph = magicmind.parse(module, input_shapes=[(rows, 4)])
    kinds = [n.op_type for n in graph.model.graph]
    assert ("Loop" in kinds) == (rows != 3)
    for count in (3,) if rows == 3 else (3, 1, 6):
        x = torch.randn(count, 4)
        check(run(graph, x), *module(x))


class Accumulating(nn.Module):
    """State in attributes: a tensor that is set, a number that steers."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(0)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.calls == 0:
            self.total = torch.zeros_like(x)
        self.calls = 1
        self.total = self.total * 0.5 + x
        return self.total


def test_attributes_are_state() -> None:
    graph = magicmind.parse(torch.jit.script(Accumulating()), input_shapes=[(3,)])
    assert [i.name for i in graph.inputs] == ["x", "state.total"]
    session = magicmind.build(graph).session(threads=1)
    state, module = np.zeros(3, np.float32), torch.jit.script(Accumulating())
    for step in range(3):
        x = torch.full((3,), float(step + 1))
        found = session.run({"x": x.numpy(), "state.total": state})
        state = found["state.total.next"]
        np.testing.assert_allclose(found["output"], module(x).numpy())


class Resizing(nn.Module):
    """What `F.interpolate`, lists and dicts of a script become."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        sizes = [x.shape[2] * 2, x.shape[3] + 1]
        parts: dict[str, Tensor] = {"big": F.interpolate(x, size=sizes, mode="bilinear", align_corners=False)}
        parts["small"] = F.adaptive_avg_pool2d(x, 1)
        for name in ["mean", "max"]:
            parts[name] = x.mean() if name == "mean" else x.amax((2, 3))
        return parts


def test_scripts_with_dicts_and_functions() -> None:
    module, x = torch.jit.script(Resizing()), torch.randn(2, 3, 4, 5)
    found = run(magicmind.parse(module, input_shapes=[("1..4", 3, 4, 5)]), x)
    expected = module(x)
    assert list(found) == list(expected)
    check(found, *expected.values())


class Bag:
    """A class that is no module, as torchvision's detectors pass around."""

    def __init__(self, data: Tensor, sizes: list[int]) -> None:
        self.data = data
        self.sizes = sizes

    def grown(self, by: int) -> Tensor:
        return self.data * (self.sizes[0] + by)


class Emptying(nn.Module):
    def forward(self, bag: Bag) -> Tensor:
        return bag.data + bag.sizes[1]


class Gathering(nn.Module):
    """Lists that are joined, copied and repeated, dicts that are made and updated, ranges with steps, objects."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Emptying()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [x.shape[1] // 2, 3]
        more = sizes.copy() + [4]  # noqa: RUF005  (TorchScript has no stars)
        more += sizes[1:] * 2
        table: dict[str, int] = {"a": 7}
        table.update({"b": max(more)})
        table = dict([("c", table["b"]), ("a", min(more[0], 5))])
        bag = Bag(x, [x.shape[0], len(more)])
        for i in range(1, 7, 2):
            x = x + i
        return self.inner(bag), bag.grown(2), x * table["a"] + table["c"]


@pytest.mark.parametrize("rows", [2, "1..4"])
def test_scripts_with_lists_and_objects(rows: Any) -> None:
    module, x = torch.jit.script(Gathering()), torch.randn(2, 6)
    check(run(magicmind.parse(module, input_shapes=[(rows, 6)]), x), *module(x))


def test_exported_state_and_conditions() -> None:
    class Gate(nn.Module):
        seen: Any

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(2))

        def forward(self, x: Any) -> Any:
            self.seen.add_(x.abs())
            return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y * 3, (x,)) + self.seen

    graph = magicmind.parse(torch.export.export(Gate(), (torch.ones(2),)))
    assert [i.name for i in graph.inputs][-1] == "state.seen"
    for x in (torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0])):
        module = Gate()
        found = run(graph, x, torch.zeros(2))
        np.testing.assert_allclose(found["output"], module(x).numpy())
        np.testing.assert_allclose(found["state.seen.next"], module.seen.numpy())


# ------------------------------------------------------------------------------------------- arguments, results, sizes


class Structures(nn.Module):
    """Tuples, lists and dicts in and out."""

    def forward(self, x: Tensor, pair: tuple[Tensor, Tensor], parts: dict[str, Tensor]) -> Any:
        return x + pair[0], {"b": pair[1] * parts["scale"], "c": parts["shift"]}, x * 1


def test_structures_of_arguments() -> None:
    module = Structures().eval()
    one = torch.ones(2, 3)
    args = (one, (one * 2, one * 3), {"scale": one * 4, "shift": one * 5})
    traced = magicmind.parse(module, example_inputs=args, input_shapes={n: (2, 3) for n in (
        "x", "pair_0", "pair_1", "parts_scale", "parts_shift")})  # fmt: skip
    exported = magicmind.parse(torch.export.export(module, args))
    for graph in (traced, exported):
        assert len(graph.inputs) == 5
        found = run(graph, *(one * k for k in range(1, 6)))
        assert list(found) == ["output_0", "b", "c", "output_3"]
        check(found, one * 3, one * 12, one * 5, one)


def test_sizes_that_must_be_equal_become_one() -> None:
    module = torch.jit.trace(lambda x, y: x + y * 2, (torch.zeros(2, 3), torch.zeros(2, 3)))
    graph = magicmind.parse(_of(module), input_shapes=[("2..8", 3), ("1..4", 3)])
    assert [i.shape[0] for i in graph.inputs] == [(2, 4)] * 2
    with pytest.raises(ShapeError):
        magicmind.parse(_of(module), input_shapes=[(2, 3), (2, 4)])


def _of(function: Any) -> Any:
    class Wrapped(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y * 2

    return torch.jit.trace(Wrapped(), (torch.zeros(2, 3), torch.zeros(2, 3)))


def test_exported_ranges_are_kept(tmp_path: Path) -> None:
    n = torch.export.Dim("n", min=2, max=16)
    program = torch.export.export(nn.Linear(4, 2), (torch.zeros(3, 4),), dynamic_shapes=({0: n},))
    torch.export.save(program, tmp_path / "net.pt2")
    graph = magicmind.parse(tmp_path / "net.pt2")
    assert graph.inputs[0].shape == ((2, 16), 4)
    with pytest.raises(ShapeError, match="exported for 4, not 5"):
        graph.with_shapes([(2, 5)])


def test_a_size_that_the_export_found_to_be_a_number_is_that_number() -> None:
    """A loop over an axis of open size, written out when it was traced, leaves a size that is a number by now."""

    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x[:, 0]
            for i in range(1, x.shape[1]):
                total = total * 0.5 + x[:, i]
            return total

    auto = torch.export.Dim.AUTO
    program = torch.export.export(Loop(), (torch.ones(2, 4),), dynamic_shapes=({0: auto, 1: auto},))
    graph = magicmind.parse(program)
    assert graph.inputs[0].shape == ((2, None), 4)


# ----------------------------------------------------------------------------------------------------------- bad input


def test_a_script_without_forward() -> None:
    class Nothing(nn.Module):
        pass

    with pytest.raises(ModelFormatError, match=r"no method `forward`\n.*its methods: none"):
        magicmind.parse(torch.jit.script(Nothing()))


def saved(path: Path) -> Path:
    """A small TorchScript file."""
    torch.jit.save(torch.jit.trace(nn.Linear(4, 2), torch.zeros(1, 4)), path)
    return path


def test_files_cut_off(tmp_path: Path) -> None:
    data = saved(tmp_path / "net.pt").read_bytes()
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),)), tmp_path / "net.pt2")
    archive = (tmp_path / "net.pt2").read_bytes()
    for name, content in (("cut.pt", data), ("cut.pt2", archive)):
        for share in (0.0, 0.3, 0.9, 0.99):
            (tmp_path / name).write_bytes(content[: int(len(content) * share)])
            with pytest.raises(ModelFormatError, match=name):
                magicmind.parse(tmp_path / name, input_shapes=[(1, 4)])


def test_random_bytes(tmp_path: Path) -> None:
    rng = random.Random(5)
    data = saved(tmp_path / "net.pt").read_bytes()
    for turn in range(30):
        damaged = bytearray(data)
        for _ in range(20):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file = tmp_path / f"damaged{turn}.pt"
        file.write_bytes(bytes(damaged) if turn % 3 else rng.randbytes(500))
        try:
            magicmind.parse(file, input_shapes=[(1, 4)])
        except Error as error:
            assert str(error)


class Harmful:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@pytest.mark.parametrize("new_format", [True, False])
def test_pickled_code_is_not_run(tmp_path: Path, new_format: bool) -> None:
    file, mark = tmp_path / "harmful.pth", tmp_path / "written"
    torch.save({"weight": Harmful(str(mark))}, file, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelFormatError, match="weights without a program"):
        magicmind.parse(file)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harmful(str(mark))))
    with pytest.raises(ModelFormatError, match=r"plain\.pt"):
        magicmind.parse(tmp_path / "plain.pt")
    assert not mark.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()  # it would have


def test_weights_without_a_program(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "state.pth")
    torch.save(nn.Linear(4, 2), tmp_path / "module.pth")
    for name in ("state.pth", "module.pth"):
        with pytest.raises(ModelFormatError, match="load it into its module") as caught:
            magicmind.parse(tmp_path / name)
        assert name in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="No such file"):
        magicmind.parse(tmp_path / "none.pt")


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in sys.modules if n.startswith("magicmind.frontends.pytorch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("magicmind.frontends.pytorch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"magicmind\[pytorch\]"):
        magicmind.parse(tmp_path / "net.pt")


class Unsupported(nn.Module):
    """Two operators without importers."""

    def forward(self, x: Tensor) -> Tensor:
        y = x[torch.randperm(4)]
        return torch.linalg.qr(y)[0] + torch.bernoulli(y)


def test_all_unsupported_operators_are_listed_with_their_lines() -> None:
    for source in (torch.jit.script(Unsupported()), torch.export.export(Unsupported(), (torch.ones(4, 4),))):
        shapes = {"input_shapes": [(4, 4)]} if isinstance(source, torch.jit.ScriptModule) else {}
        with pytest.raises(UnsupportedOperatorError) as caught:
            magicmind.parse(source, **shapes)
        text = str(caught.value)
        for name in ("aten::randperm", "aten::linalg_qr", "aten::bernoulli"):
            assert f"{name} (" in text
        assert text.count("reader_test.py") == 3


def test_training_mode_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="training mode"):
        magicmind.parse(nn.Dropout(), input_shapes=[(2, 3)])
    script = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.Dropout()))
    with pytest.raises(UnsupportedOperatorError, match="training mode"):
        magicmind.parse(script, input_shapes=[(2, 3)])


def test_examples_that_do_not_fit() -> None:
    with pytest.raises(ModelFormatError, match=r"fails on \[\(2, 5\)\]"):
        magicmind.parse(nn.Linear(4, 2).eval(), input_shapes=[(2, 5)])
    with pytest.raises(ModelFormatError, match="needs an example"):
        magicmind.parse(nn.Linear(4, 2).eval())


def test_unknown_names() -> None:
    script = torch.jit.script(nn.Linear(4, 2))
    with pytest.raises(ModelFormatError, match="no argument 'rate'"):
        magicmind.parse(script, constants={"rate": 1})
    with pytest.raises(ModelFormatError, match="no dtype"):
        magicmind.parse(script, input_dtypes={"input": "float31"})
    with pytest.raises(ShapeError, match="no input 'y'"):
        magicmind.parse(script, input_shapes={"y": (1, 4)})


def test_shapes_that_do_not_fit_name_the_line() -> None:
    with pytest.raises(ShapeError, match=r"linear"):
        magicmind.parse(torch.jit.script(nn.Linear(4, 2)), input_shapes=[(2, 5)])


def test_ranks_may_stay_open() -> None:
    graph = magicmind.parse(torch.jit.script(nn.Linear(4, 2)))
    with pytest.raises(ShapeError, match="not known"):
        _ = graph.model
    assert graph.with_shapes([(2, 4)]).outputs[0].shape == (2, 2)
