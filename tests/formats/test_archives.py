"""Archives of arrays: whatever is wrong with one is one clear error."""

import io
import struct
import zipfile

import numpy as np
import pytest

import convnet
from convnet import ConvNet1, load_model, load_tutorial_model, save_model
from convnet.formats import read_archive, write_archive


def small_model():
    return ConvNet1((1, 9, 8), num_filters=3, kernel_size=3, padding=1, hidden_size=5, num_classes=4)


def test_every_truncation_is_one_clear_error(tmp_path):
    path = tmp_path / "model.npz"
    save_model(small_model(), path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 37), *range(len(whole) - 25, len(whole))]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"model\.npz: expected a model file of convnet"):
            load_model(path)


def test_other_files_are_called_no_archives_without_bad_advice(tmp_path):
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    path = tmp_path / "model.npz"
    for content in (b"hello", b"PNG or any other file\n" * 9, array.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.npz: .*not an \.npz archive") as caught:
            load_model(path)
        assert "allow_pickle" not in str(caught.value)


# Where the zip format keeps things: in the first entry of the archive's directory, and in the record at its end.
@pytest.mark.parametrize(
    ("signature", "offset", "letter", "value"),
    [
        (b"PK\1\2", 6, "H", 99),
        (b"PK\1\2", 8, "H", 1),
        (b"PK\1\2", 10, "H", zipfile.ZIP_DEFLATED),
        (b"PK\1\2", 10, "H", zipfile.ZIP_BZIP2),
        (b"PK\1\2", 10, "H", zipfile.ZIP_LZMA),
        (b"PK\1\2", 10, "H", 99),
        (b"PK\1\2", 42, "I", 2**31),
        (b"PK\5\6", 12, "I", 2**31),
        (b"PK\5\6", 16, "I", 2**31),
    ],
    ids=[
        "version",
        "encrypted",
        "deflate",
        "bzip2",
        "lzma",
        "method 99",
        "entry's place",
        "length",
        "directory's place",
    ],
)
def test_broken_archives_are_named(tmp_path, signature, offset, letter, value):
    path = tmp_path / "model.npz"
    save_model(small_model(), path)
    broken = bytearray(path.read_bytes())
    struct.pack_into(f"<{letter}", broken, broken.index(signature) + offset, value)
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"model\.npz: expected a model file of convnet"):
        load_model(path)


def npy(text, content=b""):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + content


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"no array",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, }"),
        npy("{'descr': '<f4', 'fortran_order': False"),
        npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**50},)}}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", bytes(15)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}", b"cos\nsystem\n(S'true'\ntR."),
    ],
    ids=["empty", "text", "bracket", "cut header", "petabytes", "cut content", "objects"],
)
def test_whole_archives_of_broken_arrays_are_named(tmp_path, member):
    path = tmp_path / "model.npz"
    save_model(small_model(), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in ("header.npy", "affine2.bias.npy"):
        with zipfile.ZipFile(path, "w") as archive:
            for other, content in (members | {name: member}).items():
                archive.writestr(other, content)
        with pytest.raises(ValueError, match=r"model\.npz: expected a model file of convnet"):
            load_model(path)


def test_folders_cut_files_and_long_headers_are_named(tmp_path):
    model = convnet.ConvNet1((1, 8, 8), hidden_size=2)
    for load in (load_model, load_tutorial_model, convnet.load_prepared, convnet.read_idx):
        with pytest.raises(IsADirectoryError, match="expected a file, but this is a folder"):
            load(tmp_path)
    save_model(model, tmp_path / "model.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut\.npz: expected a model file of convnet: it is cut off or damaged"):
        load_model(tmp_path / "cut.npz")
    model.class_names = ["x" * 500_000] * 10
    with pytest.raises(ValueError, match="expected a header of at most 4,194,304 bytes, got 5,"):
        save_model(model, tmp_path / "long.npz")
    assert not (tmp_path / "long.npz").exists()
    header = np.frombuffer(b"[" + b"[]," * 1_400_000 + b"0]", np.uint8)
    np.savez(tmp_path / "lists.npz", header=header)
    with pytest.raises(ValueError, match="its header has 4,200,003 bytes, more than 4,194,304"):
        load_model(tmp_path / "lists.npz")


def test_an_archive_comes_back_and_its_arrays_can_be_written_to(tmp_path, rng):
    arrays = {"a": rng.standard_normal((2, 3)), "b.c": np.arange(4), "d": np.array(True), "none": np.zeros((0, 2))}
    write_archive(tmp_path / "a.npz", "test", 3, {"key": [1, "two", None]}, arrays)
    header, again = read_archive(tmp_path / "a.npz", "test", (1, 3))
    assert header == {"format": "convnet test", "version": 3, "key": [1, "two", None]}
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype
        assert again[name].flags.writeable


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ((1,), "reads version 1: use it with the release that wrote it, or a newer one"),
        ([1, 2], "reads version 1 and 2: "),
    ],
)
def test_another_version_or_format_is_named(tmp_path, versions, message):
    write_archive(tmp_path / "a.npz", "test", 3, {}, {})
    with pytest.raises(ValueError, match=rf"a\.npz: .*it is of version 3, and this release of convnet {message}"):
        read_archive(tmp_path / "a.npz", "test", versions)
    with pytest.raises(ValueError, match=r"a\.npz: expected a model file of convnet: its format is 'convnet test'"):
        read_archive(tmp_path / "a.npz", "model", (3,))
