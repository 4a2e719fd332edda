"""Every rule against its formula, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra 'zoo' is not installed")

from magicmind.zoo.geometry import Array, CentreCrop, Fit, LongSide, Placement, Stretch, resize  # noqa: E402

SIZES = [(375, 500), (500, 333), (101, 640), (224, 224), (33, 47)]


def picture(height: int, width: int, seed: int = 0) -> Array:
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.asarray(np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255), np.uint8)


def linear(pixels: Array, width: int, height: int) -> Array:
    """f = (d + 0.5) * src / dst - 0.5, two taps an axis, clamped at the border."""
    result = pixels.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        f = (np.arange(size) + 0.5) * pixels.shape[axis] / size - 0.5
        low = np.floor(f).astype(int)
        share = np.expand_dims(f - low, (1, 2) if axis == 0 else (0, 2))
        last = pixels.shape[axis] - 1
        a, b = (result.take(np.clip(i, 0, last), axis) for i in (low, low + 1))
        result = a * (1 - share) + b * share
    return result


def cubic(pixels: Array, width: int, height: int) -> Array:
    """Four taps with a = -0.75, the border repeated."""
    a = -0.75
    result = pixels.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        f = (np.arange(size) + 0.5) * pixels.shape[axis] / size - 0.5
        low, total = np.floor(f).astype(int), 0.0
        for tap in range(-1, 3):
            x = np.abs(f - (low + tap))
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            weight = np.where(x <= 1, near, np.where(x < 2, far, 0))
            taken = result.take(np.clip(low + tap, 0, pixels.shape[axis] - 1), axis)
            total = total + taken * np.expand_dims(weight, (1, 2) if axis == 0 else (0, 2))
        result = np.asarray(total)
    return np.asarray(np.clip(result, 0, 255))


def area_enlarged(pixels: Array, width: int, height: int) -> Array:
    """s = floor(d * src / dst), f = (d + 1) - (s + 1) * dst / src, weight 0 where f <= 0."""
    result = pixels.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        d, source = np.arange(size), pixels.shape[axis]
        low = np.floor(d * source / size).astype(int)
        f = (d + 1) - (low + 1) * size / source
        weight = np.expand_dims(np.where(f <= 0, 0, f - np.floor(f)), (1, 2) if axis == 0 else (0, 2))
        a, b = (result.take(np.clip(i, 0, source - 1), axis) for i in (low, low + 1))
        result = a * (1 - weight) + b * weight
    return result


def filtered(pixels: Array, width: int, height: int, kind: str) -> Array:
    """Pillow's: the support grows with the shrink ratio, weights sum to one, each pass rounded to 8 bits."""

    def kernel(x: Array) -> Array:
        x = np.abs(x)
        if kind == "linear":
            return np.asarray(np.clip(1 - x, 0, None))
        if kind == "cubic":
            a = -0.5
            near = ((a + 2) * x - (a + 3)) * x * x + 1
            far = (((x - 5) * x + 8) * x - 4) * a
            return np.where(x < 1, near, np.where(x < 2, far, 0))
        return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)

    support = {"linear": 1, "cubic": 2, "lanczos": 3}[kind]
    result = pixels.astype(np.float64)
    for axis, size in ((1, width), (0, height)):
        source = pixels.shape[axis]
        scale = source / size
        reach = max(scale, 1.0)
        moved = np.moveaxis(result, axis, 0)
        rows = []
        for d in range(size):
            centre = (d + 0.5) * scale
            first = max(int(centre - support * reach + 0.5), 0)
            last = min(int(centre + support * reach + 0.5), source)
            weights = kernel((np.arange(first, last) - centre + 0.5) / reach)
            rows.append(np.tensordot(weights / weights.sum(), moved[first:last], 1))
        result = np.moveaxis(np.clip(np.floor(np.array(rows) + 0.5), 0, 255), 0, axis)
    return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", [(256, 341), (120, 90)])
def test_resampling_is_within_a_grey_level_of_its_formula(size: tuple[int, int], target: tuple[int, int]) -> None:
    pixels, (height, width) = picture(*size), target
    expected = {
        "linear": linear(pixels, width, height),
        "cubic": cubic(pixels, width, height),
        **{f"pil_{kind}": filtered(pixels, width, height, kind) for kind in ("linear", "cubic", "lanczos")},
    }
    if size[0] <= height and size[1] <= width:
        expected["area"] = area_enlarged(pixels, width, height)
    for how, formula in expected.items():
        difference = np.abs(resize(pixels, width, height, how) - formula)
        # Pillow rounds between its passes, and negative weights can enlarge that in single pixels.
        assert difference.max() <= (3.0 if how in ("pil_cubic", "pil_lanczos") else 1.0), how
        assert (difference > 1.0).mean() < 1e-3, how


