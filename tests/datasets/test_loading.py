"""One function for data sets of every kind."""

import numpy as np
import pytest
from data_files import IDX_NAMES, write_cifar, write_idx_files

import convnet
from convnet import load_data


@pytest.mark.filterwarnings("ignore:.*has no image of the class")
def test_each_kind_is_read_by_its_own_function(tmp_path, rng):
    images, labels = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8), np.array([0, 1, 1, 0])
    write_idx_files(tmp_path / "idx", IDX_NAMES["EMNIST"], rng)
    write_cifar(tmp_path / "cifar", False, False, rng)
    np.savez(tmp_path / "set.npz", x=images, y=labels)
    table = np.column_stack([labels, images.reshape(4, -1)])
    np.savetxt(tmp_path / "set.csv", table, "%d", ",")
    np.savetxt(tmp_path / "set.tsv", table, "%d", "\t")
    for name, load, options in [
        ("idx", convnet.load_idx, {"axes": "NHW"}),
        ("cifar", convnet.load_cifar, {}),
        ("set.npz", convnet.load_npz, {"class_names": ["no", "yes"]}),
        ("set.csv", convnet.load_csv, {"label": 0}),
    ]:
        expected, parts = load(tmp_path / name, **options), load_data(tmp_path / name, **options)
        assert list(parts) == list(expected)
        for part, data in parts.items():
            np.testing.assert_array_equal(data.images, expected[part].images)
            np.testing.assert_array_equal(data.labels, expected[part].labels)
            assert data.class_names == expected[part].class_names
    np.testing.assert_array_equal(load_data(tmp_path / "set.tsv", label=0)["train"].images, images)


def test_folders_of_images_are_read(tmp_path, rng):
    image = pytest.importorskip("PIL.Image").fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    for name in "ab":
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png")
    assert load_data(tmp_path, size=4)["train"].images.shape == (2, 4, 4)
    with pytest.raises(TypeError, match="it, got axes, image_shape; its options are labels, columns"):
        load_data(tmp_path, axes="NHW", size=4, image_shape=(8, 8))
    with pytest.raises(TypeError, match="got label; did you mean 'labels'"):
        load_data(tmp_path, label=0, size=4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train_32x32.mat", r'scipy.io.loadmat\(path\).*make_parts\(.*axes="HWCN"\)'),
        ("x.npy", "numpy.load"),
        ("cifar-10-python.tar.gz", "unpack it"),
        ("t10k-labels-idx1-ubyte.gz", "give the folder of the four files"),
        ("x.parquet", "make_parts takes arrays"),
    ],
)
def test_other_files_get_a_remedy(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=f"{name}: expected a folder of images, .* got another file; .*{message}"):
        load_data(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="absent: expected a data set"):
        load_data(tmp_path / "absent")


def test_the_arrays_of_svhn_are_taken(rng):
    """Its files hold (H, W, C, N), and labels (N, 1) from 1 to 10, of which 10 stands for 0."""
    pixels, labels = rng.integers(0, 256, (32, 32, 3, 12), dtype=np.uint8), np.arange(1, 13)[:, None] % 10 + 1
    parts = convnet.make_parts((pixels, labels), axes="HWCN")
    np.testing.assert_array_equal(parts["train"].images[5], pixels[..., 5])
    assert parts["train"].class_names == tuple(str(label) for label in range(1, 11))
    assert parts["train"].labels.tolist() == (labels[:, 0] - 1).tolist()
