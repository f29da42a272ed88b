"""Files that are written whole or not at all."""

import os

import pytest

import convnet
from convnet.formats.files import replace_file


def test_a_file_is_written_or_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (b"first", b"second"):
        with replace_file("new.bin") as file:
            file.write(content)
        assert (tmp_path / "new.bin").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["new.bin"]


@pytest.mark.parametrize("before", [None, b"old"])
def test_an_error_keeps_what_was_there(tmp_path, before):
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def write():
        with replace_file(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == ({"file": before} if before else {})


def test_missing_folders_and_folders_are_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"file: expected a folder .*absent to write to"),
        replace_file(tmp_path / "absent" / "file"),
    ):
        pass
    with (
        pytest.raises(IsADirectoryError, match="expected a file to write, but this is a folder"),
        replace_file(tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_the_old_content_is_there_until_the_new_one_is_whole(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replace_file(str(path)) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(error), replace_file(path) as file:
        raise error
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"file": b"new"}


def test_a_file_keeps_its_permissions_and_a_link_its_place(tmp_path):
    model = convnet.ConvNet1((1, 8, 8), hidden_size=2)
    convnet.save_model(model, tmp_path / "model.npz")
    (tmp_path / "model.npz").chmod(0o600)
    (tmp_path / "link.npz").symlink_to("model.npz")
    model.params["affine2.bias"][:] = 3
    convnet.save_model(model, tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert (tmp_path / "model.npz").stat().st_mode & 0o777 == 0o600
    assert convnet.load_model(tmp_path / "model.npz").params["affine2.bias"][0] == 3


@pytest.mark.parametrize(
    "call",
    [
        convnet.load_data,
        convnet.load_folder,
        convnet.load_idx,
        convnet.load_cifar,
        convnet.load_csv,
        convnet.load_npz,
        convnet.load_model,
        convnet.read_idx,
        lambda path: convnet.save_model(convnet.ConvNet1((1, 8, 8), hidden_size=2), path),
    ],
)
def test_an_empty_text_is_no_path(call):
    """`Path` takes it for the folder that the program was started in."""
    with pytest.raises(ValueError, match=r"expected (a path|the path of a file), got an empty text"):
        call("")
    with pytest.raises(ValueError, match=r"expected (a path|the path of a file), got a text with a null byte"):
        call("a\0b")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
@pytest.mark.parametrize("load", [convnet.load_model, convnet.load_tutorial_model, convnet.load_prepared])
def test_devices_that_never_end_are_refused(load):
    with pytest.raises(ValueError, match="/dev/zero: expected a file, got a pipe, a device"):
        load("/dev/zero")
