"""A web page of a trained model: draw a digit, and see what each layer makes of it.

The page is one file without a server and without a request. Its parts lie in this folder: ``network.js`` is the
forward pass, ``digit.js`` the preparation of a drawing, and ``page.js``, ``page.html`` and ``page.css`` the rest.
"""

import copy
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from math import frexp
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, IntArray, as_array, as_count, as_labels, as_real
from convnet.datasets.digits import LEAST_SIDE
from convnet.datasets.mnist import load_mnist
from convnet.datasets.preprocessing import Statistics
from convnet.formats.files import PathLike, replace_file
from convnet.layers.base import Layer
from convnet.layers.labels import ClassLabels, labels_of
from convnet.layers.losses import gives_probabilities
from convnet.models.files import check_parts
from convnet.models.sequential import Sequential

__all__ = ["Page", "export", "show"]

FOLDER = Path(__file__).parent
SCRIPTS = ("network.js", "digit.js", "page.js")
# Most samples that the page offers: one of each class, and one that is misread.
MOST_SAMPLES = 12
NO_PROBABILITIES = (
    " The percentages are the softmax of the scores. They rank the classes; with this model's loss they are not "
    "probabilities."
)
LARGEST_HALF = float(np.finfo(np.float16).max)


def export(model: Sequential, path: PathLike, samples: tuple[npt.ArrayLike, npt.ArrayLike] | None = None) -> None:
    """Write a web page on which anyone can draw a digit and see what each layer of a model makes of it.

    The page is one HTML file. It opens by double click and needs no server. It holds the model's parameters in half
    precision, which take 2.7 bytes each. If there are samples, it says for how many of them the half precision changes
    the predicted label.

    Parameters
    ----------
    model : Sequential
        A model of this library's layers. Visitors can draw if the model has statistics and its input has one channel
        and at least 7x7 pixels. A drawing has the size of the input, and is prepared as `convnet.prepare_digit` does.
        For other models the page shows only the samples.
    path : path
        Usually ``*.html``; an existing file is replaced when the new one is complete.
    samples : pair of arrays, optional
        Images and their labels (N,). The page offers one image of each of several classes, and one that is misread.
        Images are uint8 (N, H, W) or (N, H, W, C), as `Sequential.predict_images` takes them. For a model without
        statistics they are the inputs (N, ...) that `Sequential.predict` takes. Without samples the page offers digits
        of MNIST's test set, if the model has statistics, an input of one channel and 28x28 pixels, and ten classes,
        unnamed or named 0 to 9.

    Raises
    ------
    TypeError
        If a layer or the statistics are not of this library, the model is of a class that computes scores in its own
        way, or the samples are not of the dtypes said above.
    ValueError
        If a parameter or the state is NaN or infinite, the statistics or class names do not fit the model, the
        samples' shapes do not fit, a score of theirs is NaN, there are neither samples nor an input that can be drawn,
        or the loss takes other labels than `ClassLabels`, so that an example has no single class.
    OSError
        If the file cannot be written; what was there before is still there.

    Examples
    --------
    >>> from convnet import ConvNet1, load_model, webpage
    >>> webpage.export(load_model("results/model.npz"), "results/page.html")  # doctest: +SKIP
    """
    html = _page_of(model, samples, "export")
    with replace_file(path) as file:
        file.write(html.encode())


class Page:
    """A page in an output cell of a notebook, which shows it where it is the last expression of the cell.

    Attributes
    ----------
    html : str
        The whole page.
    height : int
        Of its frame, in pixels; what is higher is scrolled.
    """

    def __init__(self, html: str, height: int) -> None:
        self.html, self.height = html, height

    def __repr__(self) -> str:
        return f"Page of {len(self.html) / 1e6:.1f} MB; a notebook shows it, and export writes it to a file"

    def _repr_html_(self) -> str:
        # The frame may run the page's script and nothing else. Its own policy is in the page.
        return (
            f'<iframe sandbox="allow-scripts" title="The page of a network" width="100%" height="{self.height}" '
            f'style="border: 0" srcdoc="{escape(self.html)}"></iframe>'
        )


