"""Scales as a file: saved, edited, loaded, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.errors import PrecisionError
from magicmind.quant.scales import scale_of
from magicmind.quant.table import Scales

SCALES = Scales(
    {"a": scale_of(-1.0, 3.0), "b/c:0": scale_of(0.0, 1.0, bits=16)}, {"a": np.array([0.5, -1.0])}, {"z": 70000.0}, 64
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    SCALES.save(tmp_path / "s.json")
    found = Scales.load(tmp_path / "s.json")
    for name, scale in SCALES.tensors.items():
        again = found.tensors[name]
        assert replace(again, low=scale.low, high=scale.high) == scale
        if scale.dtype == "uint8":  # the scale tells the ends, but for rounding
            assert [again.low, again.high] == pytest.approx([scale.low, scale.high], abs=scale.scale)
    np.testing.assert_array_equal(found.means["a"], SCALES.means["a"])
    assert (found.peaks, found.samples, found.random) == ({"z": 70000.0}, 64, False)
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    assert len((tmp_path / "s.json").read_text().splitlines()) < 20  # a line per tensor: to be edited


def test_an_entry_may_be_a_range() -> None:
    document = SCALES.to_json()
    document["tensors"] = {"a": {"min": 0, "max": 2.55}, "b": [-1.27, 1.27]}
    found = Scales.of_json(document).tensors
    assert found["a"].scale == pytest.approx(0.01) and found["b"].zero in (127, 128)


def test_custom_ranges() -> None:
    found = Scales.of_json({"x": [-1, 1], "": {"min": [0], "max": [4]}})
    assert found.of("anything", 8).high == 4 and found.of("x", 8).high == 1
    found.require(["x", "y"], ["x", "y"])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.0, 6.0), (0.0, 0.0), (-2.0, 1e-3), (-1e-40, 1e-40)])
def test_scales_and_ranges_that_belong_together(ends: tuple[float, float], symmetric: bool) -> None:
    scales = Scales({"a": scale_of(*ends, symmetric=symmetric), "b": scale_of(*ends, bits=16)})
    assert Scales.of_json(scales.to_json(ranges=True)).tensors == scales.tensors


@pytest.mark.parametrize("edit", [{"scale": 0.5}, {"zero_point": 5}, {"scale": 0.5, "zero_point": 0}])
def test_an_edited_scale_is_taken(edit: dict[str, Any]) -> None:
    document = SCALES.to_json()
    document["tensors"]["a"] |= edit
    found = Scales.of_json(document).tensors["a"]
    scale, zero = edit.get("scale", SCALES.tensors["a"].scale), edit.get("zero_point", SCALES.tensors["a"].zero)
    assert found.scale == pytest.approx(scale) and found.zero == zero
    assert [found.low, found.high] == pytest.approx([-zero * scale, (255 - zero) * scale])


def test_a_scale_and_a_range_that_differ_are_refused() -> None:
    document = SCALES.to_json()
    document["tensors"]["a"] |= {"min": -1.0, "max": 6.0}
    with pytest.raises(PrecisionError, match=r"'a' has scale .* gives(?s:.*)remove the other"):
        Scales.of_json(document)
    del document["tensors"]["a"]["scale"], document["tensors"]["a"]["zero_point"]
    assert Scales.of_json(document).tensors["a"].scale == pytest.approx(7 / 255)


def test_other_widths_come_from_the_range() -> None:
    assert SCALES.of("a", 8) is SCALES.tensors["a"]
    assert SCALES.of("a", 16) == scale_of(-1.0, 3.0, bits=16)
    assert SCALES.of("b/c:0", 8) == scale_of(0.0, 1.0)


EDITED: list[tuple[Any, str]] = [
    ({"a": {"scale": 0}}, "'a' has scale 0"),
    ({"a": {"scale": "big"}}, "'a' has scale 'big'"),
    ({"a": {"scale": 1.0, "zero_point": 300}}, "'a' has zero point 300"),
    ({"a": {"scale": 1.0, "zero_point": 3, "dtype": "int16"}}, "'a' has zero point 3"),
    ({"a": {"scale": 1.0, "dtype": "int4"}}, "'a' has dtype 'int4'"),
    ({"a": {"min": 1}}, "range of 'a'"),
    ({"a": [2, 1]}, "range of 'a'"),
    ({"a": [0, float("nan")]}, "range of 'a'"),
    ({"a": "wide"}, "range of 'a'"),
    ({"x": {"scale": 0.1, "zero": 3}}, "has 'zero'"),
    ({"x": {"scale": 1e40, "zero_point": 3}}, "has scale 1e"),
    ([1, 2], "'tensors' is"),
]


@pytest.mark.parametrize(("tensors", "message"), EDITED)
def test_wrong_edits_are_named(tensors: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({**SCALES.to_json(), "tensors": tensors}))
    with pytest.raises(PrecisionError, match=message):
        Scales.load(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "a JSON object"), ('{"format": "x"}', "this is 'x'")]
)
def test_files_that_hold_no_scales(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(PrecisionError, match=message):
        Scales.load(tmp_path / "s.json")
    with pytest.raises(PrecisionError, match="cannot be read"):
        Scales.load(tmp_path / "none.json")


@pytest.mark.parametrize("part", [{"peaks": {"a": "big"}}, {"means": {"a": [1, None]}}, {"means": 3}, {"peaks": []}])
def test_other_parts_of_the_file_are_checked(part: dict[str, Any]) -> None:
    with pytest.raises(PrecisionError, match=next(iter(part))[:4]):
        Scales.of_json({**SCALES.to_json(), **part})


def test_what_scales_are_given_as() -> None:
    for wrong in (5, [1, 2], b"x"):
        with pytest.raises(PrecisionError, match="scales are"):
            Scales.given(wrong)  # type: ignore[arg-type]


def test_missing_and_unknown_tensors_are_named() -> None:
    with pytest.raises(PrecisionError, match=r"none for 'd'; unknown 'b/c:0' \(close: b/c:1\)"):
        SCALES.require(["a", "d"], ["a", "d", "b/c:1"])
