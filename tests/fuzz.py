"""Read mutated files of every kind, and see that each ends in a clean error or a right result.

    python tests/fuzz.py --inputs 1250000
    python tests/fuzz.py --seconds 60 --kinds pickle checkpoint

A clean error is a ValueError that names the file. Anything else ends the program with status 1 and keeps the input: a
crash, another error, ten seconds without an answer (thirty in C code, which no exception can leave), memory beyond a
limit, or an attempt to write, rename or remove a file, start a process, connect to the network or load a library. The
same random seed makes the same inputs. Each kind has a process of its own, and as many run at once as there are
processors.
"""

import argparse
import concurrent.futures
import contextlib
import faulthandler
import functools
import gzip
import io
import json
import logging
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import data_files
import numpy as np

import convnet

MEGABYTES = 300
SECONDS = 10
MEMORY = Path("/dev/shm")  # where a file is written in a tenth of the time that a disk takes
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime"),
    "shutil.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class HangError(BaseException):
    """An input took too long; no part of the library may take it for an error in the file."""


class ForbiddenError(BaseException):
    """An input had something run."""


# ------------------------------------------------------------------------------------------------ mutations

NUMBERS = [0, 1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def mutated(content, corpus, rng):
    """Return bytes that are changed in one to four places."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(content) + 1)
        change = rng.randrange(8)
        if change == 0 and content:
            content[place % len(content)] ^= 1 << rng.randrange(8)
        elif change == 1 and content:
            content[place % len(content)] = rng.randrange(256)
        elif change == 2:
            del content[place : place + rng.choice((1, 2, 4, 8, 64))]
        elif change == 3:
            content[place:place] = rng.randbytes(rng.choice((1, 2, 4, 8, 64)))
        elif change == 4:
            content = content[:place]
        elif change == 5:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) % 2 ** (8 * size)
            content[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif change == 6:
            start = rng.randrange(len(content) + 1)
            content[place:place] = content[start : start + rng.randrange(1, 100)]
        else:
            other = rng.choice(corpus)
            start = rng.randrange(len(other) + 1)
            content[place:] = other[start:]
    return bytes(content)


VALUES = [None, True, -1, 0, 1, 3, 2**31, 2**63, 1e308, float("nan"), "", "x", "conv1", [], {}, [1], [1, 2, 3], "\0"]


def changed_json(value, rng):
    """Return a JSON value with one part of it replaced, removed or repeated."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: changed_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value[:place] + value[place + 1 :]
        if rng.random() < 0.1:
            return value[:place] + value[place : place + 1] * 2 + value[place + 1 :]
        return [*value[:place], changed_json(value[place], rng), *value[place + 1 :]]
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 255, 2**31))
    return rng.choice(VALUES)


