"""The commands and their options."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from convnet.core.checks import LARGEST, as_count, as_number
from convnet.core.version import __version__

__all__ = ["NETWORKS", "OF_A_FOLDER", "OF_A_RUN", "SCHEDULES", "check_unused", "make_parser", "parse"]

# What `convnet.cli.recipe` has tables of.
NETWORKS = ("small", "large")
SCHEDULES = ("one-cycle", "cosine", "constant")
# Options of `train` by which a run is another one; those that --resume takes are not among them.
OF_A_RUN = (
    "size",
    "crop",
    "grey",
    "columns",
    "prefix",
    "validation",
    "test",
    "network",
    "batch_size",
    "learning_rate",
    "schedule",
    "l2",
    "seed",
    "shift",
    "rotation",
    "flip",
    "contrast",
    "brightness",
    "cutout",
    "out",
)
# Options that say how the files of a data set are read.
OF_A_FOLDER = ("labels", "columns", "prefix")

MODEL = "a model file, or the folder of a run"
DATA = (
    "a folder with a folder of images for each class (or with such folders in train, val and test), a folder of four "
    "IDX files or of CIFAR's files, a file .npz, .csv, .csv.gz or .tsv, or mnist, the digits that are in the package"
)
CODES = "exit code: 0 success, 1 the work failed, 2 wrong arguments, 130 after Ctrl-C (convnet train --resume goes on)"


class _Parser(argparse.ArgumentParser):
    """A parser whose help has an example below the options, and that takes no shortened options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; the options that it returns have the module of the command, and its parser."""
    parser = _Parser(
        prog="convnet",
        description="Train small convolutional networks on images, and use them.",
        epilog=f"example: convnet train photos/ && convnet predict runs/photos-1 photo.jpg\n\n{CODES}",
    )
    parser.add_argument("--version", action="version", version=f"convnet {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for add in (_train, _evaluate, _predict, _export, _summary, _profile, _info):
        general = add(commands).add_argument_group("general")
        general.add_argument("--json", action="store_true", help="print the result as one JSON object")
        general.add_argument("--quiet", action="store_true", help="tell errors and warnings alone beside the result")
        general.add_argument("--threads", type=_count(1), metavar="N", help="threads (default: one a processor)")
        general.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; what is wrong of them is told by the parser of the command."""
    options, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}; {options.parser.prog} --help has all")
    if getattr(options, "columns", None) is not None and options.labels is None:
        options.parser.error("argument --columns: they are those of a table; give --labels TABLE, too")
    return options


