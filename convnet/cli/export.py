"""``convnet export``: a model in another format."""

import argparse
import os

from convnet import webpage
from convnet.cli.arguments import OF_A_FOLDER, check_unused
from convnet.cli.data import read_for
from convnet.cli.output import Output
from convnet.cli.runs import Arguments, load
from convnet.datasets.image_data import PARTS, ImageData

__all__ = ["run"]

# Images that the page chooses its samples from.
MOST_SAMPLES = 10_000


def run(options: argparse.Namespace, output: Output) -> None:
    """Write the files that are asked for."""
    if options.onnx is None and options.page is None:
        options.parser.error("expected --onnx FILE, --page FILE, or both")
    if None not in (options.onnx, options.page) and os.path.realpath(options.onnx) == os.path.realpath(options.page):
        options.parser.error(f"argument --page: expected another file than that of --onnx, got {options.page} for both")
    if options.samples is not None and options.page is None:
        options.parser.error("argument --samples: it is for --page FILE")
    if options.samples is None:
        check_unused(options, OF_A_FOLDER, "--samples DATA")
    model, folder = load(options.model)
    files = []
    if options.onnx is not None:
        from convnet.onnx import export_onnx  # here, because it needs the package onnx, which a page does not

        export_onnx(model, options.onnx)
        files.append(options.onnx)
    if options.page is not None:
        samples: ImageData | None = None
        if options.samples is not None:
            given = {name: getattr(options, name) for name in OF_A_FOLDER}
            parts = read_for(model, options.samples, **given)
            samples = parts[[name for name in PARTS if name in parts][-1]]
        elif folder is not None:
            prepared = Arguments.read(folder).prepared()
            samples = prepared.parts[prepared.reported]
        elif model.input_shape[0] != 1:
            raise ValueError(
                f"{options.model}: expected images for the page, because nobody can draw in colours, got none; give "
                "--samples DATA"
            )
        step = 1 if samples is None else -(-len(samples.images) // MOST_SAMPLES)
        offered = None if samples is None else (samples.images[::step], samples.labels[::step])
        webpage.export(model, options.page, offered)
        files.append(options.page)
    output.result({"model": str(options.model), "files": files}, "\n".join(f"saved {file}" for file in files))
