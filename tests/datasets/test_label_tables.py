"""Folders of images with a table of their labels: its columns, its names of files, and what does not fit."""

import csv
import gzip
import io
import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convnet
from convnet import load_data, load_folder

Image = pytest.importorskip("PIL.Image")
NAMES = ["b.png", "a.PNG", "deep/b.png", "deep/10.png", "c.d.bmp"]


def write_images(folder, names=NAMES):
    """Write images of which each pixel says its place among the names."""
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), level, np.uint8)).save(folder / name)
    return folder


def write_table(path, rows, delimiter=",", **options):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, **options).writerows(rows)
    content = text.getvalue().encode("utf-8-sig" if options else "utf-8")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def levels(part):
    assert (part.images == part.images[:, :1, :1]).all()
    return part.images[:, 0, 0].tolist()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.permutations(range(5)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([{}, {"quoting": csv.QUOTE_ALL}]),
    st.sampled_from(["labels.csv", "labels.csv.gz", "labels"]),
)
def test_any_table_gives_its_images(
    tmp_path, order, has_suffix, has_words, has_header, more, is_swapped, delimiter, options, name
):
    folder = write_images(tmp_path / "images")
    words = ["cat, or dog", "ant", "ant", "bee", "bee"]
    labels = [words[level] if has_words else (10 * level) % 30 - 5 for level in order]
    rows = []
    for level, label in zip(order, labels, strict=True):
        file = NAMES[level] if has_suffix else NAMES[level].rpartition(".")[0]
        rows.append([*([label, file] if is_swapped else [file, label]), *more * ["7"]])
    header = [*(["Breed", "id"] if is_swapped else ["id", "Breed"]), "x", "y"][: 2 + more]
    table = write_table(tmp_path / name, [header, *rows] if has_header else rows, delimiter, **options)
    choices = [(1, 0) if is_swapped else (0, 1)]
    if has_header:
        choices.append(("ID", "breed"))
    if not more:
        choices.append(None)
    for columns in choices:
        (part,) = load_folder(folder, labels=table, columns=columns).values()
        assert levels(part) == list(order)
        assert [part.class_names[k] for k in part.labels] == [str(label) for label in labels]
        assert list(part.class_names) == [str(label) for label in sorted(set(labels))]
    (part,) = load_folder(folder, labels={row[is_swapped]: row[1 - is_swapped] for row in rows}).values()
    assert levels(part) == list(order)
    assert [part.class_names[k] for k in part.labels] == [str(label) for label in labels]


def test_a_model_answers_with_the_words_of_the_table(tmp_path):
    """The layout of a contest: a folder of images, a table of their labels, and a folder of images without any."""
    rng = np.random.default_rng(0)
    rows = [["id", "breed"]]
    for number in range(60):
        breed = ("beagle", "pug")[number % 2]
        pixels = rng.integers(0, 80, (20, 16 + number % 5, 3)) + np.array([[150, 0, 0], [0, 0, 150]])[number % 2]
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "train" / f"{number:03x}.png")
        rows.append([f"{number:03x}", breed])
    write_table(tmp_path / "labels.csv", rows)
    photos = load_data(tmp_path / "train", labels=tmp_path / "labels.csv", size=8)["train"]
    data, statistics = convnet.preprocess_parts(convnet.split(photos, validation=0.2))
    model = convnet.ConvNet1((3, 8, 8), num_filters=4, hidden_size=10, num_classes=2)
    model.statistics, model.class_names = statistics, photos.class_names
    convnet.Solver(model, data, convnet.Momentum(0.01), batch_size=10, epochs=5).train()
    files = sorted((tmp_path / "train").iterdir())
    assert model.classify(files).names == [breed for _, breed in rows[1:]]


def test_class_names_are_the_order(tmp_path):
    folder = write_images(tmp_path / "images")
    labels = dict(zip(NAMES, [0, 2, 1, 2, 0], strict=True))
    (part,) = load_folder(folder, labels=labels, class_names=["x", "y", "z"]).values()
    assert (part.labels.tolist(), part.class_names) == ([0, 2, 1, 2, 0], ("x", "y", "z"))
    words = {name: "zyx"[label] for name, label in labels.items()}
    (part,) = load_folder(folder, labels=words, class_names=["x", "y", "z"]).values()
    assert part.labels.tolist() == [2, 0, 1, 0, 2]
    with pytest.raises(ValueError, match=r"expected classes among x, y, as class_names says, got z$"):
        load_folder(folder, labels=words, class_names=["x", "y"])


