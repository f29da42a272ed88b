"""What the exporters of PyTorch write, of programs that people know; it needs PyTorch and onnxscript."""

import copy
import warnings

import numpy as np
import pytest

from convnet import SGD
from convnet.onnx import import_onnx

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402


class Mnist(nn.Module):
    """The network of PyTorch's MNIST example, with fewer filters."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(6 * 12 * 12, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        x = torch.flatten(self.dropout1(torch.max_pool2d(x, 2)), 1)
        x = self.fc2(self.dropout2(torch.relu(self.fc1(x))))
        return torch.log_softmax(x, dim=1)


class Tutorial(nn.Module):
    """The network of PyTorch's CIFAR-10 tutorial."""

    def __init__(self):
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 30), nn.Linear(30, 20), nn.Linear(20, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv2(self.pool(torch.relu(self.conv1(x))))))
        x = x.view(x.size(0), -1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x):
        return torch.relu(self.layers(x) + self.shortcut(x))


def resnet():
    stem = [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    blocks = [Block(4, 4, 1), Block(4, 8, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def activations():
    kinds = [nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.PReLU()]
    layers = [layer for kind in kinds for layer in (nn.Conv2d(3, 3, 3, padding="same", groups=3), kind)]
    pool = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(3 * 5 * 5, 7), nn.Softmax(dim=1))


NETWORKS = {
    "mnist": (Mnist, (1, 28, 28)),
    "tutorial": (Tutorial, (3, 32, 32)),
    "resnet": (resnet, (3, 20, 17)),
    "activations": (activations, (3, 9, 9)),
}


def exported(network, shape, path, dynamo, free):
    x = torch.randn(2, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            options = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if free else {}
            torch.onnx.export(network, (x,), path, dynamo=True, verbose=False, **options)
        else:
            options = {"dynamic_axes": {"input": {0: "batch"}}} if free else {}
            torch.onnx.export(network, (x,), path, dynamo=False, input_names=["input"], **options)


@pytest.mark.parametrize("free", [False, True], ids=["two examples", "any number"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["older exporter", "newer exporter"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_pytorch_predicts_the_same(name, dynamo, free, tmp_path):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    network.eval()
    exported(copy.deepcopy(network), shape, tmp_path / "model.onnx", dynamo, free)
    model = import_onnx(tmp_path / "model.onnx")
    assert model.input_shape == shape
    x = torch.randn(5, *shape)
    with torch.no_grad():
        expected = network(x).numpy()
    found = model.scores(x.numpy())
    if name == "mnist":
        found = np.log(model.probabilities(x.numpy()))
    elif name == "activations":
        found = model.probabilities(x.numpy())
    np.testing.assert_allclose(found, expected, atol=2e-5)
    labels, optimizer = np.arange(5) % 3, SGD(0.01)
    losses = [model.train_step(x.numpy(), labels, optimizer) for _ in range(5)]
    assert np.isfinite(losses).all()
