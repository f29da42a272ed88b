"""``convnet export``: the files that are asked for."""

import json
import re
import sys
from base64 import b64decode

import numpy as np

import convnet
from convnet.onnx import import_onnx


def samples_in(path):
    content = json.loads(re.search(r'id="model">(.*?)</script>', path.read_text("utf-8"))[1])
    return content["class_names"], content["samples"]


def test_a_page_offers_images_that_the_run_has_held_back(convnet_command, trained, photos):
    done = convnet_command("export", trained, "--page", "page.html")
    assert (done.code, done.out) == (0, "saved page.html\n")
    names, samples = samples_in(convnet_command.folder / "page.html")
    assert names == ["disc", "horizontal", "ring", "vertical"]
    files = [path for path in sorted(photos.glob("*/*")) if path.name != "disc 0.jpg"]
    images = convnet.load_model(trained / "model.npz").statistics.reader.read_each(files)
    pixels = {np.asarray(image).transpose(2, 0, 1).tobytes() for image in images if image.ndim == 3}
    in_colours = [b64decode(sample["image"]["data"]) in pixels for sample in samples]
    assert any(in_colours)


def test_samples_of_other_data(convnet_command, trained, rng):
    images, labels = (
        rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8),
        2 * ["disc", "ring", "vertical", "horizontal"],
    )
    np.savez("others.npz", images=images, labels=labels)
    done = convnet_command("export", trained / "model.npz", "--page", "page.html", "--samples", "others.npz", "--json")
    assert json.loads(done.out) == {"model": str(trained / "model.npz"), "files": ["page.html"]}
    _, samples = samples_in(convnet_command.folder / "page.html")
    planes = {image.transpose(2, 0, 1).tobytes() for image in images}
    assert {b64decode(sample["image"]["data"]) for sample in samples} <= planes


def test_samples_with_a_table_of_labels(convnet_command, trained, photos):
    (convnet_command.folder / "flat").mkdir()
    rows = ["file,kind"]
    for path in sorted(photos.glob("*/*"))[1:9]:
        (convnet_command.folder / "flat" / path.name).write_bytes(path.read_bytes())
        rows.append(f"{path.name},{path.parent.name}")
    (convnet_command.folder / "kinds.csv").write_text("\n".join(rows))
    done = convnet_command("export", trained, "--page", "page.html", "--samples", "flat", "--labels", "kinds.csv")
    assert done.code == 0, done.err
    assert len(samples_in(convnet_command.folder / "page.html")[1]) > 0


def test_a_model_in_colours_needs_samples(convnet_command, trained):
    model = convnet.load_model(trained / "model.npz")
    convnet.save_model(model, "alone.npz")
    done = convnet_command("export", "alone.npz", "--page", "page.html")
    assert done.code == 1
    assert done.error.endswith("because nobody can draw in colours, got none; give --samples DATA")
    assert not (convnet_command.folder / "page.html").exists()


def test_an_onnx_file_has_the_model_and_its_names(convnet_command, trained, rng):
    done = convnet_command("export", trained, "--onnx", "model.onnx", "--page", "page.html")
    assert done.out == "saved model.onnx\nsaved page.html\n"
    model, found = convnet.load_model(trained / "model.npz"), import_onnx(convnet_command.folder / "model.onnx")
    assert found.class_names == ["disc", "horizontal", "ring", "vertical"]
    images = rng.integers(0, 256, (5, *model.input_shape), dtype=np.uint8)
    np.testing.assert_allclose(found.scores(images), model.scores(images), rtol=1e-4, atol=1e-5)


def test_without_the_package_onnx_the_remedy_is_told(convnet_command, trained, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("convnet.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = convnet_command("export", trained, "--onnx", "model.onnx")
    assert done.code == 1
    assert 'pip install "convnet-cpu[onnx]"' in done.error


def test_nothing_to_export_or_one_file_for_two_is_a_wrong_argument(convnet_command, trained):
    for options, message in (
        ([], "expected --onnx FILE, --page FILE, or both"),
        (
            ["--onnx", "x", "--page", "./x"],
            "argument --page: expected another file than that of --onnx, got ./x for both",
        ),
        (["--onnx", "x", "--samples", "y"], "argument --samples: it is for --page FILE"),
        (["--page", "x", "--labels", "y"], "argument --labels: it belongs to --samples DATA; give --samples DATA, too"),
    ):
        done = convnet_command("export", trained, *options)
        assert done.code == 2
        assert done.err.splitlines()[-1] == f"convnet export: error: {message}"
