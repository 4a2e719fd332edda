"""Finding pictures, labels and truth, and saying what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from magicmind.errors import Error
from magicmind.zoo.datasets import Given, load, read_annotations, read_names


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATASETS_PATH",
        "ILSVRC2012_DATASETS_PATH",
        "COCO_DATASETS_PATH",
        "VOC2012_DATASETS_PATH",
        "UTILS_PATH",
    ):
        monkeypatch.delenv(name, raising=False)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("folder", ["", "images", "val/n01440764"])
def test_imagenet_flat_in_a_folder_and_by_class(tmp_path: Path, folder: str) -> None:
    paths = [touch(tmp_path / folder / f"ILSVRC2012_val_0000000{i}.JPEG") for i in (1, 2)]
    (tmp_path / "ILSVRC2012_val.txt").write_text("".join(f"{p.name} {65 + i}\n" for i, p in enumerate(paths)))
    (tmp_path / "imagenet_name.txt").write_text("0 tench, Tinca tinca\n1 goldfish\n")
    data = load("imagenet", Given(root=tmp_path))
    assert [(item.index, item.name, item.path, item.label) for item in data.items] == [
        (0, paths[0].name, paths[0], 65), (1, paths[1].name, paths[1], 66),
    ]  # fmt: skip
    assert data.names == ("tench, Tinca tinca", "goldfish")
    assert len(load("imagenet", Given(root=tmp_path), 1).items) == 1


def test_variables_say_where_data_sets_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.JPEG")
    (tmp_path / "val.txt").write_text("a.JPEG 7\n")
    monkeypatch.setenv("DATASETS_PATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ILSVRC2012_DATASETS_PATH", str(tmp_path))
    assert load("imagenet", Given()).items[0].label == 7
    monkeypatch.delenv("ILSVRC2012_DATASETS_PATH")
    with pytest.raises(Error, match="elsewhere"):
        load("imagenet", Given())


def test_missing_parts_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"(?s)COCO 2017 .* is missing.*images.cocodataset.org.*COCO_DATASETS_PATH"):
        load("coco", Given())
    with pytest.raises(Error, match=r"(?s)there is no folder .*nothing.*host.robots.ox.ac.uk"):
        load("voc", Given(root=tmp_path / "nothing"))
    with pytest.raises(Error, match="has no folder VOCdevkit/VOC2012/JPEGImages"):
        load("voc", Given(root=tmp_path))
    touch(tmp_path / "a.JPEG")
    with pytest.raises(Error, match="there is no label list"):
        load("imagenet", Given(root=tmp_path))
    (tmp_path / "val.txt").write_text("a.JPEG 3\nb.JPEG\n")
    with pytest.raises(Error, match=r"line 2: 'b.JPEG' has no label"):
        load("imagenet", Given(root=tmp_path))
    (tmp_path / "val.txt").write_text("c.JPEG 3\nd.JPEG 4\n")
    with pytest.raises(Error, match="none of the 2 listed pictures"):
        load("imagenet", Given(root=tmp_path))


def test_lists_as_other_systems_write_them(tmp_path: Path) -> None:
    touch(tmp_path / "with space.JPEG")
    touch(tmp_path / "a.JPEG")
    (tmp_path / "val.txt").write_bytes("\ufeffa.JPEG\t3\r\nwith space.JPEG  4\r\n\r\n".encode())
    items = load("imagenet", Given(root=tmp_path)).items
    assert [(item.path.name, item.label) for item in items] == [("a.JPEG", 3), ("with space.JPEG", 4)]
    (tmp_path / "val.txt").write_bytes(b"d\xe9.JPEG 3\n")
    with pytest.raises(Error, match=r"val.txt is no text in UTF-8"):
        load("imagenet", Given(root=tmp_path))


def test_nothing_to_run_is_said_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path / "a.JPEG")
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(Error, match=r"val.txt lists no pictures"):
        load("imagenet", Given(root=tmp_path))
    (tmp_path / "val.txt").write_text("a.JPEG 3\n")
    with pytest.raises(Error, match="no picture is asked for"):
        load("imagenet", Given(root=tmp_path), 0)
    with pytest.raises(Error, match=r"holds no pictures(?s:.*).webp"):
        load("pictures", Given(image_dir=touch(tmp_path / "empty/readme.txt").parent))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"images": []}', "has no annotations, categories"),
        ("[]", "has no"),
        ("7", "has no images"),
    ],
)
def test_annotations_of_another_form(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(Error, match=says):
        read_annotations(tmp_path / "a.json")


def test_coco_by_list_and_by_folder(tmp_path: Path) -> None:
    for name in ("000000000285.jpg", "000000000139.jpg", "readme.txt"):
        touch(tmp_path / "val2017" / name)
    annotations = touch(tmp_path / "annotations/instances_val2017.json")
    annotations.write_text(json.dumps({}))
    data = load("coco", Given(root=tmp_path))
    assert [item.name for item in data.items] == ["000000000139.jpg", "000000000285.jpg"]
    assert data.annotations == annotations
    (tmp_path / "file_list_5000.txt").write_text("000000000285.jpg\n")
    assert [item.name for item in load("coco", Given(root=tmp_path)).items] == ["000000000285.jpg"]


def test_voc_lists_have_no_suffix(tmp_path: Path) -> None:
    top = tmp_path / "VOCdevkit/VOC2012"
    picture = touch(top / "JPEGImages/2007_000033.jpg")
    touch(top / "ImageSets/Segmentation/val.txt").write_text("2007_000033\n")
    (top / "SegmentationClass").mkdir()
    data = load("voc", Given(root=tmp_path))
    assert (data.items[0].name, data.items[0].path) == ("2007_000033", picture)
    assert data.masks == top / "SegmentationClass"


def test_names_in_three_forms(tmp_path: Path) -> None:
    for text, names in (
        ("0 tench, Tinca\n1 shark\n", ("tench, Tinca", "shark")),
        ("n01440764 tench\nn01443537 goldfish\n", ("tench", "goldfish")),
        ("traffic light\nnail\n", ("traffic light", "nail")),
    ):
        (tmp_path / "names.txt").write_text(text)
        assert read_names(tmp_path / "names.txt") == names
