"""CIFAR's files in their four versions, written here as its authors' programs wrote them."""

import zlib

import numpy as np
import pytest
from data_files import COARSE_NAMES, NAMES, pickled
from data_files import write_cifar as write

from convnet import load_cifar


@pytest.mark.filterwarnings("ignore:.*has no image of the class")
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("is_hundred", [False, True])
@pytest.mark.parametrize("is_pickled", [False, True])
def test_each_version_gives_the_images_and_names(tmp_path, rng, is_pickled, is_hundred, coarse):
    *training, test = write(tmp_path / "cifar", is_pickled, is_hundred, rng)
    if coarse and not is_hundred:
        with pytest.raises(ValueError, match="CIFAR-10 has no superclasses"):
            load_cifar(tmp_path / "cifar", coarse=True)
        return
    parts = load_cifar(tmp_path / "cifar", coarse=coarse)
    assert list(parts) == ["train", "test"]
    for part, batches in (("train", training), ("test", [test])):
        images, labels, names = parts[part][:3]
        np.testing.assert_array_equal(images, np.concatenate([pixels for pixels, *_ in batches]))
        assert labels.tolist() == [label for _, *kinds in batches for label in kinds[coarse]]
        assert names == tuple(COARSE_NAMES if coarse else NAMES)


def test_the_writer_of_these_tests_makes_pickles_that_python_reads(rng):
    import pickle

    flat = rng.integers(0, 256, (300, 7), dtype=np.uint8)
    content = pickle.loads(pickled(data=flat, labels=[1, 2], name="x" * 300), encoding="latin1")
    np.testing.assert_array_equal(content["data"], flat)
    assert (content["labels"], content["name"]) == ([1, 2], "x" * 300)


def test_all_files_of_cifar_100_fit_the_limits_of_pickles(tmp_path):
    """The pickle of its training images has 50,000 file names, each of up to 40 characters."""
    from convnet.formats.pickles import load_pickle

    names = [f"{'x' * 30}_s_{index:06d}" for index in range(50_000)]
    (tmp_path / "train").write_bytes(pickled(filenames=names, fine_labels=50_000 * [99], coarse_labels=50_000 * [19]))
    assert load_pickle(tmp_path / "train", "images")["filenames"] == names


@pytest.mark.filterwarnings("ignore:.*has no image of the class")
@pytest.mark.parametrize("is_pickled", [False, True])
def test_a_damaged_file_is_named(tmp_path, rng, is_pickled):
    folder = tmp_path / "cifar"
    write(folder, is_pickled, False, rng)
    path = folder / ("data_batch_3" if is_pickled else "data_batch_3.bin")
    content = path.read_bytes()
    message = "data_batch_3: expected a pickle" if is_pickled else r"records of 3,073 bytes, 1 .*got 15,364 bytes"
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=message):
        load_cifar(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3.*: expected this file of CIFAR beside the others"):
        load_cifar(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickled(labels=[1]), "expected an array of images called data"),
        (pickled(data=np.zeros((1, 3071), np.uint8), labels=[1]), r"uint8 of shape \(N, 3072\)"),
        (pickled(data=np.zeros((2, 3072), np.uint8), labels=[1]), "expected 2 integers called labels"),
        (pickled(data=np.zeros((1, 3072), np.uint8), labels=["cat"]), "expected 1 integers called labels"),
        (pickled(data=np.zeros((1, 3072), np.uint8), labels=[7]), "expected classes among 0, 1, 2, 3, .* got 7"),
        (b"\x80\x02(K\x01e.", "it takes more from its stack than it put there"),
        (b"cos\nsystem\n(U\x04truetR.", "it asks for os.system, which is not allowed"),
        (zlib.compress(b"x"), "expected a pickle of images of CIFAR"),
    ],
)
def test_other_pickles_are_refused(tmp_path, rng, content, message):
    write(tmp_path / "cifar", True, False, rng)
    (tmp_path / "cifar" / "data_batch_2").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_cifar(tmp_path / "cifar")


def test_other_folders_are_named(tmp_path, rng):
    with pytest.raises(FileNotFoundError, match=r"CIFAR's unpacked files, .* got a folder without them"):
        load_cifar(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent: .* got no folder"):
        load_cifar(tmp_path / "absent")
    write(tmp_path / "cifar", True, False, rng)
    (tmp_path / "cifar" / "batches.meta").unlink()
    with pytest.raises(FileNotFoundError, match=r"batches\.meta: expected this file of CIFAR"):
        load_cifar(tmp_path / "cifar")
    (tmp_path / "cifar" / "batches.meta").write_bytes(pickled(names=NAMES))
    with pytest.raises(ValueError, match=r"batches\.meta: expected the names of CIFAR's classes"):
        load_cifar(tmp_path / "cifar")
