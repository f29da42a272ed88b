"""``convnet predict``: what a model sees in image files."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.cli.output import Output, in_one_line
from convnet.cli.runs import load
from convnet.core.surprises import warn
from convnet.datasets.digits import LEAST_SIDE, prepare_digit
from convnet.datasets.folders import SUFFIXES, natural_key
from convnet.datasets.image_reader import ImageReader
from convnet.datasets.preprocessing import Statistics
from convnet.layers.losses import gives_probabilities

__all__ = ["run"]

# Files that are read and predicted at a time.
BATCH = 256


def run(options: argparse.Namespace, output: Output) -> None:
    """Print the most probable classes of each image; files that cannot be read are told and left out."""
    model, _ = load(options.model)
    channels, *size = model.input_shape
    statistics = model.statistics
    if not isinstance(statistics, Statistics) or channels not in (1, 3):
        found = "no statistics" if statistics is None else f"inputs of shape {model.input_shape}"
        raise ValueError(f"{options.model}: expected a model of grey or coloured images with statistics, got {found}")
    if options.digits and (channels != 1 or min(size) < LEAST_SIDE):
        raise ValueError(
            f"{options.model}: --digits: expected a model of grey images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, "
            f"got inputs of shape {model.input_shape}"
        )
    if not gives_probabilities(model.loss_function):
        warn(f"{options.model}: the numbers rank the classes, but are no probabilities, because of the model's loss")
    names = list(model.class_names or map(str, range(model.num_classes)))
    predictions: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []

    def fail(file: str, error: Exception) -> None:
        output.error(error)
        errors.append({"file": file, "error": in_one_line(error)})

    files = list(_files(options.images, fail))
    for start in range(0, len(files), BATCH):
        chunk = files[start : start + BATCH]
        read = _digits(chunk, size) if options.digits else _images(chunk, statistics.reader, channels, size)
        images = []
        for file, result in zip(chunk, read, strict=True):
            if isinstance(result, Exception):
                fail(file, result)
            else:
                images.append((file, result))
        if images:
            pixels = np.stack([image for _, image in images])
            for (file, _), row in zip(images, model.probabilities(statistics.apply(pixels)), strict=True):
                predictions.append(_prediction(file, row, names))
                best = list(predictions[-1]["probabilities"].items())[: options.top]
                output.line(f"{file}: {', '.join(f'{name} {share:.1%}' for name, share in best)}")
    if output.as_json:
        output.result({"model": str(options.model), "predictions": predictions, "errors": errors}, "")


def _prediction(file: str, row: npt.NDArray[Any], names: list[str]) -> dict[str, Any]:
    """Return what is said of an image, the most probable class first."""
    order = np.argsort(-row, kind="stable").tolist()
    return {
        "file": file,
        "class": names[order[0]],
        "probability": float(row[order[0]]),
        "probabilities": {names[label]: float(row[label]) for label in order},
    }


def _files(given: list[str], fail: Callable[[str, Exception], None]) -> Iterator[str]:
    """Yield the files, and the image files within the folders, in the order of people."""
    for place in given:
        if not Path(place).is_dir():
            yield place
            continue
        found = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(place)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
        if not found:
            fail(place, ValueError(f"{place}: expected images in the folder, got none"))
        yield from sorted(found, key=natural_key)


def _digits(files: list[str], size: list[int]) -> Iterator[npt.NDArray[np.uint8] | Exception]:
    """Yield each file's digit as MNIST's makers would have prepared it, or the error."""
    for file in files:
        try:
            yield prepare_digit(file, size)
        except (OSError, ValueError) as error:
            yield error


def _images(
    files: list[str], reader: ImageReader | None, channels: int, size: list[int]
) -> Iterator[npt.NDArray[np.uint8] | Exception]:
    """Yield the pixels of each file, as those of the training images were read, or the error."""
    own = replace(reader or ImageReader(), channels=channels)
    with closing(own.read_each(files)) as results:
        for file, result in zip(files, results, strict=True):
            if isinstance(result, Exception) or result.shape[:2] == tuple(size):
                yield result
                continue
            remedy = "; --digits prepares photographs and drawings of digits" if channels == 1 else ""
            yield ValueError(
                f"{file}: expected an image of {size[0]}x{size[1]} pixels, as training images had, got "
                f"{result.shape[0]}x{result.shape[1]}{remedy}"
            )
