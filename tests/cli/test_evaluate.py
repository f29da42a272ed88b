"""``convnet evaluate``: the right images, the right classes, the right numbers."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import convnet


@pytest.fixture
def model_file(convnet_command):
    """Return the file of a model that says how bright an image is: 0, 1 or 2."""
    model = convnet.Sequential([convnet.Affine(16, 3, rng=np.random.default_rng(0))], (1, 4, 4))
    weight, bias = model.params.values()
    weight[:] = np.array([0, 1, 2]) / 16  # scores 0, m - 64, 2 (m - 96) of the mean level m
    bias[:] = [0, -64, -192]
    model.statistics = convnet.Statistics((1, 4, 4), False, None, None)
    path = convnet_command.folder / "model.npz"
    convnet.save_model(model, path)
    return path


LEVELS = np.array([10, 60, 100, 120, 200, 250])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])


def grey(levels):
    return np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None], (len(levels), 4, 4))


def test_numbers_are_those_of_the_images(convnet_command, model_file):
    labels = np.array([0, 1, 1, 1, 2, 0])
    np.savez("levels.npz", images=grey(LEVELS), labels=labels)
    done = convnet_command("evaluate", model_file, "levels.npz", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["accuracy"] == 4 / 6
    assert report["confusion"] == [[1, 0, 1], [1, 2, 0], [0, 0, 1]]
    assert [row["images"] for row in report["classes"]] == [2, 3, 1]
    assert [row["precision"] for row in report["classes"]] == [1 / 2, 1, 1 / 2]
    assert [row["recall"] for row in report["classes"]] == [1 / 2, 2 / 3, 1]
    worst = [(mistake["file"], mistake["class"], mistake["predicted"]) for mistake in report["mistakes"]]
    assert worst == [("image 5", "0", "2"), ("image 1", "1", "0")]
    done = convnet_command("evaluate", model_file, "levels.npz")
    assert done.out.startswith("accuracy 66.67% on 6 images of levels.npz (2 errors; 95 % confidence: 30.0% to 90.3%)")
    assert "  image 5: 0, predicted 2 at 100.0%" in done.out


@pytest.mark.parametrize(
    ("labels", "names", "accuracy"),
    [
        (["low", "low", "mid", "mid", "high", "low"], ["low", "mid", "high"], 5 / 6),
        ([2, 2, 1, 1, 1, 2], ["low", "mid", "high"], 3 / 6),  # integers are numbers of classes
        ([2, 2, 1, 1, 1, 2], None, 3 / 6),
        (["1", "1", "2", "2", "3", "1"], ["1", "2", "3"], 5 / 6),  # names that are numbers are names
        ([1, 1, 2, 2, 3, 1], ["1", "2", "3"], 5 / 6),
    ],
    ids=["words", "numbers", "no names", "texts of numbers", "numbers from 1"],
)
def test_classes_are_those_of_the_model(convnet_command, model_file, labels, names, accuracy):
    model = convnet.load_model(model_file)
    model.class_names = names
    convnet.save_model(model, model_file)
    np.savez("levels.npz", images=grey(LEVELS), labels=labels)
    done = convnet_command("evaluate", model_file, "levels.npz", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["accuracy"] == accuracy


def test_a_class_that_the_model_lacks_is_told(convnet_command, model_file):
    np.savez("levels.npz", images=grey(LEVELS), labels=["0", "1", "2", "red", "0", "1"])
    done = convnet_command("evaluate", model_file, "levels.npz")
    assert done.code == 1
    assert done.err.endswith("levels.npz: expected the classes of the model, 0, 1, 2, got red, too\n")


def test_the_last_part_is_taken_or_the_one_that_is_asked_for(convnet_command, model_file):
    arrays = {"train_images": grey(LEVELS), "train_labels": PREDICTED}
    np.savez("parts.npz", **arrays, test_images=grey(LEVELS[::2]), test_labels=(PREDICTED[::2] + 1) % 3)
    accuracies = {}
    for options in ([], ["--part", "train"], ["--part", "test"]):
        report = json.loads(convnet_command("evaluate", model_file, "parts.npz", *options, "--json").out)
        accuracies[report["part"], len(options)] = report["accuracy"]
    assert accuracies == {("test", 0): 0, ("train", 2): 1, ("test", 2): 0}
    done = convnet_command("evaluate", model_file, "parts.npz", "--part", "validation")
    assert done.err.endswith("parts.npz: expected a validation part, got train, test\n")


def test_a_run_is_evaluated_on_what_it_has_held_back(convnet_command, trained, photos):
    before = json.loads((trained / "report.json").read_text())
    for model in (trained, trained / "model.npz"):
        report = json.loads(convnet_command("evaluate", model, "--json").out)
        assert {name: before[name] for name in report if name != "model"} == {
            name: value for name, value in report.items() if name != "model"
        }
    done = convnet_command("evaluate", trained, photos)
    assert done.code == 0
    assert "convnet: warning: the model was trained with 239 of these 299 images" in done.err
    assert "on 299 images of" in done.out


def test_images_of_the_training_are_known_wherever_they_lie(convnet_command, tiles):
    with np.load(tiles) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    np.savez("whole.npz", images=images, labels=labels)
    parts = {"test_images": images[300:], "test_labels": labels[300:]}
    np.savez("parts.npz", train_images=images[:300], train_labels=labels[:300], **parts)
    for name, *options in (["whole"], ["parts"], ["parts", "--validation", "0"]):
        assert convnet_command("train", f"{name}.npz", "--epochs", "1", "--quiet", *options).code == 0
    os.rename("whole.npz", "moved.npz")
    np.savez("first.npz", images=images[:300], labels=labels[:300])
    np.savez("last.npz", images=images[300:], labels=labels[300:])
    np.savez("few.npz", images=images[:3], labels=labels[:3])
    known = {}
    for run in ("whole-1", "parts-1", "parts-2"):
        for data in ("moved", "first", "last", "few", "parts"):
            done = convnet_command("evaluate", f"runs/{run}", f"{data}.npz")
            assert done.code == 0
            found = re.search(r"warning: the model was trained with (\d+) of these (\d+) images", done.err)
            known[run, data] = None if found is None else tuple(map(int, found.groups()))
    assert known["whole-1", "moved"] == (320, 400)  # a fifth is held back
    assert known["whole-1", "first"][0] + known["whole-1", "last"][0] == 320
    assert known["parts-1", "first"] == (270, 300)  # a tenth is, beside a test part
    assert known["parts-2", "first"] == (300, 300)
    assert known["parts-2", "few"] == (3, 3)
    for run in ("parts-1", "parts-2"):
        assert known[run, "last"] is known[run, "parts"] is None  # the last part is the test part


def test_missing_checksums_are_told(convnet_command, tiles):
    assert convnet_command("train", tiles, "--epochs", "1", "--quiet", "--out", "lost").code == 0
    os.unlink("lost/trained.npz")
    done = convnet_command("evaluate", "lost", tiles)
    assert done.code == 0
    assert "lost: trained.npz is missing, so that the model may know some of these 400 images" in done.err
    assert "accuracy" in done.out


def test_damaged_checksums_are_told(convnet_command, tiles):
    os.link(tiles, "own.npz")
    assert convnet_command("train", "own.npz", "--epochs", "1", "--quiet").code == 0
    np.savez("runs/own-1/trained.npz", header=np.zeros(3, np.uint8))
    done = convnet_command("evaluate", "runs/own-1", "own.npz")
    assert done.code == 1
    assert "trained.npz: expected a checksum file" in done.err


def test_data_of_a_run_that_are_gone_are_told_and_found_again(convnet_command, tiles):
    os.link(tiles, "own.npz")
    assert convnet_command("train", "own.npz", "--epochs", "1", "--quiet").code == 0
    os.rename("own.npz", "moved.npz")
    for command in (["evaluate", "runs/own-1"], ["train", "--resume", "runs/own-1"]):
        done = convnet_command(*command)
        assert done.code == 1
        assert "own.npz: expected the data of the run, but there is nothing of this name; if they are" in done.err
        assert done.err.endswith("convnet train DATA --resume FOLDER tells the run where, also after its end\n")
    assert convnet_command("train", "moved.npz", "--resume", "runs/own-1").code == 0
    assert convnet_command("evaluate", "runs/own-1").code == 0


def test_a_table_of_a_run_that_is_gone_is_told_and_found_again(convnet_command, photos):
    files = sorted(photos.glob("ring/*"))[:10] + sorted(photos.glob("disc/*"))[-10:]
    folder = convnet_command.folder / "flat"
    folder.mkdir()
    for file in files:
        os.link(file, folder / file.name)
    lines = [f"{file.name},{file.parent.name}" for file in files]
    (convnet_command.folder / "table.csv").write_text("\n".join(["file,label", *lines]))
    options = ["--labels", "table.csv", "--size", "16", "--epochs", "1", "--quiet"]
    assert convnet_command("train", "flat", *options).code == 0
    os.rename("table.csv", "moved.csv")
    done = convnet_command("evaluate", "runs/flat-1")
    assert "table.csv: expected the data of the run" in done.err
    assert "convnet train DATA --labels TABLE --resume FOLDER" in done.err
    assert convnet_command("train", "--resume", "runs/flat-1", "--labels", "moved.csv").code == 0
    assert convnet_command("evaluate", "runs/flat-1").code == 0


def test_images_in_folders_are_read_as_those_of_the_training(convnet_command, trained, rng):
    for name in ("ring", "disc"):
        (convnet_command.folder / "few" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (30, 90, 3), dtype=np.uint8)).save(f"few/{name}/one.png")
    done = convnet_command("evaluate", trained, "few", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    model = convnet.load_model(trained / "model.npz")
    names = model.classify(["few/disc/one.png", "few/ring/one.png"]).names
    assert report["errors"] == (names[0] != "disc") + (names[1] != "ring")
    assert [row["recall"] is None for row in report["classes"]] == [False, True, False, True]


def test_labels_may_stand_in_a_table(convnet_command, trained, photos):
    files = sorted((photos / "ring").iterdir())[:3]
    (convnet_command.folder / "table.csv").write_text(
        "kind,file\n"
        + "".join(f"{kind},{file.name}\n" for kind, file in zip(["ring", "disc", "ring"], files, strict=True))
    )
    options = ["--labels", "table.csv", "--columns", "file", "kind"]
    done = convnet_command("evaluate", trained, photos / "ring", *options, "--json")
    assert done.code == 0, done.err
    names = convnet.load_model(trained / "model.npz").classify(files).names
    assert json.loads(done.out)["errors"] == 3 - sum(
        a == b for a, b in zip(names, ["ring", "disc", "ring"], strict=True)
    )
    assert "convnet: warning: " in done.err  # of the files that the table does not name


def test_what_is_missing_is_told(convnet_command, model_file):
    done = convnet_command("evaluate", model_file)
    assert done.error.endswith("expected the folder of a run, which knows its data, or DATA behind the model")
    done = convnet_command("evaluate", "none.npz")
    assert done.code == 1
    assert "none.npz" in done.error
    model = convnet.load_model(model_file)
    model.statistics = None
    convnet.save_model(model, model_file)
    np.savez("levels.npz", images=grey(LEVELS), labels=PREDICTED)
    done = convnet_command("evaluate", model_file, "levels.npz")
    assert done.err.endswith(
        "expected a model with statistics, which prepare images, got one without; save it with them\n"
    )


def test_options_of_data_need_data(convnet_command, trained):
    done = convnet_command("evaluate", trained, "--part", "train")
    assert done.code == 2
    assert done.err.splitlines()[-1] == ("convnet evaluate: error: argument --part: it belongs to DATA; give DATA, too")