def show(model: Sequential, samples: tuple[npt.ArrayLike, npt.ArrayLike] | None = None, *, height: int = 800) -> Page:
    """Return the page that `export` writes, for an output cell of a notebook, without a file.

    The notebook holds the page with the model's parameters, 2.7 bytes each, once it is saved.

    Parameters
    ----------
    model : Sequential
    samples : pair of arrays, optional
        As of `export`.
    height : int
        Of the frame, in pixels.

    Returns
    -------
    Page
        Shown where it is the last expression of a cell; ``IPython.display.display`` shows it elsewhere.

    Raises
    ------
    TypeError, ValueError
        As `export`; and if the height is no integer of at least 100.
    """
    height = as_count(height, "show: height", 100)
    return Page(_page_of(model, samples, "show"), height)


def _page_of(model: Sequential, samples: tuple[npt.ArrayLike, npt.ArrayLike] | None, what: str) -> str:
    """Return the page of a model, see `export`; messages begin with the name of the function that wants it."""
    statistics = check_parts(model, what)
    if type(model).scores is not Sequential.scores:
        raise TypeError(f"{what}: expected a model whose scores are its layers', not {type(model).__name__}'s own")
    names = [str(label) for label in range(model.num_classes)] if model.class_names is None else list(model.class_names)
    drawable = (
        statistics is not None
        and len(model.input_shape) == 3
        and model.input_shape[0] == 1
        and min(model.input_shape[1:]) >= LEAST_SIDE
    )
    if not isinstance(kind := labels_of(model.loss_function), ClassLabels):
        raise ValueError(
            f"{what}: expected a loss of one class an example, such as softmax_loss, got one of {kind!r}; the page "
            "shows the scores of classes of which one is right"
        )
    params = {name: _halves(array, name, what) for name, array in model.params.items()}
    for name, array in model.state.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{what}: expected finite state, got NaN or infinity in {name}")
    offered: list[dict[str, Any]] = []
    cost = "The parameters are in half precision."
    has_digits = names == list("0123456789")
    if samples is None and drawable and has_digits and model.input_shape == (1, 28, 28):
        samples = load_mnist()[2:]
    if samples is not None:
        rounded = Sequential(copy.deepcopy(list(model.layers.values())), model.input_shape)
        rounded.statistics = statistics
        rounded.load_params({name: halves.astype(np.float64) * scale for name, (halves, scale) in params.items()})
        inputs, shown, labels = _checked_samples(samples, model, statistics, what)
        try:
            own, predicted = model.predict(inputs), rounded.predict(inputs)
        except ValueError as error:
            raise ValueError(f"{what}: samples: {error}") from None
        offered = [
            {
                "name": names[labels[i]],
                "misread": bool(predicted[i] != labels[i]),
                "image": _encoded(shown[i], "uint8" if statistics is not None else "float32"),
            }
            for i in _choose(labels, predicted)
        ]
        changed = int((own != predicted).sum())
        cost = (
            f"The parameters are in half precision, which changes the label of {changed:,} of {len(labels):,} examples"
            f"; {(predicted == labels).mean():.2%} of them are read correctly."
        )
    if not drawable and not offered:
        raise ValueError(
            f"{what}: expected samples, as only images of one channel and {LEAST_SIDE}x{LEAST_SIDE} pixels or more can "
            f"be drawn, and only for a model with statistics, got input {model.input_shape} and "
            f"{'no ' if statistics is None else ''}statistics"
        )
    content = {
        "input_shape": model.input_shape,
        "output_shapes": list(model.output_shapes.values()),
        "layers": _layers(model.layers, params),
        "statistics": None
        if statistics is None
        else {"divide_by_255": statistics.divide_by_255}
        | {
            name: None if array is None else _encoded(array, "float32")
            for name, array in (("mean", statistics.mean), ("std", statistics.std))
        },
        "class_names": names,
        "samples": offered,
        "drawable": drawable,
        "about": f"{type(model).__name__}, {sum(param.size for param in model.params.values()):,} parameters."
        + ("" if gives_probabilities(model.loss_function) else NO_PROBABILITIES),
        "cost": cost,
    }
    title = "Draw a digit" if drawable and has_digits else "Inside a network"
    return _page(title, content)


