"""The layers against PyTorch's, where it is installed: outputs and gradients over 500 random configurations each."""

from collections import OrderedDict
from functools import partial

import numpy as np
import pytest

from convnet import (
    GELU,
    AveragePool2D,
    BatchNorm2D,
    Conv2D,
    GlobalAveragePool,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Tanh,
    functional,
)

torch = pytest.importorskip("torch")
CONFIGURATIONS = 500
LIMITS = {np.float32: 1e-5, np.float64: 1e-10}


def sizes(rng, count, least=1, most=6):
    """Return so many random sizes."""
    return [int(size) for size in rng.integers(least, most + 1, count)]


def images(rng, dtype, kernel=(1, 1), channels=None):
    """Return images of distinct values, at least as large as a kernel."""
    n, c = sizes(rng, 2)
    h, w = (size + int(rng.integers(0, 7)) for size in kernel)
    shape = n, channels or c, h, w
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count // 2 + 0.5) / max(count // 4, 1)).reshape(shape).astype(dtype)


def convolution(rng, dtype, is_special=False, has_sides=False):
    kernel, padding, bias = sizes(rng, 2, 1, 4), sizes(rng, 2, 0, 3), bool(rng.integers(2))
    dilation, groups = (sizes(rng, 2, 1, 3), sizes(rng, 1, 1, 4)[0]) if is_special else ((1, 1), 1)
    extent = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    x = images(rng, dtype, extent, groups * sizes(rng, 1)[0])
    options = {"stride": tuple(sizes(rng, 2, 1, 3)), "bias": bias, "dilation": tuple(dilation), "groups": groups}
    ours = sides(rng, (4, 4)) if has_sides else tuple(padding)
    filters = groups * sizes(rng, 1, 1, 20 // groups)[0]
    layer = Conv2D(x.shape[1], filters, kernel, rng=rng, dtype=dtype, padding=ours, **options)
    if bias:
        layer.params["bias"][...] = rng.standard_normal(layer.params["bias"].shape)
    if has_sides:
        return layer, PaddedConvolution(ours, x.shape[1], filters, kernel, **options), x
    return layer, torch.nn.Conv2d(x.shape[1], filters, kernel, padding=ours, **options), x


def sides(rng, ends):
    """Return random padding below the ends, ((top, bottom), (left, right))."""
    return tuple(tuple(int(side) for side in rng.integers(0, end, 2)) for end in ends)


def pad(x, padding, value=0.0):
    (top, bottom), (left, right) = padding
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value)


class PaddedConvolution(torch.nn.Conv2d):
    """A convolution of images that are padded before it."""

    def __init__(self, sides, *sizes, **options):
        super().__init__(*sizes, **options)
        self.sides = sides

    def forward(self, x):
        return super().forward(pad(x, self.sides))


class PaddedMaximum(torch.nn.Module):
    """A max pooling of images that are padded before it."""

    def __init__(self, padding, kernel, stride):
        super().__init__()
        self.padding, self.pool = padding, torch.nn.MaxPool2d(kernel, stride)

    def forward(self, x):
        return self.pool(pad(x, self.padding, -torch.inf))


class PaddedAverage(torch.nn.Module):
    """An average pooling of images that are padded before it; without `counts` the padding is taken out again."""

    def __init__(self, padding, kernel, stride, counts):
        super().__init__()
        self.padding, self.pool, self.counts = padding, torch.nn.AvgPool2d(kernel, stride), counts

    def forward(self, x):
        means = self.pool(pad(x, self.padding))
        return means if self.counts else means / self.pool(pad(torch.ones_like(x), self.padding))


def windows_of(rng, kernel):
    """Return stride, padding and ceil_mode of a pooling, as PyTorch's take them."""
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    return {"stride": tuple(sizes(rng, 2, 1, 4)), "padding": padding, "ceil_mode": bool(rng.integers(2))}


def max_pooling(rng, dtype, has_sides=False):
    kernel = sizes(rng, 2, 1, 4)
    options, x = windows_of(rng, kernel), images(rng, dtype, kernel)
    if not has_sides:
        return MaxPool2D(kernel, **options), torch.nn.MaxPool2d(kernel, **options), x
    padding, stride = sides(rng, kernel), options["stride"]
    return MaxPool2D(kernel, stride=stride, padding=padding), PaddedMaximum(padding, kernel, stride), x


def average_pooling(rng, dtype, has_sides=False):
    kernel, counts = sizes(rng, 2, 1, 4), bool(rng.integers(2))
    options, x = windows_of(rng, kernel), images(rng, dtype, kernel)
    if not has_sides:
        other = torch.nn.AvgPool2d(kernel, count_include_pad=counts, **options)
        return AveragePool2D(kernel, count_padding=counts, **options), other, x
    padding, stride = sides(rng, kernel), options["stride"]
    layer = AveragePool2D(kernel, stride=stride, padding=padding, count_padding=counts)
    return layer, PaddedAverage(padding, kernel, stride, counts), x


