"""``convnet evaluate``: how good a model is on images with labels."""

import argparse
from pathlib import Path

from convnet.cli.arguments import OF_A_FOLDER, check_unused
from convnet.cli.data import read_for
from convnet.cli.output import Output
from convnet.cli.report import measure, probabilities_of, written
from convnet.cli.runs import TRAINED, Arguments, known_images, load
from convnet.core.checks import count_of
from convnet.core.surprises import warn
from convnet.datasets.image_data import PARTS, ImageData

__all__ = ["run"]


def warn_of_known_images(folder: Path, part: ImageData) -> None:
    """Warn if the run in a folder has trained with images of a part, or if nothing tells whether it has."""
    images, remedy = count_of(len(part.images), "image"), f"convnet evaluate {folder} takes those that were held back"
    known = known_images(folder, part)
    if known is None:
        warn(f"{folder}: {TRAINED} is missing, so that the model may know some of these {images}; {remedy}")
    elif known:
        warn(f"the model was trained with {known:,} of these {images}: it knows their classes; {remedy}")


def run(options: argparse.Namespace, output: Output) -> None:
    """Predict the classes of images, and compare them with the labels."""
    model, folder = load(options.model)
    if options.data is None:
        if folder is None:
            raise ValueError(
                f"{options.model}: expected the folder of a run, which knows its data, or DATA behind the model"
            )
        check_unused(options, [*OF_A_FOLDER, "part"], "DATA")
        arguments = Arguments.read(folder)
        output.note(f"reading {arguments.source.path}")
        prepared = arguments.prepared(shows=not options.quiet)
        name, part = prepared.reported, prepared.parts[prepared.reported]
        what = f"{name} images of the run"
    else:
        output.note(f"reading {options.data}")
        given = {name: getattr(options, name) for name in OF_A_FOLDER}
        parts = read_for(model, options.data, **given, shows=not options.quiet)
        name = options.part or [name for name in PARTS if name in parts][-1]
        if name not in parts:
            raise ValueError(f"{options.data}: expected a {name} part, got {', '.join(parts)}")
        part, what = parts[name], f"images of {options.data}" + (f", {name} part" if len(parts) > 1 else "")
        if folder is not None:
            warn_of_known_images(folder, part)
    report = measure(part, probabilities_of(model, part))
    output.result({"model": str(options.model), "part": name, **report}, written(report, what))
