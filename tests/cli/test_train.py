"""``convnet train``: what a run leaves behind, goes on from, and refuses."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from data_files import IDX_NAMES, write_idx
from PIL import Image

import convnet
from convnet.cli import main

SHORT = ["--epochs", "2", "--threads", "1"]


def params(folder):
    return {name: array.tobytes() for name, array in convnet.load_model(folder / "model.npz").params.items()}


def test_a_run_has_the_model_and_an_honest_report(trained, photos):
    names = {path.name for path in trained.iterdir()}
    figures = {"training.png", "confusion.png", "mistakes.png"}
    saved = {"model.npz", "epochs.csv", "report.json", "report.txt"}
    assert names == {"arguments.json", "checkpoints", "trained.npz"} | saved | figures
    report = json.loads((trained / "report.json").read_text())
    assert (report["part"], report["images"], report["epochs"]) == ("validation", 60, 1)
    # Told from the files alone: the part is the one that `split` gives, and the accuracy that of the saved model.
    with pytest.warns(UserWarning, match="1 file of 300"):
        whole = convnet.load_data(photos, size=16, skip_broken=True)["train"]
    part = convnet.split(whole, validation=0.2)["validation"]
    names, probabilities = convnet.load_model(trained / "model.npz").classify(part.files)
    right = [name == path.parent.name for name, path in zip(names, part.files, strict=True)]
    assert report["accuracy"] == np.mean(right)
    assert report["errors"] == 60 - sum(right)
    wrong = sorted(np.flatnonzero(~np.array(right)), key=lambda n: -probabilities[n].max())
    assert [mistake["file"] for mistake in report["mistakes"]] == [str(part.files[n]) for n in wrong[:10]]
    text = (trained / "report.txt").read_text()
    assert f"accuracy {np.mean(right):.2%} on 60 validation images, which were held back from the training" in text
    for path in trained.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 150


@pytest.mark.parametrize(
    "options",
    [["--size", "32", "--epochs", "10"], pytest.param([], marks=pytest.mark.slow)],
    ids=["short", "no options"],
)
def test_four_kinds_of_photographs_are_told_apart(convnet_command, photos, options):
    done = convnet_command("train", photos, *options, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["folder"] == "runs/photos-1"
    assert report["accuracy"] > 0.95
    assert "convnet: warning: load_folder: 1 file of 300 could not be read and left out: disc/disc 0.jpg" in done.err


@pytest.mark.slow
def test_a_training_without_options_reaches_99_percent_of_mnist(convnet_command):
    done = convnet_command("train")
    assert done.code == 0, done.err
    assert "mnist: 70,000 images of 10 classes" in done.err
    report = json.loads((convnet_command.folder / "runs" / "mnist-1" / "report.json").read_text())
    assert report["accuracy"] > 0.99
    assert (report["part"], report["images"]) == ("test", 10_000)
    assert f"accuracy {report['accuracy']:.2%} on 10,000 test images, which the training has not seen" in done.out


def test_the_course_goes_to_standard_error_and_the_result_to_standard_output(convnet_command, tiles):
    done = convnet_command("train", tiles, *SHORT)
    assert done.code == 0
    lines = done.err.splitlines()
    assert lines[0] == f"reading {tiles}"
    assert lines[1:3] == [
        "tiles: 400 images of 3 classes (left, none, top), 8x8 pixels in grey",
        "parts: 320 train, 80 validation",
    ]
    assert lines[3].startswith("recipe: network large, 2 epochs, minibatches of 32, learning rate 0.01 (one-cycle)")
    assert [line.split(":")[0] for line in lines[4:6]] == ["epoch 1/2", "epoch 2/2"]
    assert re.fullmatch(r"20 iterations in \d+\.\d s", lines[6])
    assert done.out.startswith("accuracy ")
    assert "saved in runs/tiles-1: model.npz, epochs.csv, report.json, report.txt, training.png, conf" in done.out
    done = convnet_command("train", tiles, *SHORT, "--quiet", "--json")
    assert done.err == ""
    assert json.loads(done.out) == json.loads((convnet_command.folder / "runs/tiles-2/report.json").read_text())


def test_a_run_overwrites_nothing(convnet_command, tiles):
    for number in (1, 2):
        assert convnet_command("train", tiles, *SHORT).code == 0
        assert (convnet_command.folder / f"runs/tiles-{number}/model.npz").exists()
    before = params(convnet_command.folder / "runs/tiles-1")
    done = convnet_command("train", tiles, *SHORT, "--out", "runs/tiles-1")
    assert done.code == 1
    assert done.error == (
        "convnet: error: runs/tiles-1: expected a new folder for the results, got one that is not empty; take another, "
        "or go on with the run in it by --resume"
    )
    assert params(convnet_command.folder / "runs/tiles-1") == before
    (convnet_command.folder / "empty").mkdir()
    assert convnet_command("train", tiles, *SHORT, "--out", "empty").code == 0


def test_the_same_arguments_give_the_same_bits_and_another_seed_others(convnet_command, tiles):
    for options in ([], ["--threads", "2"], ["--seed", "1"]):
        assert convnet_command("train", tiles, "--epochs", 2, *options).code == 0
    first, second, third = (params(convnet_command.folder / f"runs/tiles-{number}") for number in (1, 2, 3))
    assert first == second != third


def test_a_run_that_was_killed_goes_on_bit_for_bit(convnet_command, tiles):
    options = [str(tiles), "--epochs", "60", "--shift", "1", "--threads", "1"]
    killed = convnet_command.folder / "killed"
    command = [sys.executable, "-P", "-m", "convnet", "train", *options, "--out", str(killed)]
    process = subprocess.Popen([*command, "--checkpoint-seconds", "0.01"], stderr=subprocess.DEVNULL)
    while not any(int(path.stem.split("-")[-1]) for path in (killed / "checkpoints").glob("checkpoint-*.npz")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model.npz").exists()
    done = convnet_command("evaluate", killed)
    assert done.error == (
        f"convnet: error: {killed}: expected a model file or the folder of a run, got no model.npz in it; "
        f"convnet train --resume {killed} ends the training"
    )
    done = convnet_command("train", "--resume", killed)
    assert done.code == 0, done.err
    assert "going on after iteration " in done.err
    assert convnet_command("train", *options, "--out", "whole").code == 0
    assert params(killed) == params(convnet_command.folder / "whole")
    reports = [
        json.loads((folder / "report.json").read_text()) for folder in (killed, convnet_command.folder / "whole")
    ]
    assert reports[0]["mistakes"] == reports[1]["mistakes"]


def test_a_constant_rate_goes_on_for_more_epochs_bit_for_bit(convnet_command, tiles):
    options = [tiles, "--schedule", "constant", "--threads", "1"]
    assert convnet_command("train", *options, "--epochs", 2).code == 0
    assert convnet_command("train", *options, "--epochs", 4).code == 0
    done = convnet_command("train", "--resume", "runs/tiles-1", "--epochs", 4)
    assert done.code == 0, done.err
    assert [line[:9] for line in done.err.splitlines() if line.startswith("epoch")] == ["epoch 3/4", "epoch 4/4"]
    assert params(convnet_command.folder / "runs/tiles-1") == params(convnet_command.folder / "runs/tiles-2")
    run = convnet_command.folder / "runs/tiles-1"
    with open(run / "epochs.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert json.loads((run / "report.json").read_text())["seconds"] == float(rows[-1]["seconds"])
    done = convnet_command("train", "--resume", "runs/tiles-1", "--epochs", 3)
    assert done.err.splitlines()[-1] == (
        "convnet: error: runs/tiles-1: expected at least the 4 epochs that are done, got 3"
    )


def test_a_run_at_its_end_makes_its_report_again(convnet_command, run_folder):
    (run_folder / "model.npz").unlink()
    before = json.loads((run_folder / "report.json").read_text())
    done = convnet_command("train", "--resume", run_folder, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["mistakes"] == before["mistakes"]
    assert (run_folder / "model.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--resume", "RUN", "--epochs", "9"], 1, "expected the 1 epoch of the run, in which its learning rate falls"),
        (["--resume", "RUN", "--seed", "1"], 2, "argument --seed: a run goes on with its own; leave it out"),
        (["--resume", "RUN", "--no-flip"], 2, "argument --flip: a run goes on with its own; leave it out"),
        (["--resume", "RUN", "--no-crop"], 2, "argument --no-crop: a run goes on with its own; leave it out"),
        (["--resume", "none"], 1, "none: expected the folder of a run, with arguments.json, got no folder"),
        (["--resume", "."], 1, ".: expected the folder of a run, with arguments.json, got a folder without it"),
        (["TILES", "--size", "8"], 1, "expected no --size, which is for folders of image files; leave it out"),
        (["TILES", "--no-crop"], 1, "expected no --no-crop, which is for folders of image files; leave it out"),
        (["mnist", "--grey"], 1, "mnist: expected no --grey, which is for folders of image files; leave it out"),
        (["PHOTOS", "--prefix", "x"], 1, "expected no --prefix, which is for folders of IDX files; leave it out"),
        (["mnist", "--test", "0.1"], 1, "mnist: expected no --test, because the data have a test part; leave it out"),
        (["TILES", "--validation", "0"], 1, "expected images to report on, got --validation 0 and no test part"),
        (["TILES", "--validation", "400"], 1, "error: expected images left to train with, got 400 of 400"),
        (["TILES", "--validation", "999"], 1, "error: --validation: expected at most the 400 images, got 999"),
        (["TILES", "--cutout", "99"], 1, "expected a cutout smaller than the images, 8x8 pixels, got 99"),
        (["TILES", "--out", "TILES"], 1, "tiles.npz: expected a new folder for the results, got a file"),
        (["nothing"], 1, "nothing: expected a data set, a file or a folder, but there is nothing of this name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_trained_is_told(convnet_command, run_folder, tiles, photos, arguments, code, message):
    places = {"RUN": run_folder, "TILES": tiles, "PHOTOS": photos}
    done = convnet_command("train", *[places.get(argument, argument) for argument in arguments])
    assert (done.code, done.out) == (code, "")
    assert message in done.err.splitlines()[-1]
    assert not (convnet_command.folder / "runs").exists()


def test_a_run_whose_data_have_changed_does_not_go_on(convnet_command, tiles):
    with np.load(tiles) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    np.savez("own.npz", images=images, labels=labels)
    assert convnet_command("train", "own.npz", *SHORT).code == 0
    images[3, 2, 1] += 1
    np.savez("own.npz", images=images, labels=labels)
    for command in (["train", "--resume"], ["evaluate"]):
        done = convnet_command(*command, "runs/own-1")
        assert done.code == 1
        assert "expected the images that the run was trained with, got others (other arrays: x_" in done.err
    assert convnet_command("train", tiles, "--resume", "runs/own-1").code == 0  # where they are now


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "got a damaged file"),
        ('{"format": "another"}', "got a damaged file"),
        ('{"format": "convnet run", "version": 1}', "got a damaged file"),
        ('{"format": "convnet run", "version": 2}', "expected version 1, got 2; a newer convnet reads it"),
        ("[]", "got a damaged file"),
    ],
)
def test_damaged_arguments_of_a_run_are_told(convnet_command, run_folder, content, message):
    (run_folder / "arguments.json").write_text(content)
    done = convnet_command("train", "--resume", run_folder)
    assert done.code == 1
    assert message in done.error


def test_a_dry_run_says_what_would_be_done_and_does_nothing(convnet_command, tiles):
    done = convnet_command("train", tiles, "--dry-run", "--learning-rate", "0.003", "--network", "small", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["parts"] == {"train": 320, "validation": 80}
    assert found["arguments"]["recipe"]["learning_rate"] == 0.003
    assert found["arguments"]["recipe"]["network"] == "small"
    assert list(convnet_command.folder.iterdir()) == []


def test_four_idx_files_keep_their_test_part(convnet_command, rng):
    folder = convnet_command.folder / "idx"
    folder.mkdir()
    for name, count in zip(IDX_NAMES["MNIST"], (60, 20), strict=True):
        write_idx(folder / name.format("images", 3), rng.integers(0, 256, (count, 8, 8), dtype=np.uint8))
        write_idx(folder / name.format("labels", 1), (np.arange(count) % 3).astype(np.uint8))
    done = convnet_command("train", "idx", *SHORT, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["part"], report["images"]) == ("test", 20)
    assert "parts: 54 train, 6 validation, 20 test" in done.err
    assert all(mistake["file"].startswith("test image ") for mistake in report["mistakes"])


def test_a_training_that_diverges_is_an_error(convnet_command, tiles):
    done = convnet_command("train", tiles, *SHORT, "--network", "small", "--learning-rate", "1e9")
    assert done.code == 1
    assert "try a smaller learning rate" in done.err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["matplotlib", "PIL"])  # matplotlib itself needs Pillow
def test_a_run_without_matplotlib_has_all_but_figures(tiles, tmp_path, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from convnet.cli import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", code, "train", tiles, *SHORT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'the report has no figures: figures need matplotlib: pip install "convnet-cpu[examples]"' in done.stderr
    assert "saved in runs/tiles-1: model.npz, epochs.csv, report.json, report.txt\n" in done.stdout
    assert json.loads((tmp_path / "runs/tiles-1/report.json").read_text())["images"] == 80


def test_a_class_that_a_part_lacks_is_told_once(convnet_command, rng):
    images, labels = rng.integers(0, 256, (62, 8, 8), dtype=np.uint8), np.arange(62) % 3
    labels[:] = np.where(np.arange(62) < 60, labels % 2, 2)
    np.savez("few.npz", images=images, labels=np.array(["a", "b", "rare"])[labels])
    done = convnet_command("train", "few.npz", "--validation", "2", *SHORT)
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if "warning" in line and "rare" in line]
    assert line.endswith(
        "few.npz: the validation part has no image of the class rare; it needs more images, or the part a larger share"
    )
    assert "recipe: network large, 2 epochs, " in done.err
    assert "recipe: network large, 1 epoch, " in convnet_command("train", "few.npz", "--epochs", "1", "--dry-run").err


def test_main_takes_the_arguments_of_the_process(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["convnet", "--version"])
    assert main() == 0
    assert capfd.readouterr().out == f"convnet {convnet.__version__}\n"
