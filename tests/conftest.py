"""The real networks that lie beside the repository, each built once per test session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import magicmind

DATA = Path(__file__).parents[2] / "shared" / "data"

NETWORKS = {
    "rfb": "detection/rfb320_face/version-RFB-320.onnx",
    "slim": "detection/rfb320_face/version-slim-320.onnx",
    "fastestdet": "detection/fastestdet_coco/FastestDet.onnx",
    "sinet": "segmentation/sinet_portrait/SINet.onnx",
}


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real networks and their reference results."""
    if not DATA.is_dir():
        pytest.skip("the folder shared/data with real networks is not beside the repository")
    return DATA


@pytest.fixture(scope="session")
def offline(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of the offline model of one of `NETWORKS`, built at the first call with that name."""
    folder = tmp_path_factory.mktemp("offline")

    def path(name: str) -> Path:
        file = folder / f"{name}.mm"
        if not file.exists():
            with magicmind.build(magicmind.parse(data / NETWORKS[name])) as model:
                model.save(file)
        return file

    return path
