"""Data sets of the command line: sizes of images, parts, and who reads what."""

from collections import Counter

import numpy as np
import pytest
from data_files import IDX_NAMES, write_idx_files
from PIL import Image

from convnet.cli.data import Source, chosen_size, describe, divided
from convnet.datasets import ImageData, make_parts


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(28, 28): 9}, (28, 28)),
        ({(48, 64): 9}, (48, 64)),
        ({(48, 65): 9}, (48, 48)),
        ({(480, 640): 9}, (64, 64)),
        ({(480, 640): 5, (30, 90): 4}, (64, 64)),
        ({(480, 640): 4, (30, 47): 5}, (24, 24)),
        ({(3, 5): 1, (5, 3): 1}, (8, 8)),
        ({}, (64, 64)),
    ],
)
def test_images_become_squares_of_at_most_64_pixels_unless_they_are_small(sizes, expected):
    assert chosen_size(Counter(sizes)) == expected


def data(count=50, classes=3):
    labels = np.arange(count) % classes
    return ImageData(np.zeros((count, 8, 8), np.uint8), labels, tuple("abcdef"[:classes]), None, list(range(count)))


def sizes_of(parts):
    return {name: len(part.images) for name, part in parts.items()}


@pytest.mark.parametrize(
    ("given", "validation", "test", "expected"),
    [
        ({"train": 50}, None, None, {"train": 40, "validation": 10}),
        ({"train": 50}, 0.5, None, {"train": 25, "validation": 25}),
        ({"train": 50}, 7, 9, {"train": 34, "validation": 7, "test": 9}),
        ({"train": 50}, None, 0.2, {"train": 35, "validation": 5, "test": 10}),
        ({"train": 50, "test": 9}, None, None, {"train": 45, "validation": 5, "test": 9}),
        ({"train": 50, "test": 9}, 0, None, {"train": 50, "test": 9}),
        ({"train": 12_000, "test": 9}, None, None, {"train": 11_000, "validation": 1000, "test": 9}),
        ({"train": 50, "validation": 9}, None, None, {"train": 50, "validation": 9}),
        ({"train": 50, "validation": 9}, None, 10, {"train": 40, "validation": 9, "test": 10}),
        ({"train": 50, "validation": 9, "test": 8}, None, None, {"train": 50, "validation": 9, "test": 8}),
    ],
)
def test_parts_are_held_back_where_the_data_have_none(given, validation, test, expected):
    parts, sizes = divided({name: data(count) for name, count in given.items()}, validation, test, "x")
    assert sizes_of(parts) == expected
    again = {name: None if name in given else size for name, size in sizes.items()}
    repeated, _ = divided({name: data(count) for name, count in given.items()}, again["validation"], again["test"], "x")
    assert {name: part.files for name, part in parts.items()} == {name: part.files for name, part in repeated.items()}


@pytest.mark.parametrize(
    ("parts", "validation", "test", "message"),
    [
        ({"train": data(), "test": data()}, None, 0.1, "x: expected no --test, because the data have a test part"),
        ({"train": data(), "validation": data()}, 5, None, "x: expected no --validation, because the data have a"),
        ({"test": data()}, None, None, "x: expected images to train with, got only the parts test"),
        ({"train": data()}, 0, None, "x: expected images to report on, got --validation 0 and no test part"),
        ({"train": data(classes=1)}, None, None, "x: expected images of at least two classes, got one, a"),
    ],
)
def test_parts_that_are_of_no_use_are_told(parts, validation, test, message):
    with pytest.raises(ValueError, match=message):
        divided(parts, validation, test, "x")