def _command(
    commands: Any, name: str, places: str, summary: str, example: str, *, module: str | None = None
) -> argparse.ArgumentParser:
    """Add a command, whose arguments without a name are those in `places`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=f"convnet {name} {places}[options]",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example: {example}",
    )
    parser.set_defaults(module=module or name, parser=parser)
    return parser


def _train(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "train",
        "[DATA] ",
        "train a network, and report on images that it has not seen",
        "convnet train photos/",
    )
    parser.add_argument("data", nargs="?", type=_path, metavar="DATA", help=f"{DATA} (default: mnist)")
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--out", type=_path, metavar="FOLDER", help="a new folder for the results (default: runs/NAME-1, -2, ...)"
    )
    run.add_argument(
        "--resume", type=_path, metavar="FOLDER", help="go on with a run that was interrupted, bit for bit"
    )
    run.add_argument(
        "--checkpoint-seconds", type=_number(above=0), default=60.0, metavar="S", help="how often to save (default: 60)"
    )
    run.add_argument("--dry-run", action="store_true", help="say what would be trained, and how, and stop")

    data = parser.add_argument_group("the data")
    _add_folder_options(data)
    data.add_argument(
        "--size",
        type=_size,
        metavar="PIXELS",
        help="scale files of images to a square, such as 48, or to height x width, 48x64 (default: at most 64)",
    )
    data.add_argument(
        "--no-crop",
        dest="crop",
        action="store_const",
        const=False,
        help="fill up what does not fit, instead of cutting",
    )
    data.add_argument("--grey", action="store_const", const=True, help="read files of images without colours")
    data.add_argument(
        "--validation",
        type=_share,
        metavar="PART",
        help="hold back a fraction (0.2) or a number (200) of the images (default: 0.2; up to 1000 images beside a "
        "test part)",
    )
    data.add_argument("--test", type=_share, metavar="PART", help="hold back a test part, too (default: none)")

    training = parser.add_argument_group("the training; the defaults depend on the data, and are told")
    training.add_argument(
        "--network", choices=NETWORKS, help="small for many small grey images, large with batch normalization"
    )
    training.add_argument("--epochs", type=_count(1), metavar="N", help="passes over the training images")
    training.add_argument("--batch-size", type=_count(1), metavar="N", help="images of a minibatch")
    training.add_argument("--learning-rate", type=_number(above=0), metavar="X", help="the largest one")
    training.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="course of the learning rate; constant ones can go on (default: one-cycle)",
    )
    training.add_argument("--l2", type=_number(at_least=0), metavar="X", help="strength of the L2 regularisation")
    training.add_argument("--seed", type=_count(0), metavar="N", help="random seed of the training (default: 0)")

    changes = parser.add_argument_group("changes of the training images (augmentation), drawn anew each time")
    changes.add_argument("--shift", type=_count(0), metavar="N", help="shift by up to so many pixels")
    changes.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror half of them, left to right (default: images in colours)",
    )
    rotation = _number(at_least=0, at_most=180)
    changes.add_argument("--rotation", type=rotation, metavar="DEGREES", help="turn by up to so much (default: 0)")
    changes.add_argument("--contrast", type=_number(at_least=0, at_most=1), metavar="X", help="by up to a part X")
    changes.add_argument("--brightness", type=_number(at_least=0), metavar="X", help="by up to a part X of white")
    changes.add_argument("--cutout", type=_count(0), metavar="N", help="cut out a square of N pixels (default: 0)")
    return parser


def check_unused(options: argparse.Namespace, names: Sequence[str], place: str) -> None:
    """Say that an option is a wrong argument without the data that it belongs to."""
    for name in names:
        if getattr(options, name) is not None:
            options.parser.error(f"argument --{name}: it belongs to {place}; give {place}, too")


def _add_folder_options(group: Any) -> None:
    """Add the options that say how the files of a data set are read."""
    group.add_argument("--labels", type=_path, metavar="TABLE", help="a CSV file with the label of each file in DATA")
    group.add_argument("--columns", nargs=2, metavar=("FILE", "LABEL"), help="which columns of the table to take")
    group.add_argument("--prefix", help="which of several data sets in IDX files to take, such as emnist-letters")


def _evaluate(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "evaluate",
        "MODEL [DATA] ",
        "report how good a model is on images with labels",
        "convnet evaluate runs/photos-1 more_photos/",
    )
    parser.add_argument("model", type=_path, metavar="MODEL", help=MODEL)
    parser.add_argument(
        "data",
        nargs="?",
        type=_path,
        metavar="DATA",
        help=f"{DATA} (default: the images that the run has held back)",
    )
    _add_folder_options(parser)
    parser.add_argument(
        "--part", choices=("train", "validation", "test"), help="part of DATA (default: the last one that there is)"
    )
    return parser


def _predict(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "predict",
        "MODEL IMAGE... ",
        "say what a model sees in images",
        "convnet predict runs/photos-1 photo.jpg holiday/",
    )
    parser.add_argument("model", type=_path, metavar="MODEL", help=MODEL)
    parser.add_argument("images", nargs="+", type=_path, metavar="IMAGE", help="an image file, or a folder of them")
    parser.add_argument(
        "--top", type=_count(1), default=3, metavar="N", help="how many classes to print (default: 3); --json has all"
    )
    parser.add_argument(
        "--digits",
        action="store_true",
        help="make photographs and drawings of digits look like MNIST's first: one digit each, on an even ground",
    )
    return parser


def _export(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "export",
        "MODEL ",
        "write a model in another format",
        "convnet export runs/mnist-1 --onnx digits.onnx --page digits.html",
    )
    parser.add_argument("model", type=_path, metavar="MODEL", help=MODEL)
    parser.add_argument("--onnx", type=_path, metavar="FILE", help="for ONNX Runtime and other programs")
    parser.add_argument(
        "--page", type=_path, metavar="FILE", help="a web page that shows what each layer makes of an image"
    )
    parser.add_argument(
        "--samples", type=_path, metavar="DATA", help="images that the page offers (default: the run's own)"
    )
    _add_folder_options(parser)
    return parser


def _summary(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "summary",
        "MODEL ",
        "show the layers of a model, and how it is computed",
        "convnet summary runs/mnist-1",
        module="inspection",
    )
    parser.set_defaults(inspect="summary")
    parser.add_argument("model", type=_path, metavar="MODEL", help=MODEL)
    return parser


def _profile(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "profile",
        "MODEL ",
        "measure how long each part of a model takes, on random inputs",
        "convnet profile runs/mnist-1 --batch-size 100",
        module="inspection",
    )
    parser.set_defaults(inspect="profile")
    parser.add_argument("model", type=_path, metavar="MODEL", help=MODEL)
    parser.add_argument("--batch-size", type=_count(1), default=50, metavar="N", help="images at a time (default: 50)")
    parser.add_argument("--predict", action="store_true", help="measure a prediction instead of a training step")
    return parser


def _info(commands: Any) -> argparse.ArgumentParser:
    parser = _command(
        commands, "info", "", "show versions, instruction sets and threads", "convnet info", module="inspection"
    )
    parser.set_defaults(inspect="info")
    return parser


def _path(text: str) -> str:
    """Return a path; an empty one, as of a variable of the shell that is not set, would be the folder one is in."""
    if not text:
        raise argparse.ArgumentTypeError("expected a file or a folder, got an empty text")
    return text


def _count(least: int) -> Callable[[str], int]:
    """Return what makes an integer of a text."""

    def parse(text: str) -> int:
        try:
            return as_count(int(text), "", least)
        except (TypeError, ValueError):
            raise argparse.ArgumentTypeError(f"expected an integer from {least} to {LARGEST}, got {text!r}") from None

    return parse


def _number(**bounds: float) -> Callable[[str], float]:
    """Return what makes a number within bounds of a text."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
        try:
            return as_number(value, "", **bounds)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(": ")) from None

    return parse


def _share(text: str) -> float | int:
    """Return a fraction or a number of images."""
    try:
        return as_count(int(text), "", 0)
    except ValueError:
        pass
    try:
        return as_number(float(text), "", at_least=0, below=1)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a fraction below 1, such as 0.2, or a number of images, such as 200, got {text!r}"
        ) from None


def _size(text: str) -> tuple[int, int]:
    """Return height and width."""
    sides = text.lower().split("x")
    try:
        height, width = (as_count(int(side), "") for side in (sides if len(sides) == 2 else [text, text]))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected pixels such as 64, or height x width as 48x64, got {text!r}"
        ) from None
    return height, width