def test_images_without_a_label_are_told(tmp_path):
    folder = write_images(tmp_path / "images")
    (folder / ".hidden.png").write_bytes(b"nothing")
    table = write_table(tmp_path / "labels.csv", [["b", 1], ["a", 0]])
    message = (
        r"3 images of 5 in .*images left out, without a label in .*labels\.csv: c\.d\.bmp, deep.10\.png, deep.b\.png"
    )
    with pytest.warns(convnet.ConvnetWarning, match=message) as caught:
        (part,) = load_folder(folder, labels=table).values()
    assert caught[0].filename == __file__
    assert levels(part) == [0, 1]


def test_files_that_are_missing_are_named_or_left_out(tmp_path):
    folder = write_images(tmp_path / "images")
    rows = [["file", "label"], *([name, "x"] for name in NAMES), ["away.png", "x"], ["far.png", "y"]]
    table = write_table(tmp_path / "labels.csv", rows)
    message = (
        r"labels\.csv: expected image files in .*images, got none for 'away\.png' in line 7; 2 files of 7 are missing$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_folder(folder, labels=table)
    with pytest.warns(convnet.ConvnetWarning, match=r"2 files of 7 in .* are missing in .*: away\.png, far\.png"):
        (part,) = load_folder(folder, labels=table, skip_broken=True).values()
    assert levels(part) == [0, 1, 2, 3, 4]
    # A first line that names a file is no header, even if the file is missing.
    table = write_table(tmp_path / "labels.csv", [["away.png", "x"], *([name, "x"] for name in NAMES)])
    with pytest.raises(FileNotFoundError, match=r"got none for 'away\.png' in line 1$"):
        load_folder(folder, labels=table)


def test_a_broken_file_is_named_or_left_out(tmp_path):
    folder = write_images(tmp_path / "images")
    (folder / "a.PNG").write_bytes(b"no image")
    labels = dict(zip(NAMES, "xyxyx", strict=True))
    with pytest.raises(ValueError, match=r"a\.PNG: expected an image file"):
        load_folder(folder, labels=labels)
    with pytest.warns(convnet.ConvnetWarning, match="1 file of 5 could not be read"):
        (part,) = load_folder(folder, labels=labels, skip_broken=True).values()
    assert levels(part) == [0, 2, 3, 4]
    assert [part.class_names[k] for k in part.labels] == list("xxyx")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, r"labels\.csv: expected a table with a line for each image, got an empty file"),
        ([["id", "label"]], {}, "expected a line for each image, got a header alone"),
        (
            [["id"], ["b"]],
            {},
            r"expected two columns, the names of the files and the labels, got id; columns=\(file, l",
        ),
        ([["id", "a", "c"], ["b", 0, 1]], {}, "expected two columns, .* got id, a, c; columns="),
        ([["id", "a"], ["b", 0, 1]], {}, "expected 2 columns as in the first line, got 3 in line 2"),
        ([["id", "a"], ["b", ""]], {}, "expected a file and a label in line 2, got an empty cell"),
        ([["b", 0], ["b.png", 0]], {}, r"one label for each file, got b\.png in line 1 and again in line 2; .*binary"),
        (
            [["id", "a"], ["b", 0]],
            {"columns": ("id", "breed")},
            "expected one column called 'breed', got 0 among id, a",
        ),
        ([["id", "id"], ["b", 0]], {"columns": ("id", 1)}, "expected one column called 'id', got 2 among id, id"),
        ([["id", "a"], ["b", 0]], {"columns": (0, 2)}, "columns: expected one of 2 columns, got the number 2"),
        ([["id", "a"], ["10", 0]], {}, r"got none for '10' in line 2; give the folder .*images.deep$"),
    ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, rows, options, message):
    folder = write_images(tmp_path / "images")
    table = write_table(tmp_path / "labels.csv", rows)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_folder(folder, labels=table, **options)


def test_numbers_with_zeros_in_front_are_words(tmp_path):
    folder = write_images(tmp_path / "images", ["a.png", "b.png", "c.png"])
    for labels, names in ((["01", "1", "1"], ("01", "1")), (["007", "010", "007"], ("007", "010"))):
        table = write_table(tmp_path / "labels.csv", [["id", "label"], *zip("abc", labels, strict=True)])
        part = load_folder(folder, labels=table)["train"]
        assert part.class_names == names
        assert [part.class_names[label] for label in part.labels] == labels


def test_a_first_line_with_a_known_label_is_no_header(tmp_path):
    folder = write_images(tmp_path / "images", ["b.png", "c.png"])
    table = write_table(tmp_path / "labels.csv", [["a", "cat"], ["b", "cat"], ["c", "dog"]])
    with pytest.raises(FileNotFoundError, match="got none for 'a' in line 1"):
        load_folder(folder, labels=table)