@functools.cache
def members_of(content):
    """Return the names and contents of an archive's members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def mutated_archive(content, corpus, rng):
    """Return an archive that is changed as a whole, or in its header or one of its arrays under right checksums."""
    if rng.random() < 0.3:
        return mutated(content, corpus, rng)
    members = dict(members_of(content))
    if rng.random() < 0.6:
        header = changed_json(json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes()), rng)
        text = json.dumps(header).encode()
        file = io.BytesIO()
        np.save(file, np.frombuffer(text if rng.random() < 0.9 else mutated(text, [text], rng), np.uint8))
        members["header.npy"] = file.getvalue()
    else:
        name = rng.choice(list(members))
        members[name] = mutated(members[name], list(members.values()), rng)
        if rng.random() < 0.1:
            members[rng.choice(list(members))] = members.pop(name)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


def mutated_idx(content, corpus, rng):
    """Return an IDX file, half of them compressed."""
    changed = mutated(content, corpus, rng)
    if rng.random() < 0.5:
        return changed
    compressed = gzip.compress(changed, 1)
    return compressed if rng.random() < 0.5 else mutated(compressed, corpus, rng)


def mutated_onnx(content, corpus, rng):
    """Return an ONNX file that is changed as a whole, or in a node, an attribute or an array of its graph."""
    if rng.random() < 0.3:
        return mutated(content, corpus, rng)
    import onnx

    proto = onnx.ModelProto.FromString(content)
    graph = proto.graph
    for _ in range(rng.choice((1, 1, 2, 3))):
        node, tensor, change = rng.choice(graph.node), rng.choice(graph.initializer), rng.randrange(8)
        names = [name for other in graph.node for name in (*other.input, *other.output)]
        if change == 0 and node.attribute:
            entry = rng.choice(node.attribute)
            entry.i, entry.f = rng.choice((-1, *NUMBERS[:-2])), rng.choice((0.0, -1.0, 1e30, float("nan")))
            if entry.ints:
                entry.ints[rng.randrange(len(entry.ints))] = rng.choice((-1, *NUMBERS[:-2]))
        elif change == 1 and node.attribute:
            node.attribute.remove(rng.choice(node.attribute))
        elif change == 2 and tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((-1, *NUMBERS[:-2]))
        elif change == 3:
            node.op_type = rng.choice([other.op_type for other in graph.node] + ["Elu", "Reshape", "Concat", "Shape"])
        elif change == 4 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif change == 5:
            graph.node.remove(node)
        elif change == 6:
            tensor.raw_data = mutated(tensor.raw_data, [tensor.raw_data], rng)
        else:
            dims = graph.input[0].type.tensor_type.shape.dim
            dims[rng.randrange(len(dims))].dim_value = rng.choice((-1, *NUMBERS[:-2]))
        if not graph.node:
            break
    return proto.SerializeToString()


# ---------------------------------------------------------------------------------------------- kinds of file


def small_model():
    """Return a model of a few hundred parameters."""
    return convnet.ConvNet1((1, 6, 6), num_filters=2, kernel_size=3, padding=1, hidden_size=4, num_classes=3)


def small_solver():
    """Return a Solver of that model."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((12, 1, 6, 6), np.float32), rng.integers(0, 3, 12)
    data = {"x_train": x, "y_train": labels, "x_validation": x, "y_validation": labels}
    return convnet.Solver(small_model(), data, convnet.Adam(0.01), batch_size=5, num_train_check=None)


def written(write):
    """Return the content of a file that a function writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "file.npz")
        return (Path(folder) / "file.npz").read_bytes()


class Idx:
    """Files of images and labels."""

    name, mutate = "idx", staticmethod(mutated_idx)

    def corpus(self):
        """Return right files."""
        types = [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
        files = []
        for code, dtype in types:
            for shape in ((7,), (3, 4), (2, 3, 4)):
                header = struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)
                files.append(header + np.arange(np.prod(shape)).astype(dtype).tobytes())
        return files

    def read(self, path):
        """Read a file, and check what came."""
        array = convnet.read_idx(path)
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        assert array.nbytes == len(raw) - 4 - 4 * array.ndim


class ModelFile:
    """Model files."""

    name, mutate = "model", staticmethod(mutated_archive)

    def corpus(self):
        """Return right files."""
        model = small_model()
        model.statistics = convnet.Statistics((1, 6, 6), True, np.zeros((1, 6, 6), np.float32), np.array(2, np.float32))
        model.class_names = ["a", "b", "c"]
        affine = convnet.Affine(9, 2, rng=np.random.default_rng(0))
        layers = [convnet.AveragePool2D(2), convnet.LeakyReLU(0.1), convnet.Sigmoid(), convnet.Dropout(0.5), affine]
        pooled = convnet.Sequential(layers, (1, 6, 6), loss=convnet.svm_loss)
        loss = functools.partial(convnet.softmax_loss, smoothing=0.1, class_weights=[1.0, 0.5])
        pooled.statistics = convnet.Statistics((1, 6, 6), True, None, None, convnet.ImageReader(size=6))
        weighted = convnet.Sequential([convnet.Affine(3, 2, rng=np.random.default_rng(0))], (3,), loss=loss)
        windows = {"stride": 2, "padding": ((0, 1), (2, 1)), "ceil_mode": True}
        convolution = convnet.Conv2D(1, 2, 3, padding=((0, 2), (1, 0)), rng=np.random.default_rng(0))
        layers = [convolution, convnet.MaxPool2D(3, **windows), convnet.GlobalAveragePool()]
        models = (model, pooled, weighted, convnet.Sequential(layers, (1, 6, 6)))
        return [written(lambda path, model=model: convnet.save_model(model, path)) for model in models]

    def read(self, path):
        """Load a model, and predict with it if its input is small."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # NumPy's, of old files
            model = convnet.load_model(path)
        if np.prod(model.input_shape, dtype=object) < 10_000:
            with np.errstate(all="ignore"):
                assert model.scores(np.zeros((2, *model.input_shape))).shape == (2, model.num_classes)


