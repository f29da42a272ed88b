"""Data: from files to arrays, their preparation, and their augmentation.

This package contains what makes or changes images and labels before a model sees them. It must not import layers.
"""

from convnet.datasets.augmentation import Augmentation, Mixture
from convnet.datasets.cifar import load_cifar
from convnet.datasets.digits import prepare_digit
from convnet.datasets.folders import load_folder
from convnet.datasets.idx import read_idx
from convnet.datasets.idx_folders import load_idx
from convnet.datasets.image_data import ImageData, make_parts
from convnet.datasets.image_reader import ImageReader
from convnet.datasets.loading import load_data
from convnet.datasets.mixup import Mixup
from convnet.datasets.mnist import load_mnist
from convnet.datasets.npz import load_npz
from convnet.datasets.prepared import load_prepared, save_prepared
from convnet.datasets.preprocessing import Statistics, preprocess, preprocess_parts
from convnet.datasets.splitting import split
from convnet.datasets.tables import load_csv

__all__ = [
    "Augmentation",
    "ImageData",
    "ImageReader",
    "Mixture",
    "Mixup",
    "Statistics",
    "load_cifar",
    "load_csv",
    "load_data",
    "load_folder",
    "load_idx",
    "load_mnist",
    "load_npz",
    "load_prepared",
    "make_parts",
    "prepare_digit",
    "preprocess",
    "preprocess_parts",
    "read_idx",
    "save_prepared",
    "split",
]
