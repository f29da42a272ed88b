"""Files of data sets: CIFAR's and IDX files as their authors' programs wrote them, and people's photographs."""

import gzip
import struct

import numpy as np

NAMES = ["airplane", "bird", "cat", "a frog"]
COARSE_NAMES = ["flying", "walking"]


def text(value):
    """Return a text as a pickle of Python 2 spells it: SHORT_BINSTRING, or BINSTRING."""
    content = value if isinstance(value, bytes) else value.encode()
    return (
        b"U" + bytes([len(content)]) + content
        if len(content) < 256
        else b"T" + struct.pack("<i", len(content)) + content
    )


def integer(value):
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def array(value):
    """Return an array of uint8 as NumPy pickles it under Python 2, by its class and its state."""
    shape = b"".join(map(integer, value.shape))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(" + shape + b"t"
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbI00\n"
        + text(value.tobytes())
        + b"tb"
    )


def listed(values):
    return b"](" + b"".join(text(v) if isinstance(v, str) else integer(v) for v in values) + b"e"


def pickled(**content):
    """Return a dictionary in protocol 2, each value a text, an array or a list."""
    kinds = {str: text, np.ndarray: array, list: listed}
    items = b"".join(text(key) + kinds[type(value)](value) for key, value in content.items())
    return b"\x80\x02}(" + items + b"u."


def write_cifar(folder, is_pickled, is_hundred, rng, count=3):
    """Write a data set, and return the images (N, 32, 32, 3) and two kinds of labels of each file."""
    folder.mkdir()
    files = ["train", "test"] if is_hundred else [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    written = []
    for number, name in enumerate(files):
        planes = rng.integers(0, 256, (count + number, 3, 32, 32), dtype=np.uint8)
        fine = [*range(4), *rng.integers(0, 4, 9).tolist()][-count - number :] if number else [3, 1, 0][:count]
        coarse = [label % 2 for label in fine]
        written.append((planes.transpose(0, 2, 3, 1), fine, coarse))
        flat = planes.reshape(len(planes), -1)
        if is_pickled:
            labels = {"fine_labels": fine, "coarse_labels": coarse} if is_hundred else {"labels": fine}
            names = [f"an_image_s_{index:06d}.png" for index in range(len(flat))]
            content = pickled(batch_label=f"batch {number}", **labels, data=flat, filenames=names)
            (folder / name).write_bytes(content)
        else:
            columns = [coarse, fine] if is_hundred else [fine]
            records = np.concatenate([np.array(columns, np.uint8).T, flat], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
    if is_pickled:
        names = (
            {"fine_label_names": NAMES, "coarse_label_names": COARSE_NAMES} if is_hundred else {"label_names": NAMES}
        )
        (folder / ("meta" if is_hundred else "batches.meta")).write_bytes(pickled(**names))
    else:
        kinds = (
            {"fine_label_names": NAMES, "coarse_label_names": COARSE_NAMES} if is_hundred else {"batches.meta": NAMES}
        )
        for name, lines in kinds.items():
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n\n")
    return written


IDX_NAMES = {
    "MNIST": ("train-{}-idx{}-ubyte", "t10k-{}-idx{}-ubyte"),
    "KMNIST": ("train-{}-idx{}-ubyte.gz", "t10k-{}-idx{}-ubyte.gz"),
    "with a dot": ("train-{}.idx{}-ubyte", "t10k-{}.idx{}-ubyte"),
    "EMNIST": ("emnist-letters-train-{}-idx{}-ubyte.gz", "emnist-letters-test-{}-idx{}-ubyte.gz"),
}


def write_idx(path, array):
    content = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)


def write_idx_files(folder, names, rng, first=0):
    """Write four files, and return the images and labels of both parts as they are in the files."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, count in zip(names, (7, 4), strict=True):
        images = rng.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        labels = (np.arange(count) % 3 + first).astype(np.uint8)
        write_idx(folder / name.format("images", 3), images)
        write_idx(folder / name.format("labels", 1), labels)
        written.append((images, labels))
    return written


# How many photographs there are of each class.
PHOTOGRAPHS = {"disc": 100, "horizontal": 100, "ring": 20, "vertical": 80}
# What undoes each orientation of EXIF 2.3, 4.6.4: what a camera that is held so has written.
UNTURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),
}


def photograph(kind, rng):
    """Return pixels (H, W, 3) of a photograph of a kind: a shape or stripes, in any colours, with noise."""
    height, width = (int(side) for side in rng.integers(40, 120, 2))
    y, x = np.mgrid[:height, :width]
    centre = height / 2 + rng.uniform(-4, 4), width / 2 + rng.uniform(-4, 4)
    distance = np.hypot(y - centre[0], x - centre[1]) / min(height, width)
    step, offset = min(height, width) / 6, rng.uniform(0, 9)
    mask = {
        "disc": distance < 0.35,
        "ring": (distance > 0.25) & (distance < 0.4),
        "horizontal": (y + offset) // step % 2 > 0,
        "vertical": (x + offset) // step % 2 > 0,
    }[kind]
    ground, ink = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
    pixels = np.where(mask[..., None], ink, ground) + rng.normal(0, 12, (height, width, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_photographs(folder):
    """Write 300 photographs in folders of four classes, of other sizes, modes, kinds and turns; one is broken."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind, count in PHOTOGRAPHS.items():
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            turn = 1 + int(rng.integers(8))
            pixels = UNTURNED[turn](photograph(kind, rng))
            image, exif = Image.fromarray(np.ascontiguousarray(pixels)), Image.Exif()
            exif[0x0112] = turn
            mode, suffix = [("RGB", "jpg"), ("L", "jpg"), ("RGBA", "png"), ("P", "png"), ("CMYK", "jpg")][number % 5]
            image.convert(mode).save(folder / kind / f"{kind} {number}.{suffix}", exif=exif.tobytes())
    (folder / "disc" / "disc 0.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    Image.fromarray(photograph("vertical", rng)).save(folder.parent / "photo.jpg")