def batch_norm(rng, dtype):
    x = images(rng, dtype, (2, 2))
    is_vector, epsilon, part = bool(rng.integers(2)), float(rng.uniform(1e-3, 0.1)), float(rng.uniform(0, 1))
    if is_vector:
        x = x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1]).copy()
    layer = BatchNorm2D(x.shape[1], epsilon=epsilon, decay=1 - part, dtype=dtype)
    for param in layer.params.values():
        param[...] = rng.standard_normal(param.shape)
    cls = torch.nn.BatchNorm1d if is_vector else torch.nn.BatchNorm2d
    return layer, cls(x.shape[1], eps=epsilon, momentum=part), x


class TorchResidual(torch.nn.Module):
    """A residual connection whose parameters have our names."""

    def __init__(self, layers, shortcut):
        super().__init__()
        self.layers = torch.nn.Sequential(OrderedDict(layers))
        self.shortcut = torch.nn.Sequential(OrderedDict(shortcut))

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


def residual(rng, dtype):
    x = images(rng, dtype, (3, 3))
    c, f = x.shape[1], x.shape[1] if (is_plain := bool(rng.integers(2))) else sizes(rng, 1, 1, 12)[0]
    first, last = (Conv2D(channels, f, 3, padding=1, rng=rng, dtype=dtype) for channels in (c, f))
    shortcut = None if is_plain else Conv2D(c, f, 1, rng=rng, dtype=dtype)
    layers = {
        "conv1": torch.nn.Conv2d(c, f, 3, padding=1),
        "tanh1": torch.nn.Tanh(),
        "conv2": torch.nn.Conv2d(f, f, 3, padding=1),
    }
    other = TorchResidual(layers, {} if is_plain else {"conv1": torch.nn.Conv2d(c, f, 1)})
    return Residual([first, Tanh(), last], shortcut), other, x


def without_parameters(ours, theirs):
    return lambda rng, dtype: (ours(), theirs(), images(rng, dtype))


CASES = {
    "convolution": convolution,
    "convolution of groups, dilated": partial(convolution, is_special=True),
    "convolution of other sides": partial(convolution, has_sides=True),
    "convolution of other sides and groups, dilated": partial(convolution, is_special=True, has_sides=True),
    "max pooling": max_pooling,
    "max pooling of other sides": partial(max_pooling, has_sides=True),
    "average pooling": average_pooling,
    "average pooling of other sides": partial(average_pooling, has_sides=True),
    "batch norm": batch_norm,
    "residual": residual,
    "relu": without_parameters(ReLU, torch.nn.ReLU),
    "leaky relu": without_parameters(LeakyReLU, torch.nn.LeakyReLU),
    "sigmoid": without_parameters(Sigmoid, torch.nn.Sigmoid),
    "tanh": without_parameters(Tanh, torch.nn.Tanh),
    "silu": without_parameters(SiLU, torch.nn.SiLU),
    "gelu": without_parameters(GELU, torch.nn.GELU),
    "approximate gelu": without_parameters(lambda: GELU(True), lambda: torch.nn.GELU("tanh")),
    "global average pooling": without_parameters(
        GlobalAveragePool, lambda: torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    ),
}


def close(found, expected, dtype, what):
    """Assert that an array differs from PyTorch's by no more than a part of the norm, or of 1."""
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= LIMITS[dtype] * max(np.linalg.norm(expected), 1), what


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", LIMITS)
def test_layers_agree(dtype, name):
    for seed in range(CONFIGURATIONS):
        rng = np.random.default_rng(seed)
        layer, other, x = CASES[name](rng, dtype)
        other = other.to(torch.float32 if dtype == np.float32 else torch.float64).train()
        for key, param in layer.params.items():
            other.get_parameter(key).data[...] = torch.from_numpy(param.copy())
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        y, cache = layer.forward(x)
        expected = other(theirs)
        close(y, expected, dtype, (name, seed))
        dy = rng.standard_normal(y.shape).astype(dtype)
        expected.backward(torch.from_numpy(dy))
        dx, grads = layer.backward(dy, cache)
        close(dx, theirs.grad, dtype, (name, seed, layer))
        for key, grad in grads.items():
            close(grad, other.get_parameter(key).grad, dtype, (name, seed, layer, key))
        layer.update_state(cache)
        for key, theirs_key in (("running_mean", "running_mean"), ("running_variance", "running_var")):
            if key in layer.state:
                close(layer.state[key], getattr(other, theirs_key), dtype, (name, seed, layer, key))
        other.eval()
        close(layer(x), other(torch.from_numpy(x.copy())), dtype, (name, seed, layer, "prediction"))


@pytest.mark.parametrize("dtype", LIMITS)
def test_convolutions_by_winograds_algorithm_agree(dtype):
    for seed in range(CONFIGURATIONS // 5):
        rng = np.random.default_rng(seed)
        n, (c, f), (h, w) = int(rng.integers(1, 4)), sizes(rng, 2, 8, 40), sizes(rng, 2, 3, 20)
        x, weight = rng.standard_normal((n, c, h, w)).astype(dtype), rng.standard_normal((f, c, 3, 3)).astype(dtype)
        padding = int(rng.integers(0, 3))
        expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding=padding)
        y = functional.conv2d_forward(x, weight, padding=padding)
        close(y, expected, dtype, (seed, x.shape, f, padding))
