"""``convnet predict``: names and probabilities of files, and an error line for each file that cannot be read."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import convnet


def test_a_line_for_each_file_says_what_the_model_says(convnet_command, trained, photos):
    files = [photos.parent / "photo.jpg", photos / "ring" / "ring 3.png"]
    names, probabilities = convnet.load_model(trained / "model.npz").classify(files)
    done = convnet_command("predict", trained, *files, "--top", 4)
    assert done.code == 0, done.err
    assert done.err == ""
    for line, file, name, row in zip(done.out.splitlines(), files, names, probabilities, strict=True):
        assert line.startswith(f"{file}: {name} {row.max():.1%}, ")
        found = re.findall(r"([a-z]+) (\d+\.\d)%", line.removeprefix(f"{file}: "))
        assert {kind for kind, _ in found} == {"disc", "horizontal", "ring", "vertical"}
        assert [float(share) for _, share in found] == sorted((float(share) for _, share in found), reverse=True)
    done = convnet_command("predict", trained / "model.npz", *files, "--json")
    found = json.loads(done.out)
    assert found["errors"] == []
    for entry, file, name, row in zip(found["predictions"], files, names, probabilities, strict=True):
        assert (entry["file"], entry["class"], entry["probability"]) == (str(file), name, float(row.max()))
        assert sorted(entry["probabilities"].values()) == sorted(row.tolist())


def test_the_others_are_predicted_where_one_is_broken(convnet_command, trained, photos):
    arguments = [photos.parent / "photo.jpg", photos / "disc" / "disc 0.jpg", "none.png", photos.parent / "photo.jpg"]
    done = convnet_command("predict", trained, *arguments)
    assert done.code == 1
    assert len(done.out.splitlines()) == 2
    errors = done.err.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith(f"convnet: error: {photos / 'disc' / 'disc 0.jpg'}: expected an image file, got one")
    assert errors[1] == "convnet: error: none.png: expected an image file, but there is no such file"
    done = convnet_command("predict", trained, *arguments, "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert len(found["predictions"]) == 2
    assert [entry["file"] for entry in found["errors"]] == [str(arguments[1]), "none.png"]


def test_a_folder_stands_for_the_images_in_it(convnet_command, trained, photos):
    done = convnet_command("predict", trained, photos / "ring")
    assert done.code == 0, done.err
    names = [line.split(": ")[0].rpartition("/")[2] for line in done.out.splitlines()]
    assert [int(re.search(r"\d+", name)[0]) for name in names] == list(range(20))
    (convnet_command.folder / "empty").mkdir()
    done = convnet_command("predict", trained, "empty")
    assert (done.code, done.out) == (1, "")
    assert done.error == "convnet: error: empty: expected images in the folder, got none"


def test_more_files_than_are_read_at_a_time_come_in_order(convnet_command, trained, photos):
    done = convnet_command("predict", trained, photos, photos / "disc")
    assert done.code == 1  # the broken one, twice
    assert len(done.out.splitlines()) == 299 + 99
    assert done.out.splitlines()[-99:] == done.out.splitlines()[:99]


@pytest.fixture
def digits_model(convnet_command, convnet1):
    convnet.save_model(convnet1, convnet_command.folder / "digits.npz")
    return convnet_command.folder / "digits.npz"


def test_photographs_of_digits_are_prepared(convnet_command, digits_model, mnist):
    for name, index in (("7.png", 0), ("2.png", 1)):
        sheet = np.full((200, 150), 240, np.uint8)
        sheet[60:172, 30:142] = 240 - np.kron(mnist[2][index], np.ones((4, 4), np.uint8)) // 1.1
        Image.fromarray(sheet).save(name)
    Image.fromarray(np.full((50, 50), 200, np.uint8)).save("blank.png")
    done = convnet_command("predict", digits_model, "7.png", "blank.png", "2.png", "--digits", "--top", 1)
    assert done.code == 1
    assert [line[:8] for line in done.out.splitlines()] == ["7.png: 7", "2.png: 2"]
    assert done.error.startswith("convnet: error: blank.png: expected ink on a ground")
    done = convnet_command("predict", digits_model, "7.png")
    assert done.error == (
        "convnet: error: 7.png: expected an image of 28x28 pixels, as training images had, got 200x150; --digits "
        "prepares photographs and drawings of digits"
    )
    Image.fromarray(mnist[2][0]).save("as it is.png")
    assert convnet_command("predict", digits_model, "as it is.png").out.startswith("as it is.png: 7 ")


def test_models_that_cannot_predict_files_are_told(convnet_command, trained):
    model = convnet.ConvNet1((1, 8, 8), num_filters=2, hidden_size=3, num_classes=2)
    convnet.save_model(model, "model.npz")
    done = convnet_command("predict", "model.npz", "x.png")
    assert done.error == (
        "convnet: error: model.npz: expected a model of grey or coloured images with statistics, got no statistics"
    )
    done = convnet_command("predict", trained, "x.png", "--digits")
    assert done.error.endswith(
        "--digits: expected a model of grey images of at least 7x7 pixels, got inputs of shape (3, 16, 16)"
    )
    (convnet_command.folder / "text.npz").write_text("text")
    done = convnet_command("predict", "text.npz", "x.png")
    assert done.code == 1
    assert "text.npz" in done.error


def test_numbers_that_are_no_probabilities_are_told(convnet_command):
    model = convnet.ConvNet1((1, 8, 8), num_filters=2, hidden_size=3, num_classes=2, loss=convnet.svm_loss)
    model.statistics = convnet.Statistics((1, 8, 8), True, None, None)
    convnet.save_model(model, "model.npz")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("x.png")
    done = convnet_command("predict", "model.npz", "x.png")
    assert done.code == 0
    assert done.error.startswith("convnet: warning: model.npz: the numbers rank the classes, but are no probabilities")
