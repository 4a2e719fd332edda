"""Operators against TensorFlow: small functions, frozen both ways (functions, and old control flow), then compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]

TOLERANCE = 1e-4  # of the largest element
BY_TABLE = 4e-3  # TensorFlow reads cubic weights from a table of 1024 steps


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="needs the extra 'tensorflow'")


def normal(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


IMAGE = normal(2, 7, 9, 3)
W = normal(3, 3, 3, 5)


def check(
    tf: Any,
    path: Path,
    function: Function,
    *feeds: Array,
    mutable: bool = True,
    lowered: bool = False,
    tolerance: float = TOLERANCE,
) -> None:
    """The function gives what it gives in TensorFlow, with a mutable first axis unless told otherwise."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [
        tf.TensorSpec([None, *x.shape[1:]] if mutable else x.shape, x.dtype, name=f"x{i}") for i, x in enumerate(feeds)
    ]
    concrete = tf.function(function).get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=lowered)
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    names = [t.name.removesuffix(":0") for t in frozen.outputs]
    inputs = [t.name for t in frozen.inputs]
    graph = magicmind.parse(path, inputs=inputs, outputs=list(dict.fromkeys(names)))
    found = magicmind.build(graph).session(threads=1).run(dict(zip([i.name for i in graph.inputs], feeds, strict=True)))
    expected = [np.asarray(v) for v in tf.nest.flatten(function(*(tf.constant(x) for x in feeds)))]
    for name, wanted in zip(names, expected, strict=True):
        got = found[name]
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), name
        size = max(np.abs(wanted.astype(np.float64)).max(initial=0), 1e-9)
        assert np.abs(got.astype(np.float64) - wanted).max(initial=0) <= tolerance * size, name


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "net.pb"


@pytest.mark.parametrize("padding", ["SAME", "VALID", [[0, 0], [1, 2], [0, 3], [0, 0]]], ids=str)
def test_convolutions(tf: Any, path: Path, padding: Any) -> None:
    depthwise, old = normal(3, 3, 3, 2), isinstance(padding, str)

    def run(x: Any) -> Any:
        found = [tf.nn.conv2d(x, W, s, padding, dilations=d) for s, d in ((1, 1), (2, 1), (1, 2))]
        if old:
            found += [tf.nn.depthwise_conv2d(x, depthwise, [1, s, s, 1], padding) for s in (1, 2)]
            found.append(tf.nn.depthwise_conv2d(x, depthwise, [1, 1, 1, 1], padding, dilations=[2, 2]))
            found += [tf.nn.max_pool2d(x, 3, 2, padding), tf.nn.avg_pool2d(x, 3, 2, padding)]
            found.append(tf.nn.dilation2d(x, normal(3, 3, 3), [1, 2, 1, 1], padding, "NHWC", [1, 1, 2, 1]))
        return found

    check(tf, path, run, IMAGE, mutable=padding == "SAME")


def test_convolutions_in_groups_and_of_other_ranks(tf: Any, path: Path) -> None:
    w, line, box = normal(3, 3, 3, 4), normal(3, 3, 4), normal(2, 3, 3, 2, 4)
    check(tf, path, lambda x: tf.nn.conv2d(x, w, 1, "SAME"), normal(2, 5, 5, 6))
    check(tf, path, lambda x: tf.nn.relu(tf.nn.conv1d(x, line, 2, "SAME")), normal(2, 9, 3))
    x = normal(1, 4, 6, 5, 2)
    check(tf, path, lambda x: tf.nn.conv3d(x, box, [1, 1, 2, 2, 1], "SAME"), x)
    check(tf, path, lambda x: [tf.nn.max_pool3d(x, 2, 2, "SAME"), tf.nn.avg_pool3d(x, 2, 2, "SAME")], x)


@pytest.mark.parametrize(("padding", "sizes"), [("SAME", [(14, 18), (13, 17)]), ("VALID", [(15, 19), (16, 20)])])
def test_transposed_convolutions(tf: Any, path: Path, padding: str, sizes: Sequence[tuple[int, int]]) -> None:
    w, box = normal(3, 3, 4, 3), normal(2, 2, 2, 3, 2)
    check(
        tf,
        path,
        lambda x: [tf.nn.conv2d_transpose(x, w, [2, *size, 4], 2, padding) for size in sizes],
        IMAGE,
        mutable=False,
    )
    check(
        tf,
        path,
        lambda x: tf.nn.conv3d_transpose(x, box, [1, 8, 8, 8, 3], 2, "SAME"),
        normal(1, 4, 4, 4, 2),
        mutable=False,
    )


