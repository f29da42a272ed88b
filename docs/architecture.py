"""Draw docs/architecture.png: the packages, and the way of the data through them.

python docs/architecture.py
"""

from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# From the top down: what lies side by side, and a colour. A package imports from those below it.
FLOORS = [
    ([("cli/", "the command convnet: train, evaluate, predict, export, ...")], "#fbe3d6"),
    (
        [
            ("estimator/", "scikit-learn"),
            ("onnx/", "ONNX files"),
            ("webpage/", "a page to draw on"),
            ("plotting/", "figures"),
        ],
        "#fbe3d6",
    ),
    ([("training/", "Solver, optimizers, schedules, callbacks, checkpoints")], "#fff2cc"),
    ([("models/", "Sequential, ConvNet1, the plan, model files")], "#fff2cc"),
    (
        [("layers/", "functions, layers, stages, losses"), ("datasets/", "MNIST, preprocessing, augmentation")],
        "#e2f0d9",
    ),
    ([("formats/", "files, archives"), ("core/", "checks, threads, memory"), ("naive.py", "plain loops")], "#e2f0d9"),
    ([("_kernels.pyx, kernels/", "typed loops, geometry of convolution and pooling")], "#deebf7"),
    ([("native/", "instruction sets, register tiles, pool of threads")], "#deebf7"),
]
STEPS = (
    "images, labels",
    "data, statistics",
    "minibatch (N, C, H, W)",
    "stages of the plan",
    "kernels",
    "register tiles",
)
WIDTH, HEIGHT, GAP = 6.4, 0.62, 0.12


def main() -> None:
    """Draw the picture."""
    figure = Figure(figsize=(8.8, 6.1))
    axes = figure.add_axes((0, 0, 1, 1))
    top = len(FLOORS) * (HEIGHT + GAP)
    axes.set(xlim=(-0.1, 8.9), ylim=(-0.05, top + 0.35))
    axes.axis("off")
    for floor, (rooms, colour) in enumerate(FLOORS):
        y = top - (floor + 1) * (HEIGHT + GAP)
        width = (WIDTH - GAP * (len(rooms) - 1)) / len(rooms)
        for place, (name, content) in enumerate(rooms):
            x = place * (width + GAP)
            box = FancyBboxPatch((x, y), width, HEIGHT, "round,pad=0,rounding_size=0.06", fc=colour, ec="#7f7f7f")
            axes.add_patch(box)
            axes.text(x + width / 2, y + 0.41, name, ha="center", va="center", fontsize=10, weight="bold")
            axes.text(x + width / 2, y + 0.17, content, ha="center", va="center", fontsize=7.5)
    axes.text(0, top + 0.12, "packages: each imports from those below it", fontsize=9, style="italic")
    axes.text(WIDTH + 0.35, top + 0.12, "the way of a minibatch", fontsize=9, style="italic")
    x, heights = WIDTH + 0.5, [top - 0.45 - 1.0 * step for step in range(len(STEPS))]
    for text, y in zip(STEPS, heights, strict=True):
        axes.plot([x], [y], "o", color="#4c72b0")
        axes.text(x + 0.16, y, text, va="center", fontsize=9)
    for start, end in pairwise(heights):
        arrow = FancyArrowPatch(
            (x, start - 0.08), (x, end + 0.08), arrowstyle="-|>", mutation_scale=12, color="#4c72b0"
        )
        axes.add_patch(arrow)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
