"""Fixtures that several test files use."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
# `python -m pytest` puts the clone in front of the installed package, which is the one to test.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]

from cases import LAYOUTS  # noqa: E402


@pytest.fixture
def rng():
    return np.random.default_rng(12345)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def layout(request):
    return request.param
