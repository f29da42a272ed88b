"""The folder of a run: what it is called, and the file that says what the run consists of.

``arguments.json`` is a JSON object of ``format``, ``version``, ``convnet`` (the release that wrote it), ``source`` (a
`Source`), ``held_back`` (the sizes of the parts that were split off), ``recipe`` (a `Recipe`) and ``sums`` (a checksum
of each array of the data). Beside it lie ``trained.npz`` (a checksum of each training image), ``epochs.csv``,
``checkpoints/``, ``model.npz``, and the report: a text, JSON and figures.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.cli.data import MNIST, Source, divided
from convnet.cli.recipe import Recipe
from convnet.core.checks import listed
from convnet.core.version import __version__
from convnet.datasets.image_data import ImageData
from convnet.datasets.preprocessing import Statistics, fingerprint, preprocess_parts
from convnet.formats.archives import naming, read_archive, write_archive
from convnet.formats.files import PathLike, read_file, replace_file
from convnet.models.files import load_model
from convnet.models.sequential import Sequential

__all__ = [
    "ARGUMENTS",
    "MODEL",
    "TRAINED",
    "Arguments",
    "Prepared",
    "check_new",
    "is_run",
    "known_images",
    "load",
    "new_folder",
    "prepare",
    "write_text",
]

ARGUMENTS, MODEL, TRAINED = "arguments.json", "model.npz", "trained.npz"
FORMAT, VERSION = "convnet run", 1
KIND = "checksum"  # of the file of them
RUNS = "runs"


@dataclass(frozen=True)
class Prepared:
    """The data of a run.

    Parameters
    ----------
    parts : dict of str to ImageData
        The images as they were read, those of `reported` alone.
    data : dict of str to ndarray
        What a Solver takes.
    statistics : Statistics
    sums : dict of str to str
        A checksum of each array.
    """

    parts: dict[str, ImageData]
    data: dict[str, npt.NDArray[Any]]
    statistics: Statistics
    sums: dict[str, str]

    @property
    def reported(self) -> str:
        """The part that a report is about."""
        return _reported(self.parts)


def _reported(parts: Mapping[str, ImageData]) -> str:
    """Return the part that a report is about: the test part, or else the validation part."""
    return "test" if "test" in parts else "validation"


def prepare(parts: Mapping[str, ImageData]) -> Prepared:
    """Return divided data as a training takes them. The images stay bytes, which take a quarter of the memory."""
    data, statistics = preprocess_parts(parts, keep_uint8=True)
    kept = {  # the training images would be in memory twice
        name: part
        if name == _reported(parts)
        else part._replace(images=np.empty((0, *part.images.shape[1:]), np.uint8))
        for name, part in parts.items()
    }
    return Prepared(kept, data, statistics, {name: fingerprint(array) for name, array in data.items()})


def checksums_of(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a checksum of each raw image, channels first, by which it is known again."""
    digests = b"".join(blake2b(image.tobytes(), digest_size=8).digest() for image in images)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


