"""Make the keras-*.onnx files, by Keras' own exporter, and keras-*.npy, what these networks give for `inputs`.

pip install tensorflow-cpu tf2onnx
python tests/data/keras_models.py
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent


def mnist():
    """Return the network of Keras' example mnist_convnet, with fewer filters."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def cifar():
    """Return a network for photographs in colour, with all that makes importing hard."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("silu"),
            layers.SeparableConv2D(8, 3, padding="same", activation="tanh"),
            layers.AveragePooling2D(3, padding="same"),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def residual():
    """Return a network with a residual connection."""
    x = start = keras.Input((16, 16, 3))
    x = before = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.Conv2D(4, 3, padding="same")(layers.LeakyReLU()(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([before, x])))
    return keras.Model(start, layers.Dense(3)(x))


def inputs(shape, largest):
    """Return the images (N, H, W, C) that a network is given."""
    return np.linspace(0, largest, 3 * np.prod(shape), dtype=np.float32).reshape(3, *shape)


def main():
    """Write the files."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    for make, largest in ((mnist, 1), (cifar, 255), (residual, 1)):
        model = make()
        for weight in model.weights:
            if "variance" in weight.name:
                weight.assign(rng.uniform(0.5, 2, weight.shape))
            elif "mean" in weight.name or "bias" in weight.name or "beta" in weight.name:
                weight.assign(rng.normal(size=weight.shape))
        x = inputs(model.input_shape[1:], largest)
        np.save(FOLDER / f"keras-{make.__name__}.npy", model(x).numpy())
        model.export(FOLDER / f"keras-{make.__name__}.onnx", format="onnx", verbose=False)


if __name__ == "__main__":
    main()
