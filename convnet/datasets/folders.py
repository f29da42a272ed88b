"""Folders of image files, one for each class."""

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_count, as_flag, as_pair
from convnet.core.threads import get_num_threads
from convnet.datasets.image_data import ImageData, Images, checked_names, count_of, listed, warn_of_missing
from convnet.formats.files import PathLike, open_file

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["load_folder"]

# Names of folders that are parts of a data set, not classes.
PART_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
# Files with other names are no images.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".jp2", ".tga", ".avif"),
)
# What programs leave in folders and archives.
IGNORED = ("__MACOSX",)
GREY, RGB = 1, 3
# Modes of Pillow without colour, but for those of 16 bits.
GREY_MODES = ("1", "L", "LA", "La")
# Files that a thread reads at a time: of small images one alone takes less time than to hand it over.
CHUNK = 128
ORIENTATION = 0x0112

Size = tuple[int, int]
Files = list[tuple[Path, int]]


def load_folder(
    path: PathLike,
    *,
    size: int | Sequence[int] | None = None,
    crop: bool = True,
    channels: int | None = None,
    background: int | Sequence[int] = 255,
    class_names: Sequence[str] | None = None,
    skip_broken: bool = False,
    max_pixels: int = 100_000_000,
    progress: bool = False,
) -> dict[str, ImageData]:
    """Load the image files of a folder that has a folder for each class, as it is or in parts.

    Parameters
    ----------
    path : path
        A folder of ``CLASS/*.png``, or of ``train/CLASS/*.png`` with ``val``, ``valid`` or ``validation``, and ``test``
        beside it. Files may be PNG, JPEG, BMP, GIF, TIFF, WebP, PBM, PGM, PPM, JPEG 2000, TGA or AVIF, as their suffix
        says. Hidden files, those with other suffixes, and files outside the folders of classes are ignored.
    size : int or pair of ints, optional
        Height and width of the images, which are scaled to it, with their proportions kept and without aliasing. By
        default they stay as they are; they then have to be of one size.
    crop : bool
        Where the proportions of an image are not those of `size`: True cuts off what is too much on its two longer
        ends; False scales until all of it can be seen, and fills the rest with `background`.
    channels : 1 or 3, optional
        1 for grey levels, 3 for red, green and blue. By default images are grey if all files are, and otherwise
        red-green-blue. A file with a palette counts as coloured.
    background : int or three ints
        The ground under transparent pixels, and beside images with ``crop=False``: a grey level from 0 to 255, or red,
        green and blue.
    class_names : sequence of str, optional
        The names of the classes, in order, such as ``model.class_names``; each folder has to be one of them. By default
        the names of the folders of all parts, sorted as people do: ``class2`` before ``class10``.
    skip_broken : bool
        Leave out files that cannot be read, with a warning that counts and names them. By default the first one is an
        error.
    max_pixels : int
        Files of more pixels are broken: a small file may unpack to more than the memory holds.
    progress : bool
        Draw a bar on the terminal, with tqdm, if it is installed.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, ``"validation"`` and ``"test"``, those that there are; a folder without parts is ``"train"``.
        Images are uint8, (N, H, W) in grey or (N, H, W, 3), class by class, and by file name within a class.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If there are no classes, a class has no image, the images differ in size and `size` is not given, or a file is
        broken. Messages name the folder or the file.
    ImportError
        If Pillow is not installed (``pip install "convnet-cpu[images]"``).

    Warns
    -----
    UserWarning
        If files are skipped, or a part has no image of a class.

    Notes
    -----
    Images are turned as their EXIF data say. 16 bits are scaled to 8, colours made grey by the weights of ITU-R BT.601.
    Of a file with several images the first is taken. Files are read by several threads; the result is the same for any
    number of them.
    """
    root = Path(path)
    reader = _Reader(size, crop, channels, background, max_pixels)
    skips, shows = as_flag(skip_broken, "skip_broken"), as_flag(progress, "progress")
    folders = {part: _class_folders(folder) for part, folder in _part_folders(root).items()}
    found = {folder.name for classes in folders.values() for folder in classes}
    if class_names is None:
        names = tuple(sorted(found, key=natural_key))
    else:
        names = checked_names(class_names, "load_folder")
        if unknown := sorted(found - set(names), key=natural_key):
            raise ValueError(
                f"{path}: expected folders of the classes {listed(names)}, as class_names says, got {listed(unknown)}"
            )
    label_of = {name: label for label, name in enumerate(names)}
    files: Files = []
    ends = []
    for classes in folders.values():
        for folder in sorted(classes, key=lambda folder: label_of[folder.name]):
            files += [(file, label_of[folder.name]) for file in _image_files(folder)]
        ends.append(len(files))
    images, kept = reader.read([file for file, _ in files], skips, shows)
    labels = np.array([label for _, label in files], np.int64)
    parts = {}
    for part, start, end in zip(folders, [0, *ends], ends, strict=False):
        first, last = np.searchsorted(kept, (start, end))
        own = labels[kept[first:last]]
        if lost := sorted(set(labels[start:end].tolist()) - set(own.tolist())):
            raise ValueError(
                f"{path}: expected an image of each class that can be read, got only broken files of "
                f"{listed([names[label] for label in lost])} in the {part} part"
            )
        parts[part] = ImageData(images[first:last], own, names)
    remedy = "take images of it in, or split(...) all images anew"
    warn_of_missing({part: data.labels for part, data in parts.items()}, names, "load_folder", 3, remedy)
    return parts


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return what names are sorted by, so that numbers within them count as numbers, and capitals do not matter."""
    pieces = re.split(r"([0-9]+)", name)
    return [int(piece) if index % 2 else piece.casefold() for index, piece in enumerate(pieces)], name


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden."""
    with os.scandir(folder) as entries:
        return [
            folder / entry.name
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in IGNORED
        ]


