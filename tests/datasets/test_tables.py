"""Tables: columns in any order, with or without a header, and what is wrong with a cell."""

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convnet import load_csv

WORDS = ["ant", 'a "quoted" bee', "cat, or dog", "dog"]


def write(path, images, labels, place=0, header=None, **options):
    """Write a table with Python's own writer of CSV; the label stands at `place`."""
    text = io.StringIO()
    writer = csv.writer(text, **options)
    rows = [list(map(str, row)) for row in images.reshape(len(images), -1).tolist()]
    for row, label in zip(rows, labels, strict=True):
        row.insert(place if place >= 0 else len(row) + 1 + place, str(label))
    writer.writerows([header, *rows] if header else rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 5),
    st.sampled_from([0, -1, 2]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["x.csv", "x.csv.gz"]),
    st.integers(0, 99),
)
def test_any_table_gives_its_images(tmp_path, side, place, has_words, has_header, delimiter, quoting, name, seed):
    rng = np.random.default_rng(seed)
    images, classes = rng.integers(0, 256, (5, side, side), dtype=np.uint8), np.array([3, 0, 2, 1, 3])
    place = place if place < side * side else 0
    labels = [WORDS[k] for k in classes] if has_words else classes - 1
    header = [f"pixel{index}" for index in range(side * side)]
    header.insert(place if place >= 0 else len(header), "Label")
    written = {"delimiter": delimiter, "quoting": quoting, "lineterminator": rng.choice(["\n", "\r\n"])}
    write(tmp_path / name, images, labels, place, header if has_header else None, **written)
    # The column can be told from the pixels by its name, or because it alone is no number.
    choices = ["label", None] if has_header else [None] if has_words else []
    for label in [place, np.int64(place), *choices]:
        (data,) = load_csv(tmp_path / name, label=label, delimiter=delimiter).values()
        np.testing.assert_array_equal(data.images, images)
        assert data.class_names == (
            ('a "quoted" bee', "ant", "cat, or dog", "dog") if has_words else ("-1", "0", "1", "2")
        )
        assert [data.class_names[k] for k in data.labels] == [str(label) for label in labels]


def test_parts_have_the_same_classes(tmp_path, rng):
    images = rng.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    files = [write(tmp_path / f"{part}.csv", images[part : part + 2], [part, part + 7], -1) for part in range(3)]
    with pytest.warns(UserWarning, match="has no image of the class") as caught:
        parts = load_csv(*files, label=-1, image_shape=(4, 5, 3))
    assert caught[0].filename == __file__
    assert list(parts) == ["train", "validation", "test"]
    assert [[data.class_names[k] for k in data.labels] for data in parts.values()] == [
        ["0", "7"],
        ["1", "8"],
        ["2", "9"],
    ]
    np.testing.assert_array_equal(parts["test"].images, images[2:4])


def test_more_lines_than_are_read_at_a_time(tmp_path, rng):
    images, labels = rng.integers(0, 256, (2345, 2, 2), dtype=np.uint8), rng.integers(0, 3, 2345)
    (data,) = load_csv(write(tmp_path / "x.csv", images, labels), label=0).values()
    np.testing.assert_array_equal(data.images, images)
    assert data.labels.tolist() == labels.tolist()


