"""What a report says of predictions."""

import json

import numpy as np
import pytest
from PIL import Image

from convnet.cli.report import draw, interval, measure, written
from convnet.datasets import ImageData


def predictions(count, classes, rng):
    """Return images with labels, and probabilities of which about half are right."""
    labels = rng.integers(0, classes, count)
    shares = rng.random((count, classes))
    shares[np.arange(count), labels] += rng.random(count)
    names = tuple(f"class {label}" for label in range(classes))
    part = ImageData(
        rng.integers(0, 256, (count, 6, 5), dtype=np.uint8), labels, names, None, [f"{n}.png" for n in range(count)]
    )
    return part, shares / shares.sum(axis=1, keepdims=True)


def test_every_number_is_counted_by_hand(rng):
    part, shares = predictions(90, 4, rng)
    report = measure(part, shares)
    predicted = [int(np.argmax(row)) for row in shares]
    pairs = list(zip(part.labels.tolist(), predicted, strict=True))
    assert report["images"] == 90
    assert report["errors"] == sum(true != guess for true, guess in pairs)
    assert report["accuracy"] == sum(true == guess for true, guess in pairs) / 90
    for label, row in enumerate(report["classes"]):
        found = sum(pair == (label, label) for pair in pairs)
        assert row["name"] == f"class {label}"
        assert row["images"] == sum(true == label for true, _ in pairs)
        assert row["recall"] == found / row["images"]
        assert row["precision"] == found / predicted.count(label)
        assert row["f1"] == pytest.approx(2 / (1 / row["recall"] + 1 / row["precision"]))
    assert report["balanced_accuracy"] == pytest.approx(np.mean([row["recall"] for row in report["classes"]]))
    for true, guess in np.ndindex(4, 4):
        assert report["confusion"][true][guess] == pairs.count((true, guess))
    counts = [pair["images"] for pair in report["confused"]]
    assert counts == sorted((pairs.count((i, j)) for i, j in np.ndindex(4, 4) if i != j), reverse=True)[:10]
    for pair in report["confused"]:
        assert pair["images"] == pairs.count((int(pair["class"][6:]), int(pair["predicted"][6:])))
    worst = sorted((n for n, (true, guess) in enumerate(pairs) if true != guess), key=lambda n: -shares[n].max())[:10]
    assert [mistake["file"] for mistake in report["mistakes"]] == [f"{n}.png" for n in worst]
    assert [mistake["probability"] for mistake in report["mistakes"]] == [float(shares[n].max()) for n in worst]
    json.dumps(report, allow_nan=False)


def test_rates_that_do_not_exist_are_none_and_a_dash():
    part = ImageData(np.zeros((3, 4, 4), np.uint8), np.array([0, 0, 1]), ("a", "b", "c"), None, list("xyz"))
    report = measure(part, np.eye(3)[[0, 0, 0]])
    rates = [(row["precision"], row["recall"], row["f1"]) for row in report["classes"]]
    assert rates == [(2 / 3, 1, pytest.approx(0.8)), (None, 0, 0), (None, None, None)]
    rows = written(report, "images").split("\n\n")[1].splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["a", "2", "66.7%", "100.0%", "80.0%"],
        ["b", "1", "-", "0.0%", "0.0%"],
        ["c", "0", "-", "-", "-"],
    ]


# R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_an_interval_is_wilsons(right, count, low, high):
    assert interval(right, count) == pytest.approx([low, high], abs=1e-4)
    assert interval(count - right, count) == pytest.approx([1 - high, 1 - low], abs=1e-4)


def test_a_text_of_few_classes_has_the_matrix_and_one_of_many_the_pairs(rng):
    report = measure(*predictions(90, 4, rng))
    text = written(report, "test images")
    assert text.startswith(
        f"accuracy {report['accuracy']:.2%} on 90 test images ({report['errors']} errors; 95 % confidence: "
    )
    matrix = text.split("\n\n")[2].splitlines()
    assert matrix[0] == "confusion: the class in front, the predicted one above"
    found = [[0 if cell == "." else int(cell) for cell in line[7:].split()] for line in matrix[2:]]
    assert found == report["confusion"]
    report = measure(*predictions(900, 30, rng))
    text = written(report, "test images")
    assert "confusion: " not in text
    first = report["confused"][0]
    assert f"most often confused:\n  {first['class']} taken for {first['predicted']}: {first['images']}\n" in text
    assert measure(*predictions(900, 300, rng))["confusion"] is None


def test_no_mistakes_are_no_lines():
    part = ImageData(np.zeros((2, 4, 4), np.uint8), np.array([0, 1]), ("a", "b"))
    text = written(measure(part, np.eye(2)), "images")
    assert text.startswith("accuracy 100.00% on 2 images (0 errors; 95 % confidence: 34.2% to 100.0%)")
    assert "worst" not in text


def test_figures_of_few_and_many_classes(tmp_path, rng):
    assert draw(*predictions(90, 4, rng), tmp_path) == ["confusion.png", "mistakes.png"]
    for name in ("confusion.png", "mistakes.png"):
        with Image.open(tmp_path / name) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert draw(*predictions(200, 70, rng), tmp_path) == ["mistakes.png"]
    part = ImageData(np.zeros((2, 4, 4), np.uint8), np.array([0, 1]), ("a", "b"))
    assert draw(part, np.eye(2), tmp_path) == ["confusion.png"]