def _layers(
    layers: Mapping[str, Layer], params: Mapping[str, tuple[npt.NDArray[np.float16], float]], prefix: str = ""
) -> list[dict[str, Any]]:
    """Return layers as network.js takes them: name, class, arrays, hyper-parameters, and the layers that they hold."""
    described = []
    for name, layer in layers.items():
        entry: dict[str, Any] = {"name": name, "class": type(layer).__name__, **layer.hyperparameters()}
        if layer.branches:
            for branch, inner in layer.branches.items():
                entry[branch] = _layers(inner, params, f"{prefix}{name}.{branch}.")
        else:
            for key in layer.params:
                halves, scale = params[f"{prefix}{name}.{key}"]
                entry[key] = _encoded(halves, "float16", scale)
            entry |= {key: _encoded(array, "float32") for key, array in layer.state.items()}
        described.append(entry)
    return described


def _page(title: str, content: dict[str, Any]) -> str:
    """Return the whole page; its policy lets run what it holds, and nothing else, and allows no request."""
    style = (FOLDER / "page.css").read_text("utf-8")
    script = '"use strict";\n' + "\n".join((FOLDER / name).read_text("utf-8") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # A name of a class must not end the block that it stands in.
    model = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"title": title, "policy": policy, "style": style, "script": script, "model": model}
    return re.sub(r"\$(\w+)", lambda place: parts[place[1]], (FOLDER / "page.html").read_text("utf-8"))


def _digest(text: str) -> str:
    """Return what a content security policy calls a script or a style by."""
    from hashlib import sha256  # here, because importing it takes milliseconds

    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _halves(array: FloatArray, name: str, what: str) -> tuple[npt.NDArray[np.float16], float]:
    """Return a parameter in half precision, of which it fills the range, and the power of two to multiply it by."""
    largest = float(np.abs(array).max())
    if not np.isfinite(largest):
        raise ValueError(f"{what}: expected finite parameters, got NaN or infinity in {name}")
    scale = 2.0 ** max(frexp(largest)[1] - 16, -1022) if largest > 0 else 1.0
    # Not rounded up to 65536, which is infinity.
    return np.clip(array.astype(np.float64) / scale, -LARGEST_HALF, LARGEST_HALF).astype(np.float16), scale


def _encoded(array: npt.NDArray[Any], dtype: str, scale: float = 1.0) -> dict[str, Any]:
    """Return an array as the page's `decode_array` takes it."""
    plain = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    return {"shape": array.shape, "dtype": dtype, "scale": scale, "data": b64encode(plain.tobytes()).decode()}


def _checked_samples(
    samples: tuple[npt.ArrayLike, npt.ArrayLike], model: Sequential, statistics: Statistics | None, what: str
) -> tuple[FloatArray, npt.NDArray[Any], IntArray]:
    """Return the inputs of samples, what the page shows of them, and their labels."""
    if not isinstance(samples, (tuple, list)) or len(samples) != 2:
        raise TypeError(f"{what}: expected samples to be a pair of images and labels, got {type(samples).__name__}")
    images = as_array(samples[0], f"{what}: samples")
    if statistics is not None:
        try:
            inputs = statistics.apply(images)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: samples: {error}") from None
        shown = images[:, np.newaxis] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    else:
        inputs = shown = as_real(images, f"{what}: samples")
    if not len(images):
        raise ValueError(f"{what}: expected at least one sample, got shape {images.shape}")
    if inputs.shape[1:] != model.input_shape:
        expected = f"(N, {', '.join(map(str, model.input_shape))}), as the model has no statistics for images"
        raise ValueError(f"{what}: expected samples of shape {expected}, got {inputs.shape}")
    with np.errstate(over="ignore"):
        if not np.isfinite(inputs.astype(np.float32)).all():
            raise ValueError(f"{what}: expected finite samples within float32's range, got others, NaN or infinity")
    return inputs, shown, as_labels(samples[1], f"{what}: labels", len(inputs), model.num_classes)


def _choose(labels: IntArray, predicted: IntArray) -> list[int]:
    """Return which samples are offered: one of each class, rightly read if there is one, and one that is misread."""
    chosen = []
    for label in np.unique(labels)[: MOST_SAMPLES - 1]:
        of_label = np.flatnonzero(labels == label)
        right = of_label[predicted[of_label] == label]
        chosen.append(int((right if right.size else of_label)[0]))
    others = [int(i) for i in np.flatnonzero(labels != predicted) if i not in chosen]
    return chosen + others[:1]