@dataclass(frozen=True)
class Arguments:
    """What a run consists of.

    Parameters
    ----------
    source : Source
    held_back : dict of str to float or int
        The sizes of the parts that were split off.
    recipe : Recipe
    sums : dict of str to str
        Of `Prepared`.
    """

    source: Source
    held_back: dict[str, float]
    recipe: Recipe
    sums: dict[str, str]

    def write(self, folder: Path, prepared: Prepared) -> None:
        """Write them into the folder of a run, and the checksums of the training images."""
        checksums = checksums_of(prepared.data["x_train"])
        write_archive(folder / TRAINED, KIND, VERSION, {}, {"checksums": checksums})
        content = {"format": FORMAT, "version": VERSION, "convnet": __version__, **asdict(self)}
        write_text(folder / ARGUMENTS, json.dumps(content, indent=2))

    @classmethod
    def read(cls, folder: Path) -> "Arguments":
        """Read them from the folder of a run.

        Raises
        ------
        FileNotFoundError
            If it is no folder of a run.
        ValueError
            If the file is damaged, or of another version.
        """
        path = folder / ARGUMENTS
        if not path.is_file():
            found = "a folder without it" if folder.is_dir() else "no folder"
            raise FileNotFoundError(f"{folder}: expected the folder of a run, with {ARGUMENTS}, got {found}")
        try:
            content = json.loads(read_file(path))
            if content["format"] != FORMAT:
                raise ValueError("another file")
            if content["version"] == VERSION:
                source = content["source"]
                for name in ("size", "columns"):
                    source[name] = None if source[name] is None else tuple(source[name])
                return cls(
                    Source(**source), dict(content["held_back"]), Recipe(**content["recipe"]), dict(content["sums"])
                )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: expected the arguments of a run, got a damaged file ({error!r:.100})") from None
        raise ValueError(
            f"{path}: expected version {VERSION}, got {content['version']!r:.40}; a newer convnet reads it"
        )

    def prepared(self, *, shows: bool = False) -> Prepared:
        """Read and divide the data again, and check that they are the same; `shows` draws a progress bar.

        Raises
        ------
        FileNotFoundError
            If they are not where they were.
        ValueError
            If they have changed.
        """
        path, labels = self.source.path, self.source.labels
        for place in (path, labels):
            if place not in (None, MNIST) and not Path(place).exists():
                table = "" if labels is None else "--labels TABLE "
                raise FileNotFoundError(
                    f"{place}: expected the data of the run, but there is nothing of this name; if they are elsewhere "
                    f"now, convnet train DATA {table}--resume FOLDER tells the run where, also after its end"
                )
        parts = self.source.read(shows=shows)
        sizes = {name: None if name in parts else size for name, size in self.held_back.items()}
        found = prepare(divided(parts, sizes["validation"], sizes["test"], self.source.path)[0])
        if found.sums != self.sums:
            differing = [name for name in {**self.sums, **found.sums} if found.sums.get(name) != self.sums.get(name)]
            raise ValueError(
                f"{self.source.path}: expected the images that the run was trained with, got others (other arrays: "
                f"{listed(differing)}); put them back, or train anew"
            )
        return found


def check_new(folder: Path) -> None:
    """Raise a FileExistsError if there is something where the results are to be written."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        found = "one that is not empty; take another, or go on with the run in it by --resume"
        raise FileExistsError(
            f"{folder}: expected a new folder for the results, got {found if folder.is_dir() else 'a file'}"
        )


def new_folder(name: str, given: PathLike | None) -> Path:
    """Make a new folder for a run: the given one, or the first that is free of ``runs/NAME-1``, ``runs/NAME-2``, ..."""
    if given is not None:
        folder = Path(given)
        check_new(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    Path(RUNS).mkdir(exist_ok=True)
    for number in itertools.count(1):  # another process may take the same number at the same time
        folder = Path(RUNS) / f"{name}-{number}"
        try:
            folder.mkdir()
            break
        except FileExistsError:
            continue
    return folder


def is_run(path: Path) -> bool:
    """Return whether a path is the folder of a run."""
    return (path / ARGUMENTS).is_file()


def known_images(folder: Path, part: ImageData) -> int | None:
    """Return how many images of a part the run in a folder has trained with; None if its checksums are missing."""
    path = folder / TRAINED
    if not path.exists():
        return None
    _, arrays = read_archive(path, KIND, [VERSION])
    images = part.images if part.images.ndim == 3 else part.images.transpose(0, 3, 1, 2)
    with naming(path, KIND):
        return int(np.isin(checksums_of(images), arrays["checksums"]).sum())


def load(path: PathLike) -> tuple[Sequential, Path | None]:
    """Load a model from its file or from the folder of a run; return that folder, too, if it lies in one."""
    place = Path(path)
    if place.is_dir():
        if not (place / MODEL).exists():
            remedy = f"; convnet train --resume {place} ends the training" if is_run(place) else ""
            raise FileNotFoundError(
                f"{place}: expected a model file or the folder of a run, got no {MODEL} in it{remedy}"
            )
        place = place / MODEL
    return load_model(place), place.parent if is_run(place.parent) else None


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replace_file(path) as file:
        file.write(f"{text}\n".encode())