def test_a_source_reads_as_it_says(tmp_path, rng):
    for number in range(6):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30 + number, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    source = Source(str(tmp_path / "images")).resolved()
    assert source.size == (16, 16)
    part = source.read()["train"]
    assert part.images.shape == (6, 16, 16, 3)
    assert [path.name for path in part.files] == ["0.png", "2.png", "4.png", "1.png", "3.png", "5.png"]
    assert Source(str(tmp_path / "images"), (4, 6), grey=True).read()["train"].images.shape == (6, 4, 6)
    whole = Source(str(tmp_path / "images"), (16, 16), crop=False).read()["train"]
    assert (whole.images[:, 0] == 255).all()  # the ground above what is wider than high
    (tmp_path / "table.csv").write_text("kind,file\n" + "".join(f"k{n % 3},{n}.png\n" for n in range(6)))
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (tmp_path / "images").glob("*/*"):
        (flat / path.name).write_bytes(path.read_bytes())
    table = Source(str(flat), labels=str(tmp_path / "table.csv"), columns=("file", "kind")).resolved()
    assert (table.size, table.read()["train"].class_names) == ((16, 16), ("k0", "k1", "k2"))


def test_a_source_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Source().name == "mnist"
    assert Source("photos/").name == "photos"
    assert Source("x/train.csv.gz").name == "train"
    assert Source(".").name == tmp_path.name
    assert Source("/").name == "data"


def test_mnist_is_read_from_the_package(mnist):
    parts = Source().resolved().read()
    assert sizes_of(parts) == {"train": 60_000, "test": 10_000}
    np.testing.assert_array_equal(parts["test"].labels, mnist[3])
    assert parts["test"].files[7] == "test image 7"


def test_a_description_counts(rng):
    parts = make_parts((np.zeros((1200, 5, 6, 3), np.uint8), np.arange(1200) % 3), class_names=["a", "b", "c"])
    assert describe(parts, "x") == "x: 1,200 images of 3 classes (a, b, c), 5x6 pixels in colours\nparts: 1,200 train"


def test_tables_and_folders_of_parts_are_read(tmp_path, rng):
    images = rng.integers(0, 256, (9, 3, 3), dtype=np.uint8)
    lines = [",".join(map(str, [n % 3, *image.reshape(-1)])) for n, image in enumerate(images)]
    (tmp_path / "train.csv").write_text("\n".join(["label," + ",".join(f"p{n}" for n in range(9)), *lines]))
    part = Source(str(tmp_path / "train.csv")).resolved().read()["train"]
    np.testing.assert_array_equal(part.images, images)
    assert part.labels.tolist() == [n % 3 for n in range(9)]
    with pytest.raises(ValueError, match="expected no --size, which is for folders of image files"):
        Source(str(tmp_path / "train.csv"), (4, 4)).read()
    for part in ("train", "val", "test"):
        for name in "ab":
            (tmp_path / "set" / part / name).mkdir(parents=True)
            Image.fromarray(images[0]).save(tmp_path / "set" / part / name / "0.png")
    parts, held_back = divided(Source(str(tmp_path / "set")).resolved().read(), None, None, "set")
    assert (sizes_of(parts), held_back) == ({"train": 2, "validation": 2, "test": 2}, {"validation": 0, "test": 0})
    assert parts["train"].images.shape == (2, 3, 3)


def test_remedies_are_options_of_the_command_line(tmp_path, convnet_command, rng):
    (tmp_path / "flat").mkdir()
    Image.fromarray(rng.integers(0, 256, (3, 3), dtype=np.uint8)).save("flat/0.png")
    (tmp_path / "table.csv").write_text("file,kind,more\n0.png,a,b\n")
    (tmp_path / "files.csv").write_text("file,label\n0.png,a\n")
    (tmp_path / "sets").mkdir()
    for name in ("a", "b"):
        write_idx_files(tmp_path / "sets", [f"{name}-{text}" for text in IDX_NAMES["MNIST"]], rng)
    (tmp_path / "x.txt").touch()
    for arguments, remedy in (
        (["flat"], "if a table has their labels, give it, too: --labels labels.csv"),
        (["flat", "--labels", "table.csv"], "--columns FILE LABEL says which two"),
        (["files.csv"], "the folder of the files with --labels takes a table of files and labels"),
        (["sets"], "; --prefix says which"),
        (["x.txt"], "got another file"),
    ):
        done = convnet_command("train", *arguments)
        assert done.code == 1
        assert done.err.endswith(f"{remedy}\n")