def test_area_averages_when_it_shrinks() -> None:
    pixels = picture(64, 96)
    means = pixels.reshape(16, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(resize(pixels, 24, 16, "area") - means).max() <= 0.5


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_centre_crop_by_the_rules_of_three_samples(height: int, width: int) -> None:
    pixels, short = picture(height, width), min(height, width)
    # OpenCV's, corners rounded down
    new = [math.floor(256 / short * n + 0.5) for n in (height, width)]
    top, left = ((n - 224) // 2 for n in new)
    whole = cv2.resize(pixels, (new[1], new[0]))
    cut, where = CentreCrop(256, 224, rounding="down").apply(pixels)
    np.testing.assert_array_equal(cut, whole[top : top + 224, left : left + 224])
    assert where.left == pytest.approx(left * width / new[1])
    # Pillow's
    new = [256 if n == short else int(256 * n / short) for n in (height, width)]
    top, left = (int(round((n - 224) / 2)) for n in new)  # noqa: RUF046 half to even, as the sample has it
    image = Image.fromarray(pixels).resize((new[1], new[0]), Image.Resampling.BILINEAR)
    cut, _ = CentreCrop(256, 224, "pil_linear", "pillow").apply(pixels)
    np.testing.assert_array_equal(cut, np.asarray(image)[top : top + 224, left : left + 224])
    # bicubic, corners rounded half up
    new = [math.floor(233 / short * n + 0.5) for n in (height, width)]
    top, left = (math.floor((n - 224) / 2 + 0.5) for n in new)
    whole = cv2.resize(pixels, (new[1], new[0]), interpolation=cv2.INTER_CUBIC)
    cut, _ = CentreCrop(233, 224, "cubic").apply(pixels)
    np.testing.assert_array_equal(cut, whole[top : top + 224, left : left + 224])


def test_the_published_calibration_is_off_centre_by_sixteen() -> None:
    pixels = picture(256, 300)
    cut, _ = CentreCrop(256, 224, corner_of=256).apply(pixels)
    np.testing.assert_array_equal(cut, pixels[:224, 22 : 22 + 224])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_long_side(height: int, width: int) -> None:
    pixels = picture(height, width)
    found, where = LongSide(513, "area").apply(pixels)
    ratio = 513 / max(height, width)
    assert found.shape[:2] == (math.floor(ratio * height + 0.5), math.floor(ratio * width + 0.5))
    assert where.across * found.shape[1] == pytest.approx(width)
    lower, _ = LongSide(513, "pil_lanczos", "down").apply(pixels)
    assert lower.shape[:2] == (int(ratio * height), int(ratio * width))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_fit_is_the_affine_map_of_the_paper(height: int, width: int) -> None:
    pixels = picture(height, width)
    found, where = Fit(512).apply(pixels)
    scale = 512 / max(height, width)
    ys, xs = np.indices((512, 512))
    x, y = (xs - 256) / scale + width / 2, (ys - 256) / scale + height / 2
    padded = np.pad(pixels.astype(np.float64), ((1, 2), (1, 2), (0, 0)))
    expected = np.zeros((512, 512, 3))
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    x0, y0 = np.floor(x[inside]).astype(int), np.floor(y[inside]).astype(int)
    fx, fy = (x[inside] - x0)[:, None], (y[inside] - y0)[:, None]
    rows = [padded[y0 + 1 + j, x0 + 1] * (1 - fx) + padded[y0 + 1 + j, x0 + 2] * fx for j in (0, 1)]
    expected[inside] = rows[0] * (1 - fy) + rows[1] * fy
    # OpenCV knows positions to 1/32 of a pixel, and a step between neighbours may be 255 high.
    difference = np.abs(found - expected)
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 4
    corners = where.corners(np.array([[128.0, 64, 256, 400]]))[0]
    s = max(height, width)
    in_cells = [(128 / 4 - 64) * s / 128, (64 / 4 - 64) * s / 128, 0, (400 / 4 - 64) * s / 128]
    np.testing.assert_allclose(corners, np.array(in_cells) + [width / 2, height / 2] * 2)


def test_stretch_places_boxes_by_the_ratio_of_the_sides() -> None:
    pixels, where = Stretch(512, 512).apply(picture(480, 640))
    assert pixels.shape == (512, 512, 3)
    assert where == Placement(0, 0, 640 / 512, 480 / 512)


def test_a_long_narrow_picture_is_as_wide_as_the_network_needs() -> None:
    found, where = LongSide(513, "area", least=100).apply(np.zeros((3, 2000, 3), np.uint8))
    assert found.shape == (100, 513, 3) and where.down == 3 / 100
