"""``convnet summary``, ``profile`` and ``info``: what a model is, how long it takes, and what it runs on."""

import argparse
from typing import Any

import numpy as np

from convnet.cli.output import Output
from convnet.cli.runs import load
from convnet.core.checks import listed
from convnet.core.threads import config, show_config
from convnet.models.sequential import Sequential

__all__ = ["run"]


def run(options: argparse.Namespace, output: Output) -> None:
    """Look at the model, or at the machine."""
    COMMANDS[options.inspect](options, output)


def _summary(options: argparse.Namespace, output: Output) -> None:
    model, _ = load(options.model)
    names = list(model.class_names or map(str, range(model.num_classes)))
    content = {
        "model": str(options.model),
        "kind": type(model).__name__,
        "input_shape": model.input_shape,
        "classes": names,
        "parameters": sum(param.size for param in model.params.values()),
        "layers": _layers(model),
    }
    title = f"{options.model}: {type(model).__name__}, {len(names)} classes ({listed(names)})"
    output.result(content, f"{title}\n\n{model.summary()}\n\n{model.plan()}")


def _layers(model: Sequential) -> list[dict[str, Any]]:
    """Return what `summary` says of each layer."""
    shape, layers = model.input_shape, []
    for name, layer in model.layers.items():
        layers.append(
            {
                "name": name,
                "kind": type(layer).__name__,
                "output_shape": model.output_shapes[name],
                "parameters": sum(param.size for param in layer.params.values()),
                "multiply_adds": layer.multiply_adds(shape),
            }
        )
        shape = model.output_shapes[name]
    return layers


def _profile(options: argparse.Namespace, output: Output) -> None:
    model, _ = load(options.model)
    rng, count = np.random.default_rng(0), options.batch_size
    x = rng.standard_normal((count, *model.input_shape), np.float32)
    labels = None if options.predict else rng.integers(0, model.num_classes, count)
    profile = model.plan().profile(x, labels)
    content = {
        "model": str(options.model),
        "batch_size": profile.batch_size,
        "threads": profile.threads,
        "peak": profile.peak,
        "stages": [stage._asdict() for stage in profile.stages],
        "total": profile.total._asdict(),
    }
    output.result(content, str(profile))


def _info(options: argparse.Namespace, output: Output) -> None:
    if output.as_json:
        output.result(config(), "")
    else:
        show_config()


COMMANDS = {"summary": _summary, "profile": _profile, "info": _info}
