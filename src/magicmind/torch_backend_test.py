"""torch.compile with our backend against eager PyTorch, and how often it builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from torch import nn  # noqa: E402

from magicmind.torch_backend import Compiled, magicmind_backend  # noqa: E402

TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Without what earlier tests have compiled; the same random weights every time."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


@pytest.fixture
def builds() -> Callable[[], int]:
    """How many networks have been built since the test began."""
    before = Compiled.builds
    return lambda: Compiled.builds - before


def compiled(model: Any, **options: Any) -> Any:
    return torch.compile(model.eval(), backend=magicmind_backend, **options)


def difference(found: Any, expected: Any) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def conv_net() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8),
        nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


@pytest.mark.slow
def test_a_conv_net_of_any_batch_is_built_once(builds: Callable[[], int]) -> None:
    model = conv_net()
    fast = compiled(model, dynamic=True)
    with torch.no_grad():
        for batch in (2, 3, 7):
            x = torch.randn(batch, 3, 16, 16)
            assert difference(fast(x), model(x)) < TOLERANCE
    assert builds() == 1


def test_a_transformer_block_with_a_marked_batch(builds: Callable[[], int]) -> None:
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    fast = compiled(model)
    with torch.inference_mode():
        for batch in (2, 4, 6):
            x = torch.randn(batch, 5, 16)
            torch._dynamo.mark_dynamic(x, 0)
            assert difference(fast(x), model(x)) < TOLERANCE
    assert builds() == 1


def test_new_weights_are_built_in(builds: Callable[[], int]) -> None:
    model = nn.Linear(4, 3)
    fast = compiled(model)
    x = torch.randn(2, 4)
    with torch.no_grad():
        fast(x)
        model.weight.mul_(2)
        assert difference(fast(x), model(x)) < TOLERANCE
    assert builds() == 2


class Mixed(nn.Module):
    """Several inputs and outputs, a number among them, a view and an input that is returned."""

    def forward(self, x: Any, pair: tuple[Any, Any], scale: int) -> dict[str, Any]:
        a, b = pair
        return {"sum": x + a * scale, "view": (x @ b)[:, 1:], "rows": x.shape[0] + 1, "same": x, "none": None}


def test_structures_numbers_and_views() -> None:
    model = Mixed().eval()
    fast = compiled(model, dynamic=True)
    for batch, scale in ((2, 3), (4, 5)):
        x, a, b = torch.randn(batch, 4), torch.randn(4), torch.randn(4, 4)
        found, expected = fast(x, (a, b), scale), model(x, (a, b), scale)
        assert found["rows"] == batch + 1 and found["none"] is None and found["same"] is x
        for name in ("sum", "view"):
            assert difference(found[name], expected[name]) < TOLERANCE


class Counter(nn.Module):
    """Counts its calls in a buffer."""

    calls: Any

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x * self.calls


def test_buffers_that_change_keep_changing() -> None:
    model, x = Counter(), torch.ones(3)
    fast = compiled(model)
    with torch.no_grad():
        assert [float(fast(x)[0]) for _ in range(3)] == [1, 2, 3]
    assert float(model.calls) == 3


def test_gradients_run_uncompiled(builds: Callable[[], int]) -> None:
    model = nn.Linear(4, 3)
    with pytest.warns(UserWarning, match="inference only"):
        y = compiled(model)(torch.randn(2, 4))
    y.sum().backward()
    assert model.weight.grad is not None and builds() == 0


def test_what_cannot_be_built_is_named() -> None:
    with torch.no_grad(), pytest.raises(Exception, match=r"aten::randperm"):
        compiled(nn.Identity())
        torch.compile(lambda x: x[torch.randperm(4)] * 2, backend=magicmind_backend)(torch.randn(4))


def test_options() -> None:
    model, x = nn.Linear(4, 3), torch.randn(2, 4)
    with torch.no_grad():
        fast = compiled(model, options={"threads": 1, "precision": "force_float32"})
        assert difference(fast(x), model(x)) < TOLERANCE
        with pytest.raises(Exception, match="no option 'speed'"):
            compiled(nn.Linear(4, 2), options={"speed": 11})(x)


def test_the_backend_is_registered() -> None:
    if "magicmind" not in torch._dynamo.list_backends():
        pytest.skip("the package was installed before it had this entry point: run ./tools/dev setup")
    with torch.no_grad():
        assert torch.compile(nn.Linear(4, 3), backend="magicmind")(torch.randn(2, 4)).shape == (2, 3)
