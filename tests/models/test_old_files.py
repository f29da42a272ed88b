"""Files of earlier releases: models are read for ever, checkpoints by the release that wrote them."""

from pathlib import Path

import numpy as np
import pytest

from convnet import Adam, ConvNet1, Sequential, Solver, load_model, save_model
from convnet.formats import read_archive

DATA = Path(__file__).parent.parent / "data"
X = np.random.default_rng(0).standard_normal((30, 1, 8, 8), np.float32)


def test_a_model_of_0_1_gives_its_scores():
    model = load_model(DATA / "model-0.1.npz")
    assert type(model) is Sequential
    kinds = ["conv1", "relu1", "pool1", "conv2", "sigmoid1", "pool2", "dropout1", "affine1"]
    assert list(model.layers) == kinds
    assert dict(model.state) == {}
    assert model.class_names == ["a", "b", "c"]
    assert model.statistics.image_shape == (1, 8, 8)
    assert model.loss_function.keywords == {"margin": 2.0}
    expected = np.load(DATA / "scores-0.1.npy")
    np.testing.assert_allclose(model.scores(X[:4]), expected, rtol=0, atol=1e-6)


def test_a_model_of_0_1_is_saved_as_0_1_reads_it(tmp_path):
    model = load_model(DATA / "model-0.1.npz")
    save_model(model, tmp_path / "again.npz")
    (old_header, old), (header, arrays) = (
        read_archive(path, "model", (1,)) for path in (DATA / "model-0.1.npz", tmp_path / "again.npz")
    )
    assert header == old_header
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in old.items()
    }


def test_a_checkpoint_of_0_1_is_refused_with_its_version():
    labels = np.arange(30) % 3
    data = {"x_train": X, "y_train": labels, "x_validation": X[:9], "y_validation": labels[:9]}
    model = ConvNet1((1, 8, 8), num_filters=2, hidden_size=4, num_classes=3)
    solver = Solver(model, data, Adam(1e-3), batch_size=10, epochs=2)
    before = {name: param.copy() for name, param in model.params.items()}
    message = (
        r"checkpoint-0\.1\.npz: expected a checkpoint file of convnet: it is of version 1, and this release of convnet "
        "reads version 2: use it with the release that wrote it"
    )
    with pytest.raises(ValueError, match=message):
        solver.resume(DATA / "checkpoint-0.1.npz")
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])
