"""``convnet train``: a run from the data to the report, begun or gone on with."""

import argparse
import json
import os
import shlex
import sys
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

from convnet.cli.arguments import OF_A_RUN
from convnet.cli.data import MNIST, Source, describe, divided
from convnet.cli.output import Output
from convnet.cli.recipe import Recipe
from convnet.cli.report import draw, measure, probabilities_of, written
from convnet.cli.runs import MODEL, Arguments, Prepared, check_new, new_folder, prepare, write_text
from convnet.core.checks import count_of
from convnet.datasets.image_data import warn_of_missing
from convnet.models.files import save_model
from convnet.models.sequential import Sequential
from convnet.plotting import plot_training
from convnet.training.callbacks import ProgressBar
from convnet.training.checkpointing import Checkpoint
from convnet.training.checkpoints import checkpoints_in
from convnet.training.logs import CSVLog
from convnet.training.solver import Solver

__all__ = ["run"]

CHECKPOINTS, LOG = "checkpoints", "epochs.csv"
# Reading, dividing, preparing and training each warn of a class that a part lacks; a run says it once.
MISSING = r"\w+: the \w+ part has no image of|Solver: y_validation lacks"
# What a report is about. No epoch is chosen by the validation images, and nothing else in a run.
IMAGES = {
    "test": "test images, which the training has not seen",
    "validation": "validation images, which were held back from the training and chose nothing",
}


def run(options: argparse.Namespace, output: Output) -> None:
    """Train, and report."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING)
        _run(options, output)


def _run(options: argparse.Namespace, output: Output) -> None:
    folder = None if options.resume is None else Path(options.resume)
    if options.out is not None and folder is None:
        check_new(Path(options.out))  # before data are read, which may take long
    arguments, prepared = _begun(options, output) if folder is None else _gone_on(options, folder, output)
    output.note(describe(prepared.parts, arguments.source.name))
    output.note(str(arguments.recipe))
    train = prepared.parts["train"]
    labels = {name: part.labels for name, part in prepared.parts.items()}
    warn_of_missing(
        labels, train.class_names, arguments.source.path, "it needs more images, or the part a larger share"
    )
    model = _network(arguments.recipe, prepared)
    if options.dry_run:
        counts = {name: len(part.labels) for name, part in prepared.parts.items()}
        output.result({"parts": counts, "arguments": asdict(arguments)}, model.summary())
        return
    solver = arguments.recipe.solver(model, prepared.data, [] if options.quiet else [ProgressBar(sys.stderr)])
    if folder is None:  # only now: all that may be wrong has been looked at
        folder = new_folder(arguments.source.name, options.out)
    log = CSVLog(folder / LOG)
    solver.callbacks.append(log)
    if checkpoints_in(folder / CHECKPOINTS):
        solver.resume(folder / CHECKPOINTS)
        output.note(f"going on after iteration {solver.iteration} of {solver.num_iterations}")
        if solver.iteration > solver.num_iterations:
            raise ValueError(
                f"{folder}: expected at least the {solver.epoch} epochs that are done, got {solver.epochs}"
            )
    arguments.write(folder, prepared)
    solver.callbacks.append(Checkpoint(folder / CHECKPOINTS, seconds=options.checkpoint_seconds))
    try:
        start, begun = time.perf_counter(), solver.iteration
        solver.train()
        seconds = time.perf_counter() - start
        output.note(f"{count_of(solver.iteration - begun, 'iteration')} in {seconds:.1f} s")
        _report(solver, folder, arguments, prepared, log.seconds, output)
    except KeyboardInterrupt:
        reached = f"after iteration {solver.iteration} of {solver.num_iterations}"
        command = f"convnet train --resume {shlex.quote(str(folder))}"
        raise KeyboardInterrupt(f"interrupted {reached}; to go on: {command}") from None


def _begun(options: argparse.Namespace, output: Output) -> tuple[Arguments, Prepared]:
    """Return the arguments and the data of a new run."""
    source = Source(
        path=options.data or MNIST,
        size=options.size,
        crop=options.crop is None,
        grey=options.grey is not None,
        labels=options.labels,
        columns=None if options.columns is None else (options.columns[0], options.columns[1]),
        prefix=options.prefix,
    )
    output.note(f"reading {source.path}")
    source = source.resolved()
    parts, held_back = divided(source.read(shows=not options.quiet), options.validation, options.test, source.path)
    prepared = prepare(parts)
    x = prepared.data["x_train"]
    return Arguments(source, held_back, Recipe.chosen(vars(options), x.shape[1:], len(x)), prepared.sums), prepared


def _gone_on(options: argparse.Namespace, folder: Path, output: Output) -> tuple[Arguments, Prepared]:
    """Return the arguments and the data of an earlier run, of which some may be given anew."""
    for name in OF_A_RUN:
        if getattr(options, name) is not None:
            flag = "no-crop" if name == "crop" else name.replace("_", "-")
            options.parser.error(f"argument --{flag}: a run goes on with its own; leave it out, or begin another run")
    arguments = Arguments.read(folder)
    recipe, epochs = arguments.recipe, options.epochs or arguments.recipe.epochs
    if epochs != recipe.epochs and not recipe.can_go_on:
        raise ValueError(
            f"{folder}: expected the {count_of(recipe.epochs, 'epoch')} of the run, in which its learning rate falls "
            f"to 0 ({recipe.schedule}), got {epochs}; train anew with --epochs {epochs}, or with --schedule constant, "
            "whose runs can go on"
        )
    source = arguments.source
    if options.data is not None:  # the data may have been moved
        source = replace(source, path=options.data if options.data == MNIST else os.path.abspath(options.data))
    if options.labels is not None:
        source = replace(source, labels=os.path.abspath(options.labels))
    arguments = replace(arguments, source=source, recipe=replace(recipe, epochs=epochs))
    output.note(f"reading {source.path}")
    return arguments, arguments.prepared(shows=not options.quiet)


def _network(recipe: Recipe, prepared: Prepared) -> Sequential:
    """Return the untrained network, which prepares images and names classes."""
    class_names = prepared.parts["train"].class_names
    model = recipe.model(prepared.data["x_train"].shape[1:], len(class_names))
    model.statistics, model.class_names = prepared.statistics, class_names
    return model


def _report(
    solver: Solver, folder: Path, arguments: Arguments, prepared: Prepared, seconds: float, output: Output
) -> None:
    """Write what the training has brought into the folder, and print it."""
    model, part = solver.model, prepared.parts[prepared.reported]
    save_model(model, folder / MODEL)
    probabilities = probabilities_of(model, part)
    report = measure(part, probabilities)
    text = written(report, IMAGES[prepared.reported])
    saved = [MODEL, LOG, "report.json", "report.txt"]
    try:
        plot_training(solver).savefig(folder / "training.png", dpi=100)
        saved += ["training.png", *draw(part, probabilities, folder)]
    except ImportError as error:  # what is missing must not cost the report
        output.note(f"the report has no figures: {error}")
    content = {
        "folder": str(folder),
        "files": saved,
        "part": prepared.reported,
        "epochs": solver.epoch,
        "seconds": round(seconds, 3),
        **report,
        "arguments": asdict(arguments),
    }
    write_text(folder / "report.json", json.dumps(content, indent=2, allow_nan=False))
    write_text(folder / "report.txt", text)
    output.result(content, f"{text}\n\nsaved in {folder}: {', '.join(saved)}")
