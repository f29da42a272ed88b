"""Fixtures that several test files use."""

import gzip
import signal
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
# `python -m pytest` puts the clone in front of the installed package, which is the one to test.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]

from cases import LAYOUTS  # noqa: E402

import convnet  # noqa: E402

# A shell lets what it runs in the background ignore Ctrl-C, whose effect the tests look at.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(12345)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def layout(request):
    return request.param


@pytest.fixture(scope="session")
def mnist():
    return convnet.load_mnist()


@pytest.fixture(scope="session")
def digits(tmp_path_factory, mnist):
    """Return a folder with the first 3,000 training and 1,000 test digits in four files, two of them gzipped."""
    folder = tmp_path_factory.mktemp("digits")
    for part, images, labels, count in (("train", *mnist[:2], 3000), ("t10k", *mnist[2:], 1000)):
        content = struct.pack(">IIII", 0x803, count, 28, 28) + images[:count].tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))
        content = struct.pack(">II", 0x801, count) + labels[:count].astype(np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def convnet1(mnist):
    """Return a ConvNet1 of the default size after a short training."""
    images, labels, *test = mnist
    data, statistics = convnet.preprocess(images[:6000], labels[:6000], *test, num_validation=500)
    model = convnet.ConvNet1()
    model.statistics = statistics
    convnet.Solver(model, data, convnet.SGD(0.1), epochs=1).train()
    return model


@pytest.fixture(scope="session")
def page_file(convnet1, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    convnet.webpage.export(convnet1, path)
    return path
