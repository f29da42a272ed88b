"""Images of any kind, as they come from files and from programs, made into arrays of one size.

`load_folder` reads the files of a data set so, and a model the images that it is given to classify.
"""

import io
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_array, as_count, as_flag, as_pair
from convnet.core.threads import get_num_threads
from convnet.core.version import to_install
from convnet.formats.files import open_file

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "ImageReader",
    "Images",
    "Size",
    "as_batch",
    "in_threads",
    "is_file",
    "name_of",
    "opened",
    "remedy_for_levels",
    "turned_size",
]

Images = npt.NDArray[np.uint8]
Size = tuple[int, int]

GREY, RGB = 1, 3
# Modes of Pillow without colour, but for those of 16 bits.
GREY_MODES = ("1", "L", "LA", "La")
# Most files that a thread reads at a time: of small images one alone takes less time than to hand it over.
CHUNK = 128
ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageReader:
    """How images of any kind and size become arrays of one size.

    Parameters
    ----------
    size : int or pair of ints, optional
        Height and width to which images are scaled. By default they stay as they are.
    crop : bool
        What is done if an image has other proportions than `size`: True cuts off the ends that do not fit; False scales
        the image until all of it fits, and fills the rest with `background`.
    channels : 1 or 3, optional
        1 for grey levels, 3 for red, green and blue. By default as many as the image has.
    background : int or three ints
        The colour behind transparent pixels, and beside images with ``crop=False``.
    max_pixels : int
        Images of more pixels are refused, and so is such a size.

    Raises
    ------
    ValueError, TypeError
        If an option is wrong. The message names it.

    Notes
    -----
    `load_folder` describes each parameter. A model that was trained with images of a reader has it in its `statistics`,
    and reads the images that it is given in the same way. A model that was trained with arrays gets a reader by
    ``model.statistics = dataclasses.replace(model.statistics, reader=ImageReader(size=(32, 32)))``.
    """

    size: int | Sequence[int] | None = None
    crop: bool = True
    channels: int | None = None
    background: int | Sequence[int] = 255
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        is_int = isinstance(self.channels, (int, np.integer)) and not isinstance(self.channels, bool)
        if self.channels is not None and not (is_int and self.channels in (GREY, RGB)):
            raise ValueError(f"channels: expected 1, 3 or None, got {self.channels!r:.60}")
        levels = list(self.background) if isinstance(self.background, Sequence) else [self.background]
        if isinstance(self.background, str) or len(levels) not in (1, 3):
            raise ValueError(f"background: expected a grey level or three levels, got {self.background!r:.60}")
        ground = tuple(as_count(level, "background", 0) for level in levels) * (1 if len(levels) == 3 else 3)
        if max(ground) > 255:
            raise ValueError(f"background: expected levels from 0 to 255, got {self.background!r:.60}")
        size, max_pixels = self.size, as_count(self.max_pixels, "max_pixels")
        if size is not None:
            size = height, width = as_pair(size, "size", 1)
            if height * width > max_pixels:
                raise ValueError(f"size: expected at most {max_pixels:,} pixels in all, got {height}x{width}")
        checked = {
            "size": size,
            "crop": as_flag(self.crop, "crop"),
            "background": ground,
            "max_pixels": max_pixels,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return what a model has to remember: all but the channels, which its input has, and the limit of pixels."""
        return {"size": self.size, "crop": self.crop, "background": self.background}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the reader of what `to_dict` returned, after checking it.

        Raises
        ------
        ValueError
            If it is something else.
        """
        if not isinstance(values, Mapping) or values.keys() != {"size", "crop", "background"}:
            raise ValueError(f"expected a reader of images with size, crop and background, got {values!r:.60}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"expected a reader of images: {error}") from None

    def read(self, image: Any) -> Images:
        """Return the pixels of one image.

        Parameters
        ----------
        image : path, bytes, file, PIL.Image.Image or array_like
            A path; the bytes of a file; a file opened for bytes; an image of Pillow; or an array, of uint8, bool or
            uint16 (H, W), or uint8 (H, W, C) with 1 channel of grey levels, 2 with opacity, 3 of colours, or 4 with
            opacity.

        Returns
        -------
        ndarray of uint8, shape (H, W) or (H, W, 3)

        Raises
        ------
        TypeError
            If it is nothing of these.
        ValueError
            If it is broken, or has too many pixels.
        OSError
            If the file cannot be read.
        ImportError
            If Pillow is needed and not installed (``pip install "convnet-cpu[images]"``).
        """
        with closing(self.read_each([image])) as results:
            (result,) = results
        if isinstance(result, Exception):
            raise result
        return result

    def read_each(self, images: Sequence[Any], shows: bool = False) -> Generator[Images | Exception, None, None]:
        """Yield the pixels of each image in order, or the ValueError or OSError that reading it ended with.

        Several threads read them. `shows` draws a bar.
        """
        ready = [self._as_it_is(image) for image in images]
        if all(array is not None for array in ready):  # Pillow is not needed then
            yield from (array for array in ready if array is not None)
            return
        yield from in_threads(self._try_to_read, [(image, name_of(image, n)) for n, image in enumerate(images)], shows)

    def _as_it_is(self, image: Any) -> Images | None:
        """Return an array whose pixels need no change, or None."""
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or 0 in image.shape or image.ndim not in (2, 3):
            return None
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels not in (GREY, RGB) or self.channels not in (None, channels):
            return None
        if self.size not in (None, image.shape[:2]):
            return None
        return image[..., 0] if image.ndim == 3 and channels == GREY else image

    def _try_to_read(self, image: Any, name: str) -> Images | Exception:
        ready = self._as_it_is(image)
        if ready is not None:
            return ready
        try:
            with opened(image, name, self.max_pixels) as picture:
                # What a program has opened is not changed.
                return self._pixels(picture, is_own=picture is not image)
        except (ValueError, OSError) as error:
            return error

    def _pixels(self, picture: "Image.Image", is_own: bool) -> Images:
        """Return the pixels of an opened image, in the size and with the channels that are asked for."""
        from PIL import ImageOps

        if self.size is not None and is_own:  # a decoder of JPEG can leave out what scaling would even out
            side = 2 * max(self._size)
            picture.draft(None, (side, side))
        turn = picture.getexif().get(ORIENTATION, 1)
        if turn != 1:
            picture = ImageOps.exif_transpose(picture)
        picture = self._on_ground(_with_8_bits(picture))
        is_grey = self.channels == GREY or (self.channels is None and picture.mode == "L")
        picture = picture if picture.mode == ("L" if is_grey else "RGB") else picture.convert("L" if is_grey else "RGB")
        if self.size is not None and (picture.height, picture.width) != self.size:
            picture = self._scaled(picture)
        return np.asarray(picture)

    @property
    def _size(self) -> Size:
        height, width = self.size if isinstance(self.size, tuple) else (0, 0)
        return height, width

    @property
    def _ground(self) -> tuple[int, int, int]:
        red, green, blue = self.background if isinstance(self.background, tuple) else (0, 0, 0)
        return red, green, blue

    def _on_ground(self, picture: "Image.Image") -> "Image.Image":
        """Return a picture of the mode L or RGB, what is transparent filled with the background."""
        from PIL import Image

        is_grey = picture.mode in GREY_MODES
        if not picture.has_transparency_data:
            return picture.convert("L" if is_grey else "RGB")
        ground = Image.new("RGBA", picture.size, (*self._ground, 255))
        ground.alpha_composite(picture.convert("RGBA"))
        return ground.convert("L" if is_grey and len(set(self._ground)) == 1 else "RGB")

    def _scaled(self, picture: "Image.Image") -> "Image.Image":
        """Return a picture scaled to the size asked for, with its proportions kept."""
        from PIL import Image

        height, width = self._size
        across, down = width / picture.width, height / picture.height
        scale = max(across, down) if self.crop else min(across, down)
        if self.crop:
            left, top = (picture.width - width / scale) / 2, (picture.height - height / scale) / 2
            box = (max(left, 0.0), max(top, 0.0), picture.width - max(left, 0.0), picture.height - max(top, 0.0))
            return picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
        inner = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        red, green, blue = self._ground
        grey = (299 * red + 587 * green + 114 * blue + 500) // 1000
        sheet = Image.new(picture.mode, (width, height), grey if picture.mode == "L" else self._ground)
        sheet.paste(
            picture.resize(inner, Image.Resampling.BILINEAR), ((width - inner[0]) // 2, (height - inner[1]) // 2)
        )
        return sheet


def as_batch(images: Any, image_shape: tuple[int, int, int], reader: ImageReader | None) -> npt.NDArray[Any] | None:
    """Return what a model is given to classify as a batch of its size, or None for an array that is a batch already.

    Parameters
    ----------
    images : one image or a list
        As `Statistics.apply` takes them.
    image_shape : tuple of ints
        (C, H, W) of the model.
    reader : ImageReader or None
        How the training images were made, if they were made of files.

    Returns
    -------
    ndarray of uint8, shape (N, H, W) or (N, H, W, C), or None
    """
    channels, *size = image_shape
    sources = _sources(images, channels)
    if sources is None or channels not in (GREY, RGB):
        return None
    if isinstance(sources, np.ndarray):
        # Arrays that are no images at all get the error of those that do not fit.
        fits = sources.shape[1:3] == tuple(size) or sources.dtype != np.uint8 or sources.ndim not in (3, 4)
        if fits or reader is None or reader.size is None:
            return None
        if sources.ndim == 3 and sources.shape[2] in (3, 4) and size[1] > 4:
            raise ValueError(
                f"expected grey images of shape (N, H, W), got {sources.shape}, which looks like one image in colours: "
                "give it in a list, [image]"
            )
    own = replace(reader or ImageReader(), size=None if reader is None else reader.size, channels=channels)
    batch = np.empty((len(sources), *size, *([] if channels == GREY else [channels])), np.uint8)
    with closing(own.read_each(sources)) as results:
        for number, result in enumerate(results):
            if isinstance(result, Exception):
                raise result
            if result.shape != batch.shape[1:]:
                height, width = size
                raise ValueError(
                    f"{name_of(sources[number], number)}: expected an image of {height}x{width} pixels, as training "
                    f"images had, got {result.shape[0]}x{result.shape[1]}; model.statistics = dataclasses.replace("
                    f"model.statistics, reader=ImageReader(size={(height, width)})) scales images and crops them"
                )
            batch[number] = result
    return batch


def _sources(images: Any, channels: int) -> Any:
    """Return a list of images, or an array of them; None for lists of numbers, which become an array."""
    images = _without_library(images)
    if isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind in "OUT":
        images = images.tolist()
    if isinstance(images, np.ndarray):
        is_one = images.ndim == 2 or (images.ndim == 3 and channels != GREY)
        return [images] if is_one else images
    if isinstance(images, (list, tuple)) and any(isinstance(image, (list, tuple, int, float)) for image in images):
        return None
    is_several = isinstance(images, (list, tuple)) or (hasattr(images, "__next__") and not is_file(images))
    return [_without_library(image) for image in images] if is_several else [images]


def _without_library(image: Any) -> Any:
    """Return an array of another library, such as a tensor of PyTorch, as one of NumPy, and anything else as it is."""
    is_array = hasattr(image, "__array__") and not isinstance(image, np.generic)
    return as_array(image, "images") if is_array and not hasattr(image, "getexif") else image


def is_file(image: Any) -> bool:
    """Return whether an image is a file: its path, its bytes, or an open one."""
    return isinstance(image, (str, os.PathLike, bytes, bytearray)) or hasattr(image, "read")


def name_of(image: Any, number: int) -> str:
    """Return what messages call an image."""
    return str(image) if isinstance(image, (str, os.PathLike)) else f"image {number}"


@contextmanager
def opened(image: Any, name: str, max_pixels: int) -> Iterator["Image.Image"]:
    """Open an image of any kind; what goes wrong with it in the block is a ValueError that names it.

    Parameters
    ----------
    image : path, bytes, file, PIL.Image.Image or ndarray
    name : str
        Begins each message.
    max_pixels : int
        An image of more is an error.

    Yields
    ------
    PIL.Image.Image
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError(f"reading image files needs Pillow: {to_install('images')}") from None
    if isinstance(image, np.ndarray):
        image = _picture_of(image, name)
    is_opened = isinstance(image, Image.Image)
    with nullcontext(image) if is_opened else _file_of(image, name) as file:
        try:
            if not is_opened and _webp_pixels(file) > max_pixels:
                raise Image.DecompressionBombError
            with nullcontext(file) if is_opened else Image.open(file) as picture:
                if picture.width * picture.height > max_pixels:
                    raise Image.DecompressionBombError
                yield picture
        except UnidentifiedImageError:
            raise ValueError(f"{name}: expected an image file, got one of no format that Pillow reads") from None
        except Image.DecompressionBombError:
            raise ValueError(
                f"{name}: expected an image of at most {max_pixels:,} pixels, got more, or more than Pillow allows"
            ) from None
        except MemoryError:
            raise
        except Exception as error:  # decoders raise nearly anything
            raise ValueError(f"{name}: expected an image file, got one that cannot be read ({error})") from None


def _webp_pixels(file: Any) -> int:
    """Return how many pixels a WebP file claims, 0 for another file: Pillow takes their memory when it opens the file.

    They are in the header of its first part: RFC 9649, sections 2.5 to 2.7.
    """
    start = bytes((file.peek(30) if isinstance(file, _Bounded) else file.getbuffer())[:30])  # a pipe cannot go back
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return 0
    if start[12:16] == b"VP8X":
        return (int.from_bytes(start[24:27], "little") + 1) * (int.from_bytes(start[27:30], "little") + 1)
    if start[12:16] == b"VP8L":
        sides = int.from_bytes(start[21:25], "little")
        return (sides % 2**14 + 1) * ((sides >> 14) % 2**14 + 1)
    return int.from_bytes(start[26:28], "little") % 2**14 * (int.from_bytes(start[28:30], "little") % 2**14)


class _Bounded(io.BufferedReader):
    """A file of which no more is asked for than it has: Python takes the memory for what is asked before it reads.

    Decoders ask for as many bytes as a file's headers claim.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _file_of(image: Any, name: str) -> Any:
    """Return an image's bytes as an open file."""
    if isinstance(image, io.TextIOBase):
        raise TypeError(f'{name}: expected a file opened for bytes, open(path, "rb"), got one opened for text')
    if isinstance(image, (str, os.PathLike)):
        try:
            return _Bounded(open_file(image).detach())
        except FileNotFoundError:
            raise FileNotFoundError(f"{name}: expected an image file, but there is no such file") from None
    try:
        content = image.read() if hasattr(image, "read") else image
    except Exception as error:  # such as that of a closed file
        raise ValueError(f"{name}: expected an open file, got one that cannot be read ({error})") from None
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"{name}: expected a path, bytes, a file opened for bytes, an image of Pillow or an array, got "
            f"{type(image).__name__}{'' if content is image else ', whose read() returns no bytes'}"
        )
    return io.BytesIO(content)


def _picture_of(array: npt.NDArray[Any], name: str) -> "Image.Image":
    """Return an array as an image of Pillow."""
    from PIL import Image

    kinds = {2: ("uint8", "uint16", "bool"), 3: ("uint8",)}.get(array.ndim, ())
    fits = array.ndim == 2 or (array.ndim == 3 and 1 <= array.shape[2] <= 4)
    if not fits or 0 in array.shape:
        is_first = array.ndim == 3 and array.shape[0] in (GREY, RGB)
        remedy = "; image.transpose(1, 2, 0) puts the channels last" if is_first else ""
        raise ValueError(
            f"{name}: expected an array of one image, (H, W) or (H, W, C) with C from 1 to 4, got shape {array.shape}"
            f"{remedy}"
        )
    if array.dtype.name not in kinds:
        remedy = remedy_for_levels(array, "image")
        raise TypeError(f"{name}: expected an image of {', '.join(kinds)}, got {array.dtype}{remedy}")
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return Image.fromarray(native[..., 0] if array.ndim == 3 and array.shape[2] == 1 else native)


def remedy_for_levels(array: npt.NDArray[Any], name: str) -> str:
    """Say how pixels of another dtype become bytes, by their values; "" where nobody knows."""
    if array.dtype.kind == "b":
        return f"; truth values become bytes by {name} * numpy.uint8(255)"
    if array.dtype.kind not in "iuf" or not array.size:
        return ""
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and 0 <= low <= high <= 1:
        return f"; levels from 0 to 1 become bytes by (255 * {name}).round().astype(numpy.uint8)"
    if 0 <= low <= high <= 255:
        rounded = ".round()" if array.dtype.kind == "f" else ""
        return f"; levels from 0 to 255 become bytes by {name}{rounded}.astype(numpy.uint8)"
    prepared = ", and a model's predict and probabilities take prepared ones" if array.dtype.kind == "f" else ""
    return f"; values from {low:g} to {high:g} are no levels of bytes, which go from 0 to 255{prepared}"


def turned_size(picture: "Image.Image") -> Size:
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


def in_threads(
    task: Callable[[Any, str], Any], images: list[tuple[Any, str]], shows: bool
) -> Generator[Any, None, None]:
    """Yield task(image, name) for each image, in order; several threads compute them."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"reading image files needs Pillow: {to_install('images')}") from None

    if len(images) == 1:  # without the cost of threads, and a program's own threads may do the same at once
        yield task(*images[0])
        return
    threads = get_num_threads()
    # Of a few large photographs each thread gets some at a time, too.
    size = max(1, min(CHUNK, len(images) // (4 * threads)))
    with (
        warnings.catch_warnings(),
        _bar(len(images), shows) as advance,
        ThreadPoolExecutor(threads) as executor,
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the reader has a limit of its own
        chunks = (images[start : start + size] for start in range(0, len(images), size))
        waiting = [executor.submit(lambda chunk: [task(*image) for image in chunk], chunk) for chunk in chunks]
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