class CheckpointFile:
    """Checkpoints."""

    name, mutate = "checkpoint", staticmethod(mutated_archive)

    def __init__(self):
        self.solver = small_solver()

    def corpus(self):
        """Return right files."""
        files = []
        for steps in (0, 2, 3):
            solver = small_solver()
            for _ in range(steps):
                solver.step()
            files.append(written(solver.save))
        return files

    def read(self, path):
        """Resume, and make a step."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of another instruction set, and of NumPy's old files
            self.solver.resume(path)
        try:
            with np.errstate(all="ignore"):
                self.solver.step()
        except FloatingPointError:
            self.solver = small_solver()


class Pickle:
    """Pickles of prepared data, of the tutorial's parameters and statistics, and hostile ones."""

    name, mutate = "pickle", staticmethod(mutated)

    def corpus(self):
        """Return right files, and some that ask for more than they may."""
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (6, 5, 5)).astype(np.uint8), np.arange(6) % 2
        data, statistics = convnet.preprocess(images, labels, images, labels, num_validation=2, num_test=None)
        params = {"w1": np.zeros((2, 1, 3, 3)), "b1": np.zeros(2), "w2": np.zeros((392, 3)), "b2": np.zeros(3)}
        params |= {"w3": np.zeros((3, 4)), "b3": np.zeros(4)}
        moments = {"mean_image": np.zeros((28, 28, 1)), "std": np.ones((28, 28, 1))}
        files = [written(lambda path: convnet.save_prepared(path, data, statistics))]
        files += [pickle.dumps(content, protocol) for content in (params, moments) for protocol in range(6)]
        nested = ()
        for _ in range(60):
            nested = (nested, nested)
        files += [
            b"cos\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
            b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
            b"\x80\x04r" + struct.pack("<I", 2**31) + b".",
            pickle.dumps({"a": nested}),
            pickle.dumps([10**4000]),
            data_files.pickled(data=np.zeros((1, 3072), np.uint8), labels=[1]),
        ]
        return files

    def read(self, path):
        """Read as each of the kinds."""
        failures = 0
        for load in (convnet.load_prepared, convnet.load_tutorial_model, statistics_of, batch_of):
            try:
                load(path)
            except ValueError as error:
                check_message(error, path)
                failures += 1
        if failures == 4:
            raise ValueError(f"{path}: refused by all")


def statistics_of(path):
    """Read the tutorial's statistics."""
    from convnet.models.tutorial import _tutorial_arrays

    _tutorial_arrays(path, {"mean_image": 3, "std": 3})


def batch_of(path):
    """Read a batch of CIFAR."""
    from convnet.datasets.cifar import _read_pickle

    _read_pickle(path, "")