def _part_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the parts by name, in order; the whole folder as the training part if it has no parts."""
    if not root.is_dir():
        kind = "a file" if root.exists() else "nothing there"
        error = ValueError if root.exists() else FileNotFoundError
        raise error(f"{root}: expected a folder with a folder of images for each class, got {kind}")
    inside = _folders_in(root)
    if not inside:
        raise ValueError(f"{root}: expected a folder of images for each class, got no folder in it")
    # A class may be called train, too; a part has folders in it.
    parts = [folder for folder in inside if folder.name.lower() in PART_NAMES and _folders_in(folder)]
    if not parts:
        return {"train": root}
    if len(parts) < len(inside):
        others = sorted((folder.name for folder in inside if folder not in parts), key=natural_key)
        raise ValueError(
            f"{root}: expected either folders of parts, such as {parts[0].name}, or folders of classes, got "
            f"{listed(others)} beside {listed(sorted(folder.name for folder in parts))}"
        )
    found: dict[str, Path] = {}
    for folder in parts:
        name = PART_NAMES[folder.name.lower()]
        if name in found:
            raise ValueError(f"{root}: expected one folder for the {name} part, got {found[name].name}, {folder.name}")
        found[name] = folder
    return {name: found[name] for name in ("train", "validation", "test") if name in found}


def _class_folders(part: Path) -> list[Path]:
    folders = _folders_in(part)
    if not folders:
        raise ValueError(f"{part}: expected a folder of images for each class, got no folder in it")
    return folders


def _image_files(folder: Path) -> list[Path]:
    """Return the image files of a class, in order."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in IGNORED:
                continue
            if entry.is_dir():
                raise ValueError(
                    f"{folder}: expected images, for a folder in it is that of a class, got the folder {entry.name}; "
                    "move its images up, or load a folder whose folders are the classes"
                )
            if entry.name.lower().endswith(SUFFIXES):
                names.append(entry.name)
    if not names:
        raise ValueError(
            f"{folder}: expected at least one image of the class {folder.name}, got no file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    return [folder / name for name in sorted(names, key=natural_key)]


class _Reader:
    """Reads image files as arrays of one size, with the options of `load_folder`."""

    def __init__(
        self,
        size: int | Sequence[int] | None,
        crop: bool,
        channels: int | None,
        background: int | Sequence[int],
        max_pixels: int,
    ) -> None:
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise ImportError('reading image files needs Pillow: pip install "convnet-cpu[images]"') from None
        self.size: Size | None = None if size is None else as_pair(size, "load_folder: size", 1)
        self.crops = as_flag(crop, "crop")
        if channels not in (None, GREY, RGB) or isinstance(channels, (bool, float)):
            raise ValueError(f"load_folder: channels: expected 1, 3 or None, got {channels!r:.60}")
        self.channels = channels
        levels = list(background) if isinstance(background, Sequence) else [background]
        if isinstance(background, str) or len(levels) not in (1, 3):
            raise ValueError(f"load_folder: background: expected a grey level or three levels, got {background!r:.60}")
        self.background = _three(levels)
        if max(self.background) > 255:
            raise ValueError(f"load_folder: background: expected levels from 0 to 255, got {background!r:.60}")
        self.max_pixels = as_count(max_pixels, "load_folder: max_pixels")

    def read(self, files: list[Path], skips: bool, shows: bool) -> tuple[Images, npt.NDArray[np.intp]]:
        """Return the images of all files, (N, H, W) or (N, H, W, 3), and which files they are of."""
        images: Images | None = None
        kept: list[int] = []
        broken: list[tuple[Path, Exception]] = []
        with closing(_in_threads(self._try_to_read, files, shows)) as results:
            for index, result in enumerate(results):
                if isinstance(result, Exception):
                    if not skips:
                        raise result
                    broken.append((files[index], result))
                    continue
                if images is None:
                    images = np.empty((len(files), *result.shape), np.uint8)
                if images.shape[1:3] != result.shape[:2]:
                    self._raise_of_sizes(files)
                if images.ndim < result.ndim + 1:  # the first file with colours
                    images = np.repeat(images[..., np.newaxis], RGB, axis=3)
                images[len(kept)] = result if images.ndim == result.ndim + 1 else result[..., np.newaxis]
                kept.append(index)
        if images is None:
            raise ValueError(f"{broken[0][1]}; no file of {len(files)} could be read")
        if broken:
            named = listed([f"{file.parent.name}/{file.name}" for file, _ in broken])
            warnings.warn(
                f"load_folder: {count_of(len(broken), 'file')} of {len(files):,} could not be read and left out: "
                f"{named}; the first because: {broken[0][1]}",
                stacklevel=3,
            )
        return images[: len(kept)], np.array(kept, np.intp)

    def _raise_of_sizes(self, files: list[Path]) -> None:
        """Raise the error of images of different sizes, which counts them."""
        with closing(_in_threads(self._try_to_measure, files, False)) as results:
            sizes = Counter(size for size in results if isinstance(size, tuple))
        common = listed([f"{h}x{w} ({count:,})" for (h, w), count in sizes.most_common()])
        raise ValueError(
            f"load_folder: expected images of one size, got {len(sizes):,} sizes, height x width (files): {common}; "
            "size=(H, W) scales all of them to one"
        )

    def _try_to_read(self, path: Path) -> Images | Exception:
        try:
            pixels: Images = self._caught(self._pixels, path)
        except (ValueError, OSError) as error:
            return error
        return pixels

    def _try_to_measure(self, path: Path) -> Size | Exception:
        try:
            size: Size = self._caught(_turned_size, path)
        except (ValueError, OSError) as error:
            return error
        return size

    def _caught(self, function: "Callable[[Image.Image], Any]", path: Path) -> Any:
        """Call a function with an opened image file; what goes wrong is a ValueError that names the file."""
        from PIL import Image, UnidentifiedImageError

        with open_file(path) as file:
            try:
                with Image.open(file) as picture:
                    if picture.width * picture.height > self.max_pixels:
                        raise Image.DecompressionBombError
                    return function(picture)
            except UnidentifiedImageError:
                raise ValueError(f"{path}: expected an image file, got one of no format that Pillow reads") from None
            except Image.DecompressionBombError:
                raise ValueError(
                    f"{path}: expected an image of at most {self.max_pixels:,} pixels, as max_pixels says, or what "
                    "Pillow allows, got more"
                ) from None
            except MemoryError:
                raise
            except Exception as error:  # decoders raise nearly anything
                raise ValueError(f"{path}: expected an image file, got one that cannot be read ({error})") from None

    def _pixels(self, picture: "Image.Image") -> Images:
        """Return the pixels of an opened file, in the size and with the channels that are asked for."""
        from PIL import ImageOps

        if self.size is not None:  # a decoder of JPEG can leave out what scaling would even out
            picture.draft(None, (2 * max(self.size), 2 * max(self.size)))
        turn = picture.getexif().get(ORIENTATION, 1)
        if turn != 1:
            picture = ImageOps.exif_transpose(picture)
        picture = self._on_ground(_with_8_bits(picture))
        is_grey = self.channels == GREY or (self.channels is None and picture.mode == "L")
        picture = picture if picture.mode == ("L" if is_grey else "RGB") else picture.convert("L" if is_grey else "RGB")
        if self.size is not None and (picture.height, picture.width) != self.size:
            picture = self._scaled(picture)
        return np.asarray(picture)

    def _on_ground(self, picture: "Image.Image") -> "Image.Image":
        """Return a picture of the mode L or RGB, what is transparent filled with the background."""
        from PIL import Image

        is_grey = picture.mode in GREY_MODES
        if not picture.has_transparency_data:
            return picture.convert("L" if is_grey else "RGB")
        ground = Image.new("RGBA", picture.size, (*self.background, 255))
        ground.alpha_composite(picture.convert("RGBA"))
        return ground.convert("L" if is_grey and len(set(self.background)) == 1 else "RGB")

    def _scaled(self, picture: "Image.Image") -> "Image.Image":
        """Return a picture scaled to the size asked for, with its proportions kept."""
        from PIL import Image

        height, width = self.size or (0, 0)
        across, down = width / picture.width, height / picture.height
        scale = max(across, down) if self.crops else min(across, down)
        if self.crops:
            left, top = (picture.width - width / scale) / 2, (picture.height - height / scale) / 2
            box = (max(left, 0.0), max(top, 0.0), picture.width - max(left, 0.0), picture.height - max(top, 0.0))
            return picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
        inner = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        grey = (299 * self.background[0] + 587 * self.background[1] + 114 * self.background[2] + 500) // 1000
        sheet = Image.new(picture.mode, (width, height), grey if picture.mode == "L" else self.background)
        sheet.paste(
            picture.resize(inner, Image.Resampling.BILINEAR), ((width - inner[0]) // 2, (height - inner[1]) // 2)
        )
        return sheet


def _three(levels: list[int]) -> tuple[int, int, int]:
    """Return one level or three as red, green and blue."""
    checked = [as_count(level, "load_folder: background", 0) for level in levels]
    red, green, blue = checked if len(checked) == 3 else 3 * checked
    return red, green, blue


def _turned_size(picture: "Image.Image") -> Size:
    """Return height and width of a picture when it is turned as its EXIF data say; 5 to 8 are quarter turns."""
    height, width = picture.height, picture.width
    return (width, height) if picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8) else (height, width)


def _with_8_bits(picture: "Image.Image") -> "Image.Image":
    """Return a picture of grey levels of 16 bits with 8, and any other as it is."""
    from PIL import Image

    # Pillow has 16 bits in the mode I in some formats, by its release.
    has_16_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if not has_16_bits:
        if picture.mode in ("I", "F"):
            raise ValueError(f"its pixels have 32 bits (mode {picture.mode}), and what white is cannot be told")
        return picture
    levels = np.asarray(picture).astype(np.int64)
    grey = Image.fromarray(((255 * levels + 32767) // 65535).astype(np.uint8))
    transparent = picture.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(levels == transparent, 0, 255).astype(np.uint8))))


def _in_threads(task: Callable[[Path], Any], files: list[Path], shows: bool) -> Generator[Any, None, None]:
    """Yield task(file) for each file, in order; several threads compute them."""
    from PIL import Image

    with (
        warnings.catch_warnings(),
        _bar(len(files), shows) as advance,
        ThreadPoolExecutor(get_num_threads()) as executor,
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the reader has a limit of its own
        starts = range(0, len(files), CHUNK)
        chunks = (files[start : start + CHUNK] for start in starts)
        waiting = [executor.submit(lambda chunk: [task(file) for file in chunk], chunk) for chunk in chunks]
        waiting.reverse()
        try:
            while waiting:
                results = waiting.pop().result()  # taken from the list, so that its memory is free when it was used
                yield from results
                advance(len(results))
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _bar(total: int, shows: bool) -> Iterator[Callable[[int], object]]:
    """Give a function that moves a progress bar, if one is wanted and there are tqdm and a terminal."""
    if shows and sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            with tqdm(total=total, unit="file", dynamic_ncols=True) as bar:
                yield bar.update
            return
    yield lambda count: None