def test_whole_numbers_may_have_a_point_and_spaces(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf cat , 1.0, 2,3 ,255\n\n dog,0,1e2,0.0,4\n")
    (data,) = load_csv(tmp_path / "x.csv").values()
    assert data.images.tolist() == [[[1, 2], [3, 255]], [[0, 100], [0, 4]]]
    assert data.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "got an empty file"),
        ("\n\n", {}, "got an empty file"),
        ("label,a,b,c,d\n", {}, "got a header alone"),
        ("1,2,3,4,5\n", {}, "got numbers alone: label=0 says that it is the first"),
        ("1,2,3,4,5\n", {"label": "label"}, "expected one column called label, got 0 among 1, 2, 3, 4, 5"),
        ("1,2,3,4,5\n", {"label": 5}, "expected one of 5 columns, got the number 5"),
        ("1,2,3,4,5\n", {"label": -6}, "expected one of 5 columns, got the number -6"),
        ("1,2,3,4,5\n", {"label": "a", "header": False}, "there is no header"),
        ("a,b,c,d,e\n1,2,3,4,5\n", {}, "expected one column called label or .*, got 0 among a, b, c, d, e"),
        ("label,class,c,d,e\n1,2,3,4,5\n", {}, "got 2 among"),
        ("5\n", {}, "expected columns for a label and the pixels, got one"),
        ("label,a,b,c,d\nx,1,2,3,4\ny,1,2,3\n", {}, "5 columns as in the first line, got 4 in line 3"),
        ('label,a,b,c,d\nx,1,"2,3,4\n', {}, "5 columns as in the first line, got 1 in line 2"),
        ("label,a,b,c,d\nx,1,2,3,4\n\n,1,2,3,4\n", {}, "expected a label in line 4, got an empty cell"),
        ("label,a,b,c,d\nx,1,2,3,256\n", {}, r"got '256' in line 2, column 5 \('d'\)"),
        ("a,b,label,c,d\n1,2,x,-1,4\n", {}, r"got '-1' in line 2, column 4 \('c'\)"),
        ("x,1,2,3,4\nx,1,2.5,3,4\n", {}, "got '2.5' in line 2, column 3"),
        ("x,1,2,3,4\nx,1,nan,3,4\n", {}, "got 'nan' in line 2"),
        ("x,1,2,3,4\nx,1,,3,4\n", {}, "got '' in line 2, column 3"),
        ("x,1,2,3,4\nx,1,1_0,3,4\n", {}, "got '1_0' in line 2, column 3"),
        ("x,1,2,3,4\nx,1,\u0661,3,4\n", {}, "in line 2, column 3"),
        ("x,1,2,3,4\nx,1,1e999,3,4\n", {}, "got '1e999' in line 2, column 3"),
        ("x,1,2,3\nx,1,2,3\n", {}, r"got 3 columns beside the label: image_shape= says"),
        ("x,1,2,3,4\n", {"image_shape": (3, 1)}, r"expected flat images of shape \(N, 3\)"),
        ("x,1,2,3,4\n", {"image_shape": 4}, "load_csv: image_shape: expected a shape"),
        ("x,1,2,3,4\n", {"delimiter": ", "}, "load_csv: delimiter: expected one character"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, options, message):
    (tmp_path / "x.csv").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_csv(tmp_path / "x.csv", **options)
    assert "x.csv" in str(caught.value) or "load_csv" in str(caught.value)


def test_other_bytes_and_missing_files_are_named(tmp_path):
    path = tmp_path / "x.csv"
    with pytest.raises(FileNotFoundError, match=r"x\.csv: expected a table"):
        load_csv(path)
    path.write_bytes("größe,1,2,3,4\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"x\.csv: expected a table in UTF-8"):
        load_csv(path)
    path.write_bytes(gzip.compress(b"x,1\n" * 1000)[:-9])
    with pytest.raises(ValueError, match=r"x\.csv: expected a whole gzip file"):
        load_csv(path)
    for label in (True, 1.0, b"label"):
        with pytest.raises(TypeError, match="load_csv: label: expected the name or the number of a column"):
            load_csv(path, label=label)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.sampled_from('0159,.-;"\nab \t\r\u0663'), max_size=40),
    st.sampled_from([None, 0, -1, 1, "a", "label"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, (1, 1), (2, 1), (1,)]),
)
def test_whatever_a_table_holds_gives_images_or_a_message_of_ours(tmp_path, text, label, header, shape):
    (tmp_path / "x.csv").write_text(text, "utf-8", newline="")
    try:
        parts = load_csv(tmp_path / "x.csv", label=label, header=header, image_shape=shape)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
        assert str(error).startswith((str(tmp_path), "load_csv"))  # noqa: PT017
    else:
        assert len(parts["train"].labels) == len(parts["train"].images) > 0