class DataFile:
    """Files of a whole data set."""

    def read(self, path):
        """Read a data set; images of another dtype, and parts that lack a class, are not what is looked for."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                parts = self.load(path)
            except TypeError as error:
                raise ValueError(str(error)) from None
        for part in parts.values():
            assert len(part.images) == len(part.labels)


class Npz(DataFile):
    """Archives of arrays."""

    name, mutate, load = "npz", staticmethod(mutated), staticmethod(convnet.load_npz)

    def corpus(self):
        """Return right files."""
        arrays = {"x_train": np.arange(48, dtype=np.uint8).reshape(3, 4, 4), "y_train": np.array(["a", "b", "a"])}
        arrays |= {"x_test": arrays["x_train"], "y_test": arrays["y_train"]}
        return [written(lambda path, save=save: save(path, **arrays)) for save in (np.savez, np.savez_compressed)]


class Table(DataFile):
    """Tables, half of them compressed."""

    name, mutate, load = "table", staticmethod(mutated_idx), staticmethod(convnet.load_csv)

    def corpus(self):
        """Return right files."""
        lines = [b"cat,1,2,3,4", b"dog,5,6,7,255", b'"a, b",0,0.0,0,0']
        return [b"\n".join(lines), b"label,a,b,c,d\r\n" + b"\r\n".join(lines)]


class Onnx:
    """ONNX files."""

    name, mutate = "onnx", staticmethod(mutated_onnx)

    def corpus(self):
        """Return right files."""
        from convnet.onnx import export_onnx

        rng = np.random.default_rng(0)
        model = small_model()
        model.statistics = convnet.Statistics((1, 6, 6), True, np.zeros((1, 6, 6), np.float32), np.array(2, np.float32))
        model.class_names = ["a", "b", "c"]
        block = convnet.Residual([convnet.Conv2D(2, 2, 3, padding=1, rng=rng), convnet.BatchNorm2D(2), convnet.GELU()])
        layers = [convnet.Conv2D(1, 2, 3, stride=2, rng=rng), block, convnet.SiLU(), convnet.MaxPool2D(2)]
        layers += [convnet.Affine(2, 4, rng=rng), convnet.LeakyReLU(), convnet.Affine(4, 3, rng=rng)]
        models = (model, convnet.Sequential(layers, (1, 6, 6)))
        return [written(lambda path, model=model: export_onnx(model, path)) for model in models]

    def read(self, path):
        """Import a model, and predict with it if its input is small."""
        from convnet.onnx import import_onnx

        model = import_onnx(path)
        sizes = [model.input_shape, *model.output_shapes.values()]
        if max(np.prod(size, dtype=object) for size in sizes) < 10_000:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", convnet.ConvnetWarning)  # zeros may lie far from what is prepared
                assert model.scores(np.zeros((2, *model.input_shape))).shape == (2, model.num_classes)


class Images:
    """Image files in a folder of a class; the first letters of a file say what it is."""

    name, mutate = "images", staticmethod(mutated)

    def corpus(self):
        """Return right files."""
        from PIL import Image, features

        sys.stderr = os.fdopen(os.dup(2), "w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff prints there what it dislikes
        logging.disable()  # as Pillow does
        rng = np.random.default_rng(0)
        colours = Image.fromarray(rng.integers(0, 256, (9, 7, 4), np.uint8))
        rgb, grey = colours.convert("RGB"), colours.convert("L")
        exif = Image.Exif()
        exif[0x0112] = 6  # turned
        files = [(image, "PNG", {}) for image in (colours, rgb, grey, rgb.quantize(), grey.convert("1"))]
        files.append((Image.fromarray(rng.integers(0, 2**16, (9, 7), np.uint16)), "PNG", {}))
        files += [
            (rgb, "JPEG", {"exif": exif}),
            (grey, "JPEG", {"progressive": True}),
            (rgb.convert("CMYK"), "JPEG", {}),
        ]
        files += [(rgb, "TIFF", {"compression": way}) for way in (None, "tiff_lzw", "tiff_deflate", "packbits")]
        files += [(rgb, "WEBP", {"lossless": lossless}) for lossless in (False, True) if features.check("webp")]
        files += [(rgb, "JPEG2000", {})] * features.check("jpg_2000") + [(rgb, "AVIF", {})] * features.check("avif")
        files += [(rgb, "BMP", {}), (rgb, "PPM", {}), (colours, "TGA", {"compression": "tga_rle"})]
        files.append((grey, "GIF", {"save_all": True, "append_images": [grey.rotate(90)]}))
        contents = []
        for image, kind, options in files:
            file = io.BytesIO()
            image.save(file, kind, **options)
            contents.append(file.getvalue())
        return contents

    def place(self, folder):
        """Return where an input is written."""
        (folder / "class").mkdir()
        return folder / "class" / "image.png"

    def read(self, path):
        """Load the folder, and check what came."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what it reads all the same, and of too many pixels
            data = convnet.load_folder(path.parent.parent, size=8, max_pixels=100_000)
        images = data["train"].images
        assert images.dtype == np.uint8
        assert images.shape in ((1, 8, 8), (1, 8, 8, 3))


KINDS = {kind.name: kind for kind in (Idx, ModelFile, CheckpointFile, Pickle, Npz, Table, Onnx, Images)}


