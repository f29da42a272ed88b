"""A notebook as a user writes it, executed by a kernel: what its cells show."""

import base64
import io
import json
import re
import sys
from inspect import cleandoc

import numpy as np
import pytest
from PIL import Image

CELLS = {
    "train": """
        import numpy as np
        import convnet
        rng = np.random.default_rng(0)
        x = rng.standard_normal((60, 1, 9, 8)).astype(np.float32)
        y = (x[:, 0, :4].sum(axis=(1, 2)) > x[:, 0, 5:].sum(axis=(1, 2))).astype(int)
        data = {"x_train": x[:40], "y_train": y[:40], "x_validation": x[40:], "y_validation": y[40:]}
        layers = [convnet.Conv2D(1, 3, 3, rng=rng), convnet.ReLU(), convnet.Affine(3 * 7 * 6, 2, rng=rng)]
        model = convnet.Sequential(layers, (1, 9, 8))
        bar = convnet.ProgressBar()
        solver = convnet.Solver(model, data, convnet.SGD(0.1), batch_size=10, epochs=3, callbacks=[bar])
        solver.train()
    """,
    "model": "model.class_names = ['<b>one</b>', 'two']\nmodel",
    "plan": "model.plan()",
    "profile": "model.plan().profile(x[:10], seconds=0.01)",
    "solver": "solver",
    "figure": "convnet.plot_training(solver)",
    "filters": "convnet.plot_filters(model.params['conv1.weight'], model.params['conv1.weight'])",
    "page": "convnet.webpage.show(model, (x, y))",
    "pyplot": """
        import matplotlib.pyplot as plt
        figure, (left, right) = plt.subplots(1, 2, layout="constrained")
        convnet.plot_confusion(y, model.predict(x), ax=left)
        convnet.plot_training(solver, ax=right);
    """,
    "figure again": "convnet.plot_training(solver)",
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return the notebook after all of its cells were executed."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for name in ("ipykernel", "ipywidgets"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("notebook")
    # A kernel of this Python, whatever is installed elsewhere.
    kernel = folder / "kernels" / "this"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "this", "language": "python"}))
    from jupyter_client.kernelspec import KernelSpecManager

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cleandoc(cell)) for cell in CELLS.values()])
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="this")
    client.km = client.create_kernel_manager()
    client.km.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))  # no settings of the user's
        client.execute(cwd=str(folder))
    return notebook


@pytest.fixture(scope="module")
def outputs(executed):
    """Return the outputs of each cell, by the cell's name."""
    return dict(zip(CELLS, (cell.outputs for cell in executed.cells), strict=True))


def text_of(outputs):
    return "".join(output["text"] for output in outputs if output.output_type == "stream")


def images_of(outputs):
    """Return the images that are shown, without asking what shows them."""
    contents = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L")) for content in contents]


def test_no_cell_complains(outputs):
    for name, shown in outputs.items():
        assert [output for output in shown if output.get("name") == "stderr"] == [], name
        assert [output for output in shown if output.output_type == "error"] == [], name


def test_training_shows_one_bar_and_a_line_an_epoch(outputs):
    bars = [output["data"] for output in outputs["train"] if output.output_type == "display_data"]
    assert len(bars) == 1
    assert "application/vnd.jupyter.widget-view+json" in bars[0]
    lines = text_of(outputs["train"]).splitlines()
    assert [line[:10] for line in lines] == ["epoch 1/3:", "epoch 2/3:", "epoch 3/3:"]  # and no bar of text


def test_the_bar_is_full_at_the_end(executed):
    widgets = executed.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    (bar,) = [widget["state"] for widget in widgets if widget["model_name"] == "FloatProgressModel"]
    assert (bar["value"], bar["max"], bar["bar_style"]) == (12, 12, "success")


@pytest.mark.parametrize(
    ("cell", "rows", "words"),
    [
        ("model", 6, ["Sequential, input (1, 9, 8)", "conv1", "classes: &lt;b&gt;one&lt;/b&gt;, two"]),
        ("plan", 4, ["Plan for examples of shape (1, 9, 8)", "affine1"]),
        ("profile", 4, ["conv1", "of peak"]),
        ("solver", 5, ["Solver of a Sequential: 3 of 3 epochs, 12 of 12 iterations", "best"]),
    ],
)
def test_tables(outputs, cell, rows, words):
    (output,) = outputs[cell]
    page = output["data"]["text/html"]
    assert page.count("<table>") == 1
    assert len(re.findall(r"<tr>", page)) == rows
    for word in words:
        assert word in page


@pytest.mark.parametrize("cell", ["figure", "filters", "pyplot", "figure again"])
def test_a_figure_is_shown_once(outputs, cell):
    (pixels,) = images_of(outputs[cell])
    assert len(outputs[cell]) == 1
    assert min(pixels.shape) > 200
    assert len(np.unique(pixels)) > 20


def test_the_page_is_a_frame(outputs):
    (output,) = outputs["page"]
    assert output["data"]["text/html"].startswith("<iframe sandbox=")
    assert len(output["data"]["text/plain"]) < 100
