"""CIFAR's files in their four versions, written here as its authors' programs wrote them."""

import struct
import zlib

import numpy as np
import pytest

from convnet import load_cifar

NAMES = ["airplane", "bird", "cat", "a frog"]
COARSE_NAMES = ["flying", "walking"]


def text(value):
    """Return a text as a pickle of Python 2 spells it: SHORT_BINSTRING, or BINSTRING."""
    content = value if isinstance(value, bytes) else value.encode()
    return (
        b"U" + bytes([len(content)]) + content
        if len(content) < 256
        else b"T" + struct.pack("<i", len(content)) + content
    )


def integer(value):
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def array(value):
    """Return an array of uint8 as NumPy pickles it under Python 2, by its class and its state."""
    shape = b"".join(map(integer, value.shape))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(" + shape + b"t"
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbI00\n"
        + text(value.tobytes())
        + b"tb"
    )


def listed(values):
    return b"](" + b"".join(text(v) if isinstance(v, str) else integer(v) for v in values) + b"e"


def pickled(**content):
    """Return a dictionary in protocol 2, each value a text, an array or a list."""
    kinds = {str: text, np.ndarray: array, list: listed}
    items = b"".join(text(key) + kinds[type(value)](value) for key, value in content.items())
    return b"\x80\x02}(" + items + b"u."


def write(folder, is_pickled, is_hundred, rng, count=3):
    """Write a data set, and return the images (N, 32, 32, 3) and two kinds of labels of each file."""
    folder.mkdir()
    files = ["train", "test"] if is_hundred else [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    written = []
    for number, name in enumerate(files):
        planes = rng.integers(0, 256, (count + number, 3, 32, 32), dtype=np.uint8)
        fine = [*range(4), *rng.integers(0, 4, 9).tolist()][-count - number :] if number else [3, 1, 0][:count]
        coarse = [label % 2 for label in fine]
        written.append((planes.transpose(0, 2, 3, 1), fine, coarse))
        flat = planes.reshape(len(planes), -1)
        if is_pickled:
            labels = {"fine_labels": fine, "coarse_labels": coarse} if is_hundred else {"labels": fine}
            names = [f"an_image_s_{index:06d}.png" for index in range(len(flat))]
            content = pickled(batch_label=f"batch {number}", **labels, data=flat, filenames=names)
            (folder / name).write_bytes(content)
        else:
            columns = [coarse, fine] if is_hundred else [fine]
            records = np.concatenate([np.array(columns, np.uint8).T, flat], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
    if is_pickled:
        names = (
            {"fine_label_names": NAMES, "coarse_label_names": COARSE_NAMES} if is_hundred else {"label_names": NAMES}
        )
        (folder / ("meta" if is_hundred else "batches.meta")).write_bytes(pickled(**names))
    else:
        kinds = (
            {"fine_label_names": NAMES, "coarse_label_names": COARSE_NAMES} if is_hundred else {"batches.meta": NAMES}
        )
        for name, lines in kinds.items():
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n\n")
    return written


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
