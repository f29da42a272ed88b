"""The examples, run as a user would, and a short real training run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convnet

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "train.py"


def run(*arguments, script=EXAMPLE, timeout=300, **environment):
    # No DISPLAY: figures have to be drawn without a screen.
    variables = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / script, *map(str, arguments)],
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_trains_reports_saves_and_draws(tmp_path, digits, mnist):
    output, gif = tmp_path / "new" / "results", tmp_path / "filters.gif"
    options = ["--data", digits, "--epochs", 3, "--seed", 4, "--filters-gif", gif]
    result = run(*options, "--output", output, "--target-accuracy", 0.85)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert len(re.findall(r"^epoch [123]/3: loss .*$", result.stdout, re.MULTILINE)) == 3
    accuracy = float(re.search(r"^test accuracy (\d+\.\d\d)% on 1000 images$", result.stdout, re.MULTILINE)[1])
    assert {path.name for path in output.iterdir()} == {
        "checkpoints",
        "model.npz",
        "page.html",
        "examples.png",
        "training.png",
        "filters.png",
    }

    model = convnet.load_model(output / "model.npz")
    right = model.predict_images(mnist[2][:1000]) == mnist[3][:1000]
    assert 100 * right.mean() == pytest.approx(accuracy, abs=0.006)
    for path in output.glob("*.png"):
        with Image.open(path) as image:
            image.load()
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) >= 600
        assert len(np.unique(pixels)) > 20
    assert gif.stat().st_size <= 3_000_000
    with Image.open(gif) as image:
        assert 90 <= image.n_frames <= 100

    result = run(output / "model.npz", "--data", digits, "--output", tmp_path / "errors", script="errors.py")
    assert result.returncode == 0, result.stderr
    errors = round(1000 * (1 - accuracy / 100))
    assert f"test accuracy {accuracy:.2f}%: {errors} errors in 1000 images" in result.stdout
    assert len(re.findall(r"^  \d taken for \d: \d+ times$", result.stdout, re.MULTILINE)) == 5
    assert {path.name for path in (tmp_path / "errors").iterdir()} == {"confusion.png", "errors.png"}


def test_same_seed_same_output(tmp_path, digits):
    def lines(seed, name):
        result = run("--data", digits, "--epochs", 1, "--seed", seed, "--output", tmp_path / name)
        assert result.returncode == 0, result.stderr
        return re.findall(r"loss \d\.\d+|accuracy \d+\.\d+", result.stdout), (
            tmp_path / name / "model.npz"
        ).read_bytes()

    first, again, other = lines(1, "a"), lines(1, "b"), lines(2, "c")
    assert first[0] == again[0]
    weights = [convnet.load_model(tmp_path / name / "model.npz").params["affine1.weight"].tobytes() for name in "abc"]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    assert first[0] != other[0]


def test_target_accuracy_that_is_missed_fails(tmp_path, digits):
    result = run("--data", digits, "--epochs", 1, "--output", tmp_path, "--target-accuracy", 1)
    assert result.returncode == 1
    assert result.stderr == "the test accuracy is below the target of 100.00%\n"
    assert (tmp_path / "model.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-accuracy", "98.8"], "invalid fraction value: '98.8'"),
        (["--target-accuracy", "nan"], "invalid fraction value: 'nan'"),
        (["--data", "no/such/folder"], "error: .*train-images-idx3-ubyte: expected this file"),
        (["--learning-rate", "-1"], "error: learning_rate: expected a finite number above 0, got -1.0"),
        (["--epochs", "0"], "error: epochs: expected at least 1, got 0"),
        (["--batch-size", "many"], "invalid int value: 'many'"),
        (
            ["--learning-rate", "1e20", "--epochs", "1"],
            "error: the loss of iteration . is .*try a smaller learning rate",
        ),
    ],
)
def test_wrong_options_are_one_clear_error(tmp_path, digits, arguments, message):
    data = [] if "--data" in arguments else ["--data", digits]
    result = run(*data, *arguments, "--output", tmp_path)
    assert result.returncode != 0
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.stderr


def test_without_the_extras_it_trains_and_says_what_is_left_out(tmp_path, digits):
    # Hides the three from the finder that looks through the installed packages.
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "def find_others(name, path=None, target=None):\n"
        "    return None if name.partition('.')[0] in ('matplotlib', 'tqdm', 'PIL') else find(name, path, target)\n"
        "PathFinder.find_spec = find_others\n"
    )
    output = tmp_path / "results"
    result = run("--data", digits, "--epochs", 1, "--output", output, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    before, _, after = result.stdout.partition("training for")
    result = run("--data", digits, "--filters-gif", tmp_path / "a.gif", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("error: an animation needs Pillow: pip install")
    for package, what in (("matplotlib", "figures"), ("tqdm", "progress bar")):
        assert f'{package} is not installed, so there will be no {what}: pip install ".[examples]" adds it' in before
    assert "test accuracy" in after
    assert {path.name for path in output.iterdir()} == {"checkpoints", "model.npz", "page.html"}


def test_short_real_run_reaches_92_percent(mnist):
    images, labels, test_images, test_labels = mnist
    data, statistics = convnet.preprocess(images[:11000], labels[:11000], test_images, test_labels, num_test=2000)
    model = convnet.ConvNet1(hidden_size=100)
    model.statistics = statistics
    solver = convnet.Solver(model, data, convnet.SGD(0.02), epochs=2)
    solver.train()
    assert solver.check_accuracy(data["x_test"], data["y_test"]) >= 0.92
    assert (model.predict_images(test_images[:2000]) == test_labels[:2000]).mean() >= 0.92


def test_small_data_are_learnt_by_heart(tmp_path):
    result = run("--output", tmp_path, script="overfit_small_data.py")
    assert result.returncode == 0, result.stderr
    for line in ("100 images, 50 epochs: training accuracy 100.00%", "10 images, 40 epochs: training accuracy 100.00%"):
        assert line in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"overfit_100.png", "overfit_10.png"}


def test_every_row_of_the_table_is_compared(tmp_path):
    result = run("--output", tmp_path, "--steps", 7, "--runs", 2, script="compare_options.py")
    assert result.returncode == 0, result.stderr
    rows = re.findall(
        r"^(\S.*?\S)  +(\S.*?\S)  +\S+ at \S+ +\S+ +\d+\.\d\d% +\S+% +\S+ s$", result.stdout, re.MULTILINE
    )
    assert {row for row, _ in rows} == {
        "Weights initialization",
        "Weights update policy",
        "Activation function",
        "Regularization",
        "Pooling",
        "Loss function",
    }
    options = {"He normal", "He uniform", "Glorot normal", "Glorot uniform", "ReLU", "Sigmoid"}
    options |= {"Vanilla SGD", "Momentum SGD", "RMSProp", "Adam"}
    assert options | {"L2", "Dropout", "Max", "Average", "Softmax", "SVM"} <= {option for _, option in rows}
    assert (tmp_path / "options.png").exists()


def test_fast_recipe_takes_any_data_and_saves_its_model(digits, tmp_path):
    path = tmp_path / "recipe.npz"
    result = run("--data", digits, "--epochs", 3, "--output", path, script="fast_recipe.py")
    assert result.returncode == 0, result.stderr
    accuracy = re.search(r"^test accuracy (\d\d\.\d\d)% on 1000 images$", result.stdout, re.MULTILINE)
    assert float(accuracy[1]) > 85
    images, labels = convnet.load_mnist(digits)[2:]
    right = (convnet.load_model(path).predict_images(images) == labels).mean()
    assert f"{right:.2%}" == f"{accuracy[1]}%"


def write_photographs(folder, rng):
    """Write 180 training and 30 test photographs of three classes, each of one colour with noise, as a folder each."""
    for part, count in (("train", 60), ("test", 10)):
        for label, name in enumerate(("blue", "green", "red")):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                pixels[..., 2 - label] += 100
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")


def test_cifar10_takes_folders_of_images_and_saves_its_model(tmp_path, rng):
    write_photographs(tmp_path / "photographs", rng)
    # After so few steps the accuracy of some random seeds depends on the last bits of sums.
    options = ["--data", tmp_path / "photographs", "--epochs", 8, "--seed", 1, "--output", tmp_path / "model.npz"]
    result = run(*options, "--target-accuracy", 0.8, script="cifar10.py")
    assert result.returncode == 0, result.stderr
    accuracy = re.search(r"^test accuracy (\d+\.\d\d)% on 30 images$", result.stdout, re.MULTILINE)
    assert float(accuracy[1]) >= 80
    model = convnet.load_model(tmp_path / "model.npz")
    paths = sorted((tmp_path / "photographs" / "test").glob("*/*.png"))
    right = np.mean([name == path.parent.name for name, path in zip(model.classify(paths).names, paths, strict=True)])
    assert right >= 0.8


def read_with_mirror_images(model, images):
    return (model.scores(images) + model.scores(images[..., ::-1])).argmax(axis=1)


def read_with_shifts(model, images):
    places = [np.clip(np.arange(28) + shift, 0, 27) for shift in (-1, 0, 1)]
    copies = [images[:, :, rows[:, None], columns] for rows in places for columns in places]
    return np.mean([model.probabilities(copy) for copy in copies], axis=0).argmax(axis=1)


@pytest.mark.parametrize(
    ("script", "read"), [("tiny_mnist.py", read_with_shifts), ("fashion.py", read_with_mirror_images)]
)
def test_recipes_take_four_files_and_save_their_model(digits, tmp_path, script, read):
    path = tmp_path / "model.npz"
    options = ["--data", digits, "--output", path]
    result = run(*options, "--epochs", 8, "--target-accuracy", 0.5, script=script)
    assert result.returncode == 0, result.stderr
    images, labels = convnet.load_mnist(digits)[2:]
    right = (read(convnet.load_model(path), images[:, None]) == labels).mean()
    assert f"test accuracy {right:.2%} on 1000 images" in result.stdout
    result = run(*options, "--epochs", 1, script=script)
    assert result.returncode == 1
    assert re.fullmatch(r"the test accuracy is below the target of 9\d\.\d\d%\n", result.stderr)


def test_the_tiny_network_has_fewer_than_10_000_parameters(digits):
    result = run("--data", digits, "--epochs", 1, "--target-accuracy", 0, script="tiny_mnist.py")
    assert int(re.search(r"^([\d,]+) parameters$", result.stdout, re.MULTILINE)[1].replace(",", "")) < 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast_recipe", "inverted", "permuted", "five_epochs"])
def test_examples_reach_what_they_promise(name):
    command = [sys.executable, ROOT / "benchmarks" / "examples.py", name]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_a_search_is_the_same_whichever_process_ends_first(digits):
    results = [run("--data", digits, "--trials", 5, script="search.py") for _ in range(2)]
    assert [result.returncode for result in results] == [0, 0], results[0].stderr + results[1].stderr
    trials = [re.findall(r"^trial .*", result.stdout, re.MULTILINE) for result in results]
    assert trials[0] == trials[1]
    assert len(set(trials[0])) == 5
    assert "test accuracy" in results[0].stdout


def test_a_missing_model_is_named(tmp_path):
    result = run(tmp_path / "model.npz", script="errors.py")
    assert result.returncode == 1
    assert re.match(
        r"error: there is no model .*model.npz: python examples/train.py trains and saves one", result.stderr
    )


def test_the_example_fits_on_a_page():
    assert len(EXAMPLE.read_text().splitlines()) <= 125


def test_predict_reads_images_and_draws_bars(tmp_path, digits, mnist):
    result = run("--data", digits, "--epochs", 2, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    # Dark on a light ground, off the centre and larger, as no image that it was trained with.
    for index, name in enumerate(("seven.png", "two.jpg")):
        sheet = np.full((200, 150), 240, np.uint8)
        sheet[60:172, 30:142] = 240 - np.kron(mnist[2][index], np.ones((4, 4), np.uint8)) // 1.1
        Image.fromarray(sheet).save(tmp_path / name)
    files = [tmp_path / "seven.png", tmp_path / "two.jpg"]
    figure = tmp_path / "bars.png"
    result = run(tmp_path / "model.npz", *files, "--figure", figure, script="predict.py")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"{files[0]}: 7"
    assert lines[2] == f"{files[1]}: 2"
    assert len(re.findall(r"\d [\d.]+%", lines[1])) == 10
    assert lines[4:] == [f"saved {figure}"]
    with Image.open(figure) as image:
        assert min(image.size) > 300

    (tmp_path / "empty.png").write_bytes(b"")
    for arguments, message in (
        ([tmp_path / "model.npz", tmp_path / "none.png"], "none.png"),
        ([tmp_path / "model.npz", tmp_path / "empty.png"], "empty.png: expected an image file"),
        ([tmp_path / "none.npz", files[0]], "there is no model"),
    ):
        result = run(*arguments, script="predict.py")
        assert result.returncode == 1
        assert re.fullmatch(r"error: [^\n]+\n", result.stderr)
        assert message in result.stderr

    Image.new("L", (50, 50), 240).save(tmp_path / "blank.png")
    result = run(tmp_path / "model.npz", tmp_path / "blank.png", *files, script="predict.py")
    assert result.returncode == 1
    assert (
        result.stderr
        == f"error: {tmp_path / 'blank.png'}: expected ink on a ground, got an image whose pixels are all 240\n"
    )
    assert result.stdout.splitlines()[::2] == lines[:4:2]