def test_a_table_in_the_folder_is_named_by_its_path(tmp_path):
    folder = write_images(tmp_path / "images", ["a.png", "b.png"])
    table = write_table(folder / "labels.csv", [["a", "cat"], ["b", "dog"]])
    with pytest.raises(FileNotFoundError, match=rf"^labels\.csv: .*got nothing there; give {re.escape(str(table))}$"):
        load_folder(folder, labels="labels.csv")
    assert load_folder(folder, labels=table)["train"].class_names == ("cat", "dog")


def test_names_that_begin_with_the_folder_are_told(tmp_path):
    folder = write_images(tmp_path / "train", ["a.png", "b.png"])
    table = write_table(tmp_path / "labels.csv", [["train/a.png", "cat"], ["train/b.png", "dog"]])
    remedy = f"give the folder {tmp_path}, for the table begins its names with train"
    with pytest.raises(FileNotFoundError, match=re.escape(remedy)):
        load_folder(folder, labels=table)
    assert load_folder(tmp_path, labels=table)["train"].class_names == ("cat", "dog")


def test_two_files_for_one_name_are_named(tmp_path):
    folder = write_images(tmp_path / "images", ["a.png", "a.bmp"])
    with pytest.raises(ValueError, match=r"labels: expected one file for 'a', got a\.bmp, a\.png"):
        load_folder(folder, labels={"a": 1})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"labels": ["x", "y"]},
            TypeError,
            r"labels: expected the path of a table, or a dictionary .*dict\(zip\(frame",
        ),
        ({"labels": {}}, TypeError, "labels: expected names of files as texts"),
        ({"labels": {3: 4}}, TypeError, "labels: expected names of files as texts"),
        (
            {"labels": dict.fromkeys(NAMES, 0.5)},
            TypeError,
            "expected integer labels, texts, or one-hot rows, got dtype float64",
        ),
        ({"labels": "absent.csv"}, FileNotFoundError, "absent.csv: expected a table"),
        ({"columns": (0, 1)}, ValueError, "columns: expected the path of a table as labels=, got None"),
        ({"labels": {"b": 1}, "columns": (0, 1)}, ValueError, "columns: expected the path of a table"),
        ({"labels": "labels.csv", "columns": "id"}, TypeError, "columns: expected two columns, .* got 'id'"),
        ({"labels": "labels.csv", "columns": (0, 1.5)}, TypeError, "columns: expected two columns"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        load_folder(write_images(tmp_path / "images"), **options)


def test_other_folders_are_named_with_the_remedy(tmp_path):
    folder = write_images(tmp_path / "images", ["a.png", "b.png"])
    with pytest.raises(
        ValueError,
        match='if they are one class, give the folder above; if a table has their labels, give it, too: labels="',
    ):
        load_folder(folder)
    with pytest.raises(FileNotFoundError, match="absent: expected a folder of images, got nothing there"):
        load_folder(tmp_path / "absent", labels={"a": 1})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected a folder of images, got no file that ends in \.png"):
        load_folder(tmp_path / "empty", labels={"a": 1})
    table = write_table(tmp_path / "labels.csv", [["id", "label"], ["a", "cat"], ["b", "dog"]])
    with pytest.raises(
        ValueError, match=r"got 'a' in line 2, .*; load_folder\(folder, labels=table\) takes a table of"
    ):
        load_data(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_folder(folder, labels=table)["train"].class_names == ("cat", "dog")


CELLS = st.sampled_from(
    ["b", "b.png", "a", "deep/10", "../b.png", "", " ", "0", "1.5", "cat", '"', "\u00e9", "\0", "b\rc"]
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=30), st.lists(st.lists(CELLS, max_size=3), max_size=5)),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([None, (0, 1), (1, 0), (-1, 0), ("cat", "b"), (7, 0), ("a", "a")]),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")
def test_whatever_a_table_holds_gives_images_or_a_message_of_ours(tmp_path, content, delimiter, columns, skips):
    folder = tmp_path / "images" if (tmp_path / "images").exists() else write_images(tmp_path / "images")
    if not isinstance(content, bytes):
        content = "\n".join(delimiter.join(row) for row in content).encode()
    (tmp_path / "labels.csv").write_bytes(content)
    try:
        (part,) = load_folder(folder, labels=tmp_path / "labels.csv", columns=columns, skip_broken=skips).values()
    except (ValueError, FileNotFoundError) as error:
        assert str(error).startswith(str(tmp_path / "labels.csv"))  # noqa: PT017
        assert "expected" in str(error)  # noqa: PT017
    else:
        assert len(part.images) == len(part.labels) == len(set(levels(part)))