def test_normalisation(tf: Any, path: Path) -> None:
    def norm(x: Any, training: bool) -> Any:
        mean, variance = ([], []) if training else ([0.1, 0.2, 0.3], [1.0, 2, 3])
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=[1.0, 2, 3], offset=[0.0, 1, 2], mean=mean, variance=variance, is_training=training
        )[0]

    check(
        tf,
        path,
        lambda x: [
            norm(x, False),
            norm(x, True),
            tf.nn.local_response_normalization(x, 2, 1.5, 0.3, 0.6),
            tf.math.l2_normalize(x, -1),
            tf.nn.softmax(x),
        ],
        IMAGE,
    )


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_fake_quantisation(tf: Any, path: Path, bits: int) -> None:
    q = tf.quantization

    def run(x: Any) -> Any:
        found = [q.fake_quant_with_min_max_vars(x, -1.3, 2.1, bits, narrow) for narrow in (False, True)]
        found.append(q.fake_quant_with_min_max_args(x, 0.2, 6, bits))
        return [*found, q.fake_quant_with_min_max_vars_per_channel(x, [-1.0, -2, 0], [1.0, 0.5, 3], bits)]

    check(tf, path, run, IMAGE)


@pytest.mark.parametrize("size", [(14, 18), (5, 4), (7, 9), (1, 1), (10, 13)], ids=str)
def test_resizing(tf: Any, path: Path, size: tuple[int, int]) -> None:
    ways = [{"align_corners": a, "half_pixel_centers": h} for a, h in ((False, False), (True, False), (False, True))]
    raw = tf.raw_ops

    def run(x: Any) -> Any:
        found = [op(images=x, size=size, **w) for op in (raw.ResizeBilinear, raw.ResizeNearestNeighbor) for w in ways]
        for method in ("bilinear", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"):
            found.append(tf.image.resize(x, size, method, antialias=True))
        return [*found, tf.image.resize(x, size, "area")]

    check(tf, path, run, IMAGE)
    check(tf, path, lambda x: [raw.ResizeBicubic(images=x, size=size, **w) for w in ways], IMAGE, tolerance=BY_TABLE)


def test_blocks_and_crops(tf: Any, path: Path) -> None:
    def dilated(x: Any) -> Any:
        y = tf.space_to_batch(x, [2, 2], [[2, 3], [2, 3]])
        y = tf.nn.bias_add(tf.nn.conv2d(y, W, 1, "VALID"), [1.0, 2, 3, 4, 5])
        return tf.batch_to_space(y, [2, 2], [[0, 1], [0, 1]])

    check(tf, path, dilated, normal(2, 7, 7, 3))
    check(tf, path, lambda x: tf.space_to_batch(x, [2, 3], [[0, 1], [0, 0]]), IMAGE)
    check(tf, path, lambda x: tf.batch_to_space(x, [2, 2], [[0, 1], [1, 0]]), normal(8, 3, 4, 2))
    check(tf, path, lambda x: [tf.nn.space_to_depth(x, 2), tf.nn.depth_to_space(x, 2)], normal(2, 4, 6, 8))
    boxes = [[0.0, 0, 1, 1], [0.1, 0.2, 0.8, 1.2]]
    check(tf, path, lambda x: tf.image.crop_and_resize(x, boxes, [0, 1], (4, 5)), IMAGE, mutable=False)


def test_products(tf: Any, path: Path) -> None:
    w, v, e = normal(5, 4), normal(3, 4), normal(4, 5)
    check(tf, path, lambda x: tf.matmul(x, w, transpose_b=True), normal(3, 4))
    check(tf, path, lambda x: tf.matmul(x, v, transpose_a=True), normal(3, 4), mutable=False)
    check(
        tf,
        path,
        lambda x, y: tf.matmul(x, y, transpose_a=True, transpose_b=True),
        normal(2, 3, 4, 5),
        normal(2, 3, 6, 4),
    )
    check(tf, path, lambda x: tf.einsum("bij,jk->bik", x, e), normal(2, 3, 4))


def test_functions_of_one_number(tf: Any, path: Path) -> None:
    any_sign = "abs ceil floor exp sign round negative sigmoid tanh square sin cos tan asinh atan softplus erf expm1"
    above = "sqrt rsqrt log log1p reciprocal"
    nn = "relu relu6 leaky_relu elu selu softsign gelu swish softmax log_softmax crelu"
    check(tf, path, lambda x: [getattr(tf.math, n)(x) for n in any_sign.split()], normal(3, 4))
    check(tf, path, lambda x: [getattr(tf.math, n)(x) for n in above.split()], np.abs(normal(3, 4)) + 0.1)
    check(tf, path, lambda x: [getattr(tf.nn, n)(x) for n in nn.split()], normal(3, 4))


def test_functions_of_two_numbers(tf: Any, path: Path) -> None:
    m = tf.math
    whole = np.random.default_rng(0).integers(-9, 9, (3, 4)).astype(np.int32)
    check(
        tf,
        path,
        lambda x: [x // 4, x % 4, tf.truncatediv(x, 4), tf.truncatemod(x, 4), x // -3, m.maximum(x, 2), -x, abs(x)],
        whole,
    )
    check(
        tf,
        path,
        lambda x: [
            x // 0.7,
            x % 0.7,
            m.divide_no_nan(x, tf.nn.relu(x)),
            m.squared_difference(x, 1.0),
            tf.clip_by_value(x, -0.5, 0.5),
            m.atan2(x, x[:, ::-1]),
            m.xlogy(tf.nn.relu(x), abs(x) + 1),
            tf.where(x > 0, x, 0.0),
        ],
        normal(3, 4),
    )
    check(
        tf,
        path,
        lambda x: [
            tf.cast(v, tf.int32)
            for v in (
                m.greater(x, 0.0),
                m.less_equal(x, 0.0),
                m.equal(x, x),
                m.not_equal(x, 0.0),
                m.logical_and(m.greater(x, 0.0), m.less(x, 1.0)),
                m.logical_xor(m.greater(x, 0.0), m.less(x, 1.0)),
                m.is_nan(x),
                m.is_finite(x),
                tf.reduce_any(m.greater(x, 0.0), 1),
                tf.reduce_all(m.greater(x, 0.0), 1),
            )
        ],
        normal(3, 4),
    )


def test_reductions(tf: Any, path: Path) -> None:
    def run(x: Any) -> Any:
        return [
            getattr(tf, f"reduce_{kind}")(v, axes, keepdims=keep)
            for v in (x, tf.nn.conv2d(x, W * 0.1, 1, "SAME"))
            for kind in ("sum", "mean", "max", "min", "prod")
            for axes in ([1], [1, 2], [0, 3], None, [-1])
            for keep in (True, False)
        ]

    check(tf, path, run, IMAGE)


def test_positions(tf: Any, path: Path) -> None:
    x, batches = normal(2, 3, 4), normal(2, 3, 4, 5)
    where = [[1, 0], [2, 1]]
    check(
        tf,
        path,
        lambda x: [tf.gather(x, [1, 0, 1], axis=1), tf.gather(x, 2, axis=-1), tf.gather_nd(x, [[0, 1], [1, 2]])],
        x,
        mutable=False,
    )
    check(tf, path, lambda x: [tf.gather(x, where, axis=a, batch_dims=1) for a in (1, 2)], batches, mutable=False)
    at = [[1], [3], [1]]
    check(
        tf,
        path,
        lambda x: [
            tf.scatter_nd(at, x, [5, 4]),
            tf.tensor_scatter_nd_update(tf.zeros([5, 4]), [[1], [3], [0]], x),
            tf.tensor_scatter_nd_max(tf.zeros([5, 4]), at, x),
            tf.math.segment_mean(x, [0, 0, 1]),
            tf.math.unsorted_segment_sum(x, [2, 0, 2], 3),
        ],
        normal(3, 4),
        mutable=False,
    )
    check(
        tf,
        path,
        lambda x: [
            *tf.math.top_k(x, 3),
            tf.argmax(x, 1),
            tf.argmin(x, 0, output_type=tf.int32),
            tf.cumsum(x, 1, exclusive=True, reverse=True),
            tf.math.cumprod(x, 1),
            tf.sort(x),
            tf.where(x > 0),
        ],
        normal(3, 6),
    )
    check(tf, path, lambda x: [tf.one_hot(x, 4), tf.one_hot(x, 4, axis=0)], np.array([0, 2, -1, 7], np.int32))
    check(tf, path, lambda x: list(tf.unique(x)), np.array([3, 1, 3, 2], np.int32), mutable=False)


def test_parts_and_rearrangements_before_and_after_a_convolution(tf: Any, path: Path) -> None:
    def run(x: Any) -> Any:
        y = tf.nn.conv2d(x, W, 1, "SAME")
        found: list[Any] = []
        for v in (x, y):
            found += [v[:, 1:3], v[:, ::-1], v[..., 1], v[:, tf.newaxis, 1:-1:2], v[:, -1], v[0], v[:1, ..., ::2]]
            found += [tf.slice(v, [0, 1, 0, 1], [-1, 2, 3, -1]), tf.reverse(v, [1]), tf.expand_dims(v, 1)]
            found += [
                tf.pad(v, [[0, 0], [1, 2], [2, 1], [0, 0]], mode) for mode in ("CONSTANT", "REFLECT", "SYMMETRIC")
            ]
            found += [tf.concat([v, v], 1), tf.concat([v, x], -1), tf.transpose(v, [0, 3, 1, 2]), tf.argmax(v, 3)]
            found += [*tf.split(v, [1, int(v.shape[3]) - 1], 3), tf.reshape(v, [-1, 63 * int(v.shape[3])])]
            mean = tf.reduce_mean(v, [1, 2], keepdims=True)
            found += [v * mean + 1.0, tf.squeeze(mean, [1, 2]), v + x[..., :1], tf.tile(v, [1, 2, 1, 1])]
        return found

    check(tf, path, run, IMAGE)


def test_sizes(tf: Any, path: Path) -> None:
    def run(x: Any) -> Any:
        n = tf.shape(x)[0]
        found = [tf.reshape(x, [n, -1]), tf.fill(tf.shape(x), 2.0), tf.shape(x), tf.size(x), tf.range(n)]
        found += [tf.stack([x, x], 1), *tf.unstack(x, axis=2), tf.broadcast_to(x[:, :1], tf.shape(x)), tf.rank(x)]
        return [
            *found,
            tf.zeros_like(x),
            tf.squeeze(x[:, :1], 1),
            tf.linalg.diag(x[:, 0]),
            tf.linalg.diag_part(x[:, :, :3]),
        ]

    check(tf, path, run, normal(2, 3, 4))
    check(tf, path, lambda x: tf.linalg.band_part(x, 1, 0), normal(2, 4, 4))
    check(tf, path, lambda x: tf.reverse_sequence(x, [1, 3], seq_axis=1), normal(2, 4, 3), mutable=False)


def test_suppression(tf: Any, path: Path) -> None:
    random = np.random.default_rng(1)
    corner = random.uniform(0, 1, (9, 2)).astype(np.float32)
    boxes, scores = np.concatenate([corner, corner + 0.4], 1), random.uniform(0, 1, 9).astype(np.float32)
    check(tf, path, lambda b, s: tf.image.non_max_suppression(b, s, 5, 0.4, 0.1), boxes, scores, mutable=False)


# -------------------------------------------------------------------------------------------------------- control flow


def loop_by_count(tf: Any) -> Function:
    def run(x: Any) -> Any:
        return tf.while_loop(
            lambda i, y: i < 4,
            lambda i, y: (i + 1, y * 0.5 + x * tf.cast(i, tf.float32)),
            (tf.constant(0), tf.zeros_like(x)),
        )[1]

    return run


def loop_by_data(tf: Any) -> Function:
    return lambda x: tf.while_loop(lambda y: tf.reduce_sum(tf.abs(y)) < 100.0, lambda y: (y * 2.0,), (x,))[0]


def loops_and_branches_inside(tf: Any) -> Function:
    def turn(i: Any, x: Any) -> Any:
        x = tf.while_loop(lambda j, y: j < i, lambda j, y: (j + 1, y + tf.cast(j, tf.float32) * W[0, 0, 0, 0]), (0, x))[
            1
        ]
        return i + 1, tf.cond(tf.reduce_mean(x) > 0.0, lambda: x - 1.0, lambda: x * 0.5)

    return lambda x: tf.while_loop(lambda i, y: i < 3, turn, (0, x))[1]


def branches(tf: Any) -> Function:
    return lambda x: list(tf.cond(tf.reduce_sum(x) > 0.0, lambda: (x * 2.0, x), lambda: (x - 1.0, -x)))


def cases(tf: Any) -> Function:
    def run(x: Any) -> Any:
        number = tf.cast(tf.reduce_sum(x) > 0.0, tf.int32) + tf.cast(tf.reduce_max(x) > 1.0, tf.int32)
        return tf.switch_case(number, [lambda: x * 2, lambda: x - 1, lambda: -x])

    return run


def arrays(tf: Any) -> Function:
    def run(x: Any) -> Any:
        def turn(i: Any, array: Any) -> Any:
            return i + 1, array.write(i, x[i] * tf.cast(i, tf.float32))

        array = tf.TensorArray(tf.float32, size=tf.shape(x)[0])
        return tf.while_loop(lambda i, a: i < tf.shape(x)[0], turn, (0, array))[1].stack()

    return run


def maps(tf: Any) -> Function:
    return lambda x: [tf.map_fn(lambda r: tf.reduce_sum(r) * r, x), tf.scan(lambda a, r: a + r, x)]


@pytest.mark.parametrize("lowered", [False, True], ids=["functions", "lowered"])
@pytest.mark.parametrize(
    "make", [loop_by_count, loop_by_data, loops_and_branches_inside, branches, cases, arrays, maps]
)
def test_control_flow(tf: Any, path: Path, make: Callable[[Any], Function], lowered: bool) -> None:
    for sign in (1, -1):
        check(tf, path, make(tf), sign * np.abs(normal(3, 4)), lowered=lowered)
