"""The code in the README and in the guides runs, and its types are right."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import write_photographs

import convnet
from convnet.cli import main

ROOT = Path(__file__).parent.parent
# The pages whose programs run here one by one, with at least as many of them.
GUIDES = {"guide.md": 12, "own_images.md": 5, "scikit_learn.md": 1, "notebooks.md": 1, "own_layers.md": 2}


def blocks(name):
    """Return the blocks of Python in a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.M | re.S)


def block_with(name, text):
    (found,) = [block for block in blocks(name) if text in block]
    return found


def test_the_readme_trains_within_its_first_25_lines():
    head = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:25])
    assert "solver.train()" in head
    assert 'pip install ".[examples]" && python examples/train.py' in head
    assert 'pip install ".[test]" && pytest' in head


@pytest.mark.slow
def test_the_readmes_program_reads_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("README.md")
    names = {}
    exec(program, names)
    assert "epoch 2/2" in capsys.readouterr().out
    data = names["data"]
    assert names["solver"].check_accuracy(data["x_test"], data["y_test"]) > 0.985
    assert max(names["solver"].loss_history) < 10  # a beginner copies it: the loss does not jump up
    assert (tmp_path / "digits.npz").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:load_folder. 1 file of 300 could not be read")
@pytest.mark.parametrize("name", GUIDES)
def test_every_program_of_the_guides_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos")
    programs = blocks(f"docs/{name}")
    assert len(programs) >= GUIDES[name]
    for program in programs:
        exec(program, {})


def test_the_programs_of_every_page_are_run_by_a_test():
    with_programs = {page.name for page in (ROOT / "docs").glob("*.md") if blocks(f"docs/{page.name}")}
    assert with_programs == {*GUIDES, "onnx.md", "serving.md", "distributed.md"}  # the last two have a file of tests


@pytest.mark.slow
def test_the_programs_of_the_page_on_onnx_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for program in blocks("docs/onnx.md"):
        exec(program, names)
    out = capsys.readouterr().out
    assert "['7', '2', '1']" in out
    assert "[7 2 1]" in out
    assert names["model"].statistics is not None


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos")
    page = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    commands = re.findall(r"^    convnet (.*)$", page, re.M)
    assert len(commands) >= 8
    for command in commands:
        assert main(shlex.split(command)) == 0, f"{command}: {capfd.readouterr().err}"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mnist-1", "photos-1"}


def test_the_logger_of_the_guide_hands_on_what_there_is(rng):
    exec(block_with("docs/guide.md", "class Log(Callback)"), names := {})
    x, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    data = {"x_train": x, "y_train": y}
    for more, keys in (({}, ["loss"]), ({"x_validation": x, "y_validation": y}, ["loss", "validation accuracy"])):
        logged = []
        log = names["Log"](lambda found, step, logged=logged: logged.append((list(found), step)))
        model = convnet.Sequential([convnet.Affine(3, 2, rng=rng)], (3,))
        convnet.Solver(model, data | more, convnet.SGD(0.1), batch_size=10, epochs=2, callbacks=[log]).train()
        assert logged == [(keys, 2), (keys, 4)]


def test_photographs_become_a_model_that_answers_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos")
    program, names = block_with("docs/own_images.md", "plot_confusion"), {}
    assert len([line for line in program.splitlines() if line]) <= 15
    with pytest.warns(UserWarning, match=r"1 file of 300 could not be read and left out: disc/disc 0\.jpg") as caught:
        exec(program, names)
    assert caught[0].filename == "<string>"  # the line of the program
    assert np.bincount(names["photos"].labels).tolist() == [99, 100, 20, 80]
    assert (names["predicted"] == names["data"]["y_validation"]).mean() > 0.9
    assert names["names"] == ["vertical"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("vertical ")
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    before = names["model"].params["affine2.weight"].copy()
    with pytest.warns(UserWarning, match="1 file of 300 could not be read and left out"):
        exec(block_with("docs/own_images.md", "statistics.apply(part)"), names := {})
    np.testing.assert_allclose(names["data"]["x_train"].mean(), 0, atol=0.1)
    trained = convnet.load_model("photos.npz")
    assert not np.array_equal(trained.params["affine2.weight"], before)
    assert trained.classify("photo.jpg").names == ["vertical"]


def test_the_layer_of_the_guide_has_right_gradients_and_trains(rng):
    names = {}
    exec(block_with("docs/own_layers.md", "class BatchNorm"), names)
    layer = names["BatchNorm"](5)
    layer.params = {"weight": rng.uniform(0.5, 2, 5), "bias": rng.standard_normal(5)}
    x, dy = rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    dx, grads = layer.backward(dy, layer.forward(x)[1])

    def loss():
        return float((dy * layer.forward(x)[0]).sum())

    assert convnet.gradient_error(loss, x, dx, rng=rng) < 1e-7
    for name, param in layer.params.items():
        assert convnet.gradient_error(loss, param, grads[name], rng=rng) < 1e-7
    make = np.random.default_rng(0)
    stack = [convnet.Affine(6, 20, rng=make), names["BatchNorm"](20), convnet.ReLU(), convnet.Affine(20, 2, rng=make)]
    model = convnet.Sequential(stack, (6,))
    x, optimizer = rng.standard_normal((64, 6)).astype(np.float32) * 5 + 3, convnet.SGD(0.1)
    labels = (x[:, 0] > 3).astype(int)
    losses = [model.train_step(x, labels, optimizer) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    assert (model.predict(x) == labels).mean() > 0.9


def test_the_layer_of_the_guide_names_what_it_cannot_normalise(rng):
    names = {}
    exec(block_with("docs/own_layers.md", "class BatchNorm"), names)
    for features in (3, 4, 48):
        layers = [convnet.Conv2D(1, 3, 3, padding=1, rng=rng), names["BatchNorm"](features)]
        message = (
            rf"layer norm1, .*BatchNorm: expected vectors of {features} features, got examples of shape \(3, 4, 4\)"
        )
        with pytest.raises(ValueError, match=message):
            convnet.Sequential(layers, (1, 4, 4))


@pytest.mark.parametrize(
    "checker", [["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]], ids=["mypy", "pyright"]
)
def test_the_layer_of_the_guide_has_right_types(tmp_path, checker):
    if shutil.which(checker[0], path=str(Path(sys.executable).parent)) is None:
        pytest.skip(f"{checker[0]} is not installed")
    (tmp_path / "own_layer.py").write_text(block_with("docs/own_layers.md", "class BatchNorm"))
    command = [Path(sys.executable).parent / checker[0], *checker[1:], "own_layer.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_within_the_repository_leads_somewhere():
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#][^)]*)\)", page.read_text("utf-8")):
            if "://" not in target:
                path, _, anchor = target.partition("#")
                found = page.parent / path
                assert found.exists(), f"{page.name} links to {target}"
                if anchor:
                    titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
                    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                    assert anchor in anchors, f"{page.name} links to {target}"
