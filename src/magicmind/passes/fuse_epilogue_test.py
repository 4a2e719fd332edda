"""FuseEpilogue."""

from __future__ import annotations

from magicmind.passes.fuse_epilogue import FuseEpilogue
from magicmind.testing.check_pass import check_declined, check_pass

CONV = "magicmind.Conv<kernel_shape=[1,1]>"


def epilogue(*lines: str) -> str:
    return "magicmind.Conv<kernel_shape=[1,1], epilogue=[" + ", ".join(f'"{line}"' for line in lines) + "]>"


def elementwise(line: str) -> str:
    return f'magicmind.Elementwise<program=["{line}"]>'


HEAD = "(float[N,2,4,4] x, float[2,2,1,1] w, float[2,2,1,1] v) => (float[N,2,4,4] y)"


def test_activation_and_residual_in_one_sweep() -> None:
    model = check_pass(
        FuseEpilogue(),
        f"{HEAD} {{ [conv] t = {CONV}(x, w)  [add] s = {elementwise('t0 = Add(x0, x1)')}(x, t)"
        f"  [relu] y = {elementwise('t0 = Relu(x0)')}(s) }}",
        f"{HEAD} {{ y = {epilogue('t0 = Add(x0, acc)', 't1 = Relu(t0)')}(x, w, , x) }}",
    )
    (node,) = (n for n in model.graph if n.outputs[0].is_graph_output())
    assert node.name == "conv"
    assert node.metadata_props["magicmind.sources"] == "conv,add,relu"


def test_the_later_of_two_convolutions_takes_the_sum() -> None:
    check_pass(
        FuseEpilogue(),
        f"{HEAD} {{ a = {CONV}(x, w)  b = {CONV}(x, v)  y = {elementwise('t0 = Add(x0, x1)')}(b, a) }}",
        f"{HEAD} {{ a = {CONV}(x, w)  y = {epilogue('t0 = Add(acc, x0)')}(x, v, , a) }}",
    )


def test_a_matrix_product_reads_its_result_twice() -> None:
    head = "(float[N,2] x, float[2,2] w, float[2] b) => (float[N,2] y)"
    check_pass(
        FuseEpilogue(),
        head + '{ t = magicmind.MatMul(x, w, b)  y = magicmind.Elementwise<program=["a = Sigmoid(x0)", '
        '"b = Mul(x0, a)"]>(t) }',
        head + '{ y = magicmind.MatMul<epilogue=["t0 = Sigmoid(acc)", "t1 = Mul(acc, t0)"]>(x, w, b) }',
    )


def test_near_misses() -> None:
    relu = elementwise("t0 = Relu(x0)")
    used = f"{HEAD} {{ t = {CONV}(x, w)  r = {relu}(t)  y = Concat<axis=0>(t, r) }}"
    check_declined(FuseEpilogue(), used, "used elsewhere")
    cast = (
        f"{HEAD.replace('float[N,2,4,4] y', 'y')} {{ t = {CONV}(x, w)  y = {elementwise('t0 = Cast(x0, INT32)')}(t) }}"
    )
    check_declined(FuseEpilogue(), cast, "kernels do not store the dtype of the result")
    wider = (
        "(float[1,2,4,4] x, float[2,2,1,1] w, float[3,2,4,4] z) => (float[3,2,4,4] y)"
        f"{{ t = {CONV}(x, w)  y = {elementwise('t0 = Add(x0, x1)')}(t, z) }}"
    )
    check_declined(FuseEpilogue(), wider, "the shape of the result changes")
