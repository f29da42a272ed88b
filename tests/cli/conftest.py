"""Commands run within the test's process, in a folder of its own, and small data for them."""

import os
import shutil
from typing import NamedTuple

import numpy as np
import pytest
from data_files import write_photographs

from convnet.cli import main

SMALL_RUN = ["--size", "16", "--epochs", "1", "--threads", "1"]


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def error(self):
        """The only line that was told."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def convnet_command(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capfd.readouterr())

    run.folder = tmp_path
    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Return a folder of 300 photographs of four classes, of which one is broken; photo.jpg lies beside it."""
    folder = tmp_path_factory.mktemp("own") / "photos"
    write_photographs(folder)
    return folder


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """Return the folder of a run on the photographs, of 16x16 pixels and one epoch; it is not to be changed."""
    folder, before = tmp_path_factory.mktemp("trained"), os.getcwd()
    os.chdir(folder)
    try:
        assert main(["train", str(photos), *SMALL_RUN, "--quiet", "--json"]) == 0
    finally:
        os.chdir(before)
    return folder / "runs" / "photos-1"


@pytest.fixture
def run_folder(trained, tmp_path):
    """Return a copy of that run, which may be changed."""
    return shutil.copytree(trained, tmp_path / "a run")


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    """Return a file of 400 grey images of 8x8 pixels of three classes, which are easy to tell apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = rng.integers(0, 120, (400, 8, 8))
    images[labels == 0, :4] += 100
    images[labels == 1, :, :4] += 100
    path = tmp_path_factory.mktemp("tiles") / "tiles.npz"
    np.savez(path, images=images.astype(np.uint8), labels=np.array(["top", "left", "none"])[labels])
    return path