# ------------------------------------------------------------------------------------------------------- runs


def check_message(error, path):
    """Raise an AssertionError unless an error is a clean one."""
    assert str(path) in str(error), f"the file is not named: {error}"
    assert not isinstance(error.__context__, MemoryError), "it wanted too much memory"
    assert len(str(error)) < 2000, "the message is long"


def fuzz(name, inputs, seconds, seed):
    """Read mutated files of a kind, print how many, and return whether all ended well."""
    convnet.set_num_threads(1)
    kind, rng = KINDS[name](), random.Random(f"{name} {seed}")
    corpus = kind.corpus()
    folder = Path(tempfile.mkdtemp(prefix=f"convnet-fuzz-{name}-", dir=MEMORY if MEMORY.is_dir() else None))
    path = kind.place(folder) if hasattr(kind, "place") else folder / name
    for content in corpus:  # so that all is imported and warm
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # of hostile files
            kind.read(path)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    sys.dont_write_bytecode = True
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    space = 2**20 * (int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() // 2**20 + MEGABYTES)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    state = {"watching": False}

    def hook(event, arguments):
        if state["watching"] and event.startswith(FORBIDDEN):
            raise ForbiddenError(event)
        if state["watching"] and event == "open":
            path, mode, flags = arguments  # `os.open` has no mode, and C's fopen no flags
            if flags & WRITING or set(mode or "") & set("wax+"):
                raise ForbiddenError(f"open for writing {path}")

    def alarm(number, frame):
        raise HangError

    sys.addaudithook(hook)
    signal.signal(signal.SIGALRM, alarm)
    start, count, right = time.monotonic(), 0, 0
    armed = start
    while (inputs is None or count < inputs) and (seconds is None or time.monotonic() - start < seconds):
        content = kind.mutate(rng.choice(corpus), corpus, rng)
        path.write_bytes(content)
        count += 1
        if time.monotonic() > armed + 1:  # it starts a thread, which would take the time of a small input
            faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
            armed = time.monotonic()
        signal.alarm(SECONDS)
        state["watching"] = True
        try:
            kind.read(path)
            right += 1
        except ValueError as error:
            try:
                check_message(error, path)
            except AssertionError as problem:
                return failed(name, count, path, problem)
        except BaseException as error:
            return failed(name, count, path, error)
        finally:
            state["watching"] = False
            signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    took = time.monotonic() - start
    print(f"| {name} | {count:,} | {right:,} | {count - right:,} | {grown:.0f} MB | {took:.0f} s |", flush=True)
    if grown >= MEGABYTES:
        print(f"{name}: memory grew by more than {MEGABYTES} MB; the last input is kept in {path}", file=sys.stderr)
        return False
    shutil.rmtree(folder)
    return True


def failed(name, count, path, error):
    """Say which input failed, which stays where it is."""
    print(f"{name}, input {count}: {type(error).__name__}: {str(error)[:500]}; kept in {path}", file=sys.stderr)
    return False


def main():
    """Fuzz the kinds asked for, each in a process of its own; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, help="of each kind")
    parser.add_argument("--seconds", type=float, help="for each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    options = parser.parse_args()
    if options.inputs is None and options.seconds is None:
        parser.error("expected --inputs or --seconds")
    if len(options.kinds) == 1:
        return int(not fuzz(options.kinds[0], options.inputs, options.seconds, options.seed))
    print("| kind | inputs | read | refused | memory grown | time |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as processes:
        return int(not all([*processes.map(lambda name: fuzz_apart(name, options), options.kinds)]))


def fuzz_apart(name, options):
    """Fuzz a kind in a process of its own, and return whether it ended well."""
    import subprocess

    limits = {"inputs": options.inputs, "seconds": options.seconds, "seed": options.seed}
    arguments = [f"--{limit}={value}" for limit, value in limits.items() if value is not None]
    status = subprocess.run([sys.executable, __file__, *arguments, "--kinds", name]).returncode
    if status:
        end = f"by signal {-status}" if status < 0 else f"with status {status}"
        print(f"{name}: the process ended {end}; its input is the file in the newest folder", end=" ")
        print(f"convnet-fuzz-{name}-* of {MEMORY} or {tempfile.gettempdir()}", flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
