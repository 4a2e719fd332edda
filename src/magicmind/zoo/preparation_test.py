"""Files that are no pictures, and pictures that are not what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")

from magicmind.zoo.geometry import opencv
from magicmind.zoo.pictures import picture
from magicmind.zoo.preparation import BrokenImage, read_bgr


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "is empty"), (b"<html>404</html>", "holds no picture"), (b"\xff\xd8\xff\xe0 JFIF", "was cut off")],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(BrokenImage, match=says):
        read_bgr(tmp_path / "a.jpg")


def test_a_png_file_may_be_called_jpg(tmp_path: Path) -> None:
    pixels = picture(0, 20, 30)
    (tmp_path / "a.JPEG").write_bytes(opencv().imencode(".png", pixels)[1].tobytes())
    np.testing.assert_array_equal(read_bgr(tmp_path / "a.JPEG"), pixels)
