"""DropExpand."""

from __future__ import annotations

import pytest

from magicmind.passes.drop_expand import DropExpand
from magicmind.testing.check_pass import check_declined, check_pass

HEAD = "(float[2,N] x, float[2,1] n) => (float[2,N] y)"


def test_expanded_divisor() -> None:
    check_pass(
        DropExpand(),
        f"{HEAD} {{ s = Shape(x) e = Expand(n, s) y = Div(x, e) }}",
        f"{HEAD} {{ y = Div(x, n) }}",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEAD} {{ s = Shape(x) y = Expand(n, s) }}", "its result is an output"),
        (f"{HEAD} {{ s = Shape(x) e = Expand(n, s) y = Add(e, n) }}", "do not have the whole shape"),
        (f"{HEAD} {{ s = Shape(x) e = Expand(n, s) y = Relu(e) }}", "do not have the whole shape"),
        (f"{HEAD} {{ s = Shape(x) e = Expand(n, s) y = Softmax(e) }}", "(Softmax) needs all elements"),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(DropExpand(), text, reason)
