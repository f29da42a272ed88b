r"""
10. Going further
=================

You know how a small network works, from the formula to the kernel. This chapter shows what one builds with it: a
residual network, a layer of your own with a gradient that is checked, a model of your own image files, and the ways to
use a model elsewhere. Each part is short. To try one alone, take the first block of code, with the imports and the
digits. The last part needs the one before it, too.
"""

# %%
# A residual network
# ------------------
#
# A deeper network can express more, but is harder to train: on its way back through many layers the gradient may become
# tiny. A *residual block* adds its input to what its layers make of it:
#
# .. math:: y = x + f(x)
#
# The layers have to learn only what is to be changed. And the gradient has a short way back. By the chain rule it is
# the sum of two parts, one that passes by the layers unchanged and one through them:
#
# .. math:: \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} + \frac{\partial L}{\partial y}\, f'(x)
#
# This is the formula for one number. For arrays, the second term is what ``backward`` of the layers of :math:`f`
# returns.
#
# The gain comes with many layers. K. He and others ("Deep residual learning for image recognition", 2016) found a plain
# network of 34 layers worse than one of 18; with residual blocks it was better. A network as small as ours cannot show
# it. These are the digits for this part and for the layer of your own:

import numpy as np

import convnet
from convnet import Adam, Affine, BatchNorm2D, Conv2D, GlobalAveragePool, OneCycle, ReLU, Residual, Sequential, Solver

rng = np.random.default_rng(0)
digits = convnet.load_mnist()
data, _ = convnet.preprocess(*(array[:6000] for array in digits), num_validation=1000, num_test=2000)

# %%
# :class:`convnet.Residual` holds the layers of :math:`f`. :math:`x` and :math:`f(x)` can be added only if they have the
# same shape. If :math:`f` halves the image or has more channels, the input goes through a *shortcut* first: a 1x1
# convolution and a batch normalization. Each output of a 1x1 convolution is a mixture of the channels at one pixel; a
# stride of 2 leaves out every second row and column.


def block(channels, filters, stride):
    """Return the layers of a residual block: two 3x3 convolutions, each with batch normalization."""
    options = {"bias": False, "rng": rng}
    f = [Conv2D(channels, filters, 3, stride=stride, padding=1, **options), BatchNorm2D(filters), ReLU()]
    f += [Conv2D(filters, filters, 3, padding=1, **options), BatchNorm2D(filters)]
    shortcut = None
    if channels != filters or stride != 1:
        shortcut = [Conv2D(channels, filters, 1, stride=stride, **options), BatchNorm2D(filters)]
    return [Residual(f, shortcut), ReLU()]


# %%
# Batch normalization (:ref:`chapter 5 <sphx_glr_chapters_gallery_05_other_layers.py>`) subtracts the mean of each
# channel. A bias before it would be subtracted, too, so the convolutions have none. :class:`convnet.GlobalAveragePool`
# takes the mean of each channel over the whole image, so that one small ``Affine`` layer is enough at the end. Behind
# the second convolution there is no ReLU, so that :math:`f` can make :math:`x` smaller, too. The ReLU comes after the
# sum.

layers = [Conv2D(1, 16, 3, stride=2, padding=1, bias=False, rng=rng), BatchNorm2D(16), ReLU()]
layers += block(16, 16, 1) + block(16, 32, 2)
layers += [GlobalAveragePool(), Affine(32, 10, rng=rng)]
model = Sequential(layers, input_shape=(1, 28, 28))
solver = Solver(model, data, Adam(1e-2), schedule=OneCycle(3), batch_size=25, epochs=3, restore_best=False)
solver.train()
accuracy = (model.predict(data["x_test"]) == data["y_test"]).mean()
print(f"test accuracy {accuracy:.1%}")
convnet1 = convnet.ConvNet1()
ours, others = (sum(param.size for param in network.params.values()) for network in (model, convnet1))
print(f"{ours:,} parameters; ConvNet1 has {others:,}")
assert accuracy > 0.92
assert convnet1.params["affine1.weight"].size > 0.99 * others

# %%
# The accuracy says that the network trains, and no more: it is not to be compared with the 98 % of chapter 9, where
# there were six times as many images. In both networks a convolution uses the same few weights in all places. Nearly
# all parameters of ConvNet1 are in its first Affine layer, which takes in every place of every feature map. The
# residual network has no such layer: ``GlobalAveragePool`` leaves its only Affine layer 32 inputs.
#
# CIFAR-10
# --------
#
# CIFAR-10 has 60,000 photographs of 32x32 pixels in ten classes, such as airplane, cat and ship. It is the usual next
# step after MNIST, and much harder. The data are not in the package. Unpack them (the "python version" or the "binary
# version") from https://www.cs.toronto.edu/~kriz/cifar.html, and run, in a folder with the library's source code,
#
# .. code-block:: bash
#
#     python examples/cifar10.py --data cifar-10-batches-py
#     python examples/cifar10.py --data cifar-10-batches-py --best --output results/cifar10.npz
#
# The first one trains for about four minutes on two threads (:doc:`where this was measured </performance>`), the second
# one, with a larger network and three times as many epochs, for much longer. The program is a test of the library, too:
# it ends with an error if the test accuracy is below 84 %, and with ``--best`` below 90 %. It adds three things to what
# you know:
#
# - Each photograph is shifted a little, and half of them are mirrored (:class:`convnet.Augmentation`).
# - A tenth of each label is spread evenly over the ten classes (``smoothing=0.1`` of :func:`convnet.softmax_loss`). The
#   right class then counts 0.91 and each other one 0.01, so that the network does not become too sure.
# - The scores of a photograph and of its mirror image are averaged: what only one of the two shows counts less.
#
# A layer of your own
# -------------------
#
# We make a layer that the library does not have, in five steps: formula, derivative, code, check, use. With these five
# steps you can make any layer.
#
# **1. The formula.** The layer is an activation function with a trained number :math:`b_c` for each channel, called
# *Swish* (P. Ramachandran, B. Zoph, Q. Le, "Searching for activation functions", 2017). With :math:`b = 1` it is the
# SiLU of the exercises of chapter 7.
#
# .. math:: y = x \, s, \qquad s = \sigma(b_c\, x) = \frac{1}{1 + e^{-b_c x}}
#
# With :math:`b = 0` it is the straight line :math:`x / 2`, and with a large :math:`b` it is nearly ReLU. The training
# may choose.
#
# **2. The derivatives.** The derivative of the sigmoid function is :math:`\sigma' = \sigma (1 - \sigma)`. By the
# product rule and the chain rule
#
# .. math::
#
#    \frac{\partial y}{\partial x} = s + x\, b_c\, s (1 - s), \qquad
#    \frac{\partial y}{\partial b_c} = x \cdot x\, s (1 - s)
#
# The layer is given ``dy``, the gradient of the loss with respect to :math:`y`, and multiplies it with these. All
# numbers of a channel share :math:`b_c`, so the gradient of :math:`b_c` is the *sum* over them: over the images, the
# rows and the columns.
#
# **3. The code.** A layer is a subclass of :class:`convnet.Layer`. It puts what is trained into ``params``. ``forward``
# returns the output and a *cache*, which is whatever ``backward`` needs. ``backward`` returns the gradient of the
# input, and a dictionary with a gradient for each parameter.
#
# ``kind`` is the beginning of the layer's name in a model: ``swish1``. In training ``forward`` is given a random
# generator ``rng``, for layers such as dropout. ``need_dx`` is False if nobody needs the gradient of the input. A layer
# may ignore both, but must accept them. ``layer(x)``, for prediction, comes from :class:`convnet.Layer`, and is
# ``forward(x)[0]``. A layer that does something else in prediction has its own ``__call__(self, x)``. All parameters
# of a model have the same dtype, by default float32.


class Swish(convnet.Layer):
    """y = x * sigmoid(b * x), with a trained b for each channel."""

    kind = "swish"

    def __init__(self, channels, dtype=np.float32):
        super().__init__()  # makes params and state, both empty
        self.params = {"b": np.ones(channels, dtype)}

    def forward(self, x, rng=None):
        s = 1 / (1 + np.exp(-self.params["b"][:, None, None] * x))
        return x * s, (x, s)

    def backward(self, dy, cache, need_dx=True):
        x, s = cache
        slope = s * (1 - s)
        dx = dy * (s + x * self.params["b"][:, None, None] * slope)
        db = (dy * x * x * slope).sum(axis=(0, 2, 3))
        return dx, {"b": db}


# %%
# The images ``x`` have the shape (N, C, H, W). ``[:, None, None]`` gives the array of C numbers the shape (C, 1, 1), so
# that NumPy uses one number for each channel. Behind an Affine layer ``x`` has the shape (N, D): then write
# ``self.params["b"]`` without new axes, and ``sum(axis=0)``.
#
# The output has the shape of the input, so nothing more is needed. A layer whose output has another shape says which
# one, for one example and so without N. One that makes a number of each channel, (N, C) from (N, C, H, W), has a method
# ``def output_shape(self, input_shape): return (input_shape[0],)``. L2 applies to a parameter with the name
# ``weight``, and so not to ``b``. The line ``regularised = frozenset({"b"})`` in the class, below ``kind``, would say
# otherwise. The page of :class:`convnet.Layer` has the whole contract.
#
# **4. The check.** :func:`convnet.gradient_error` compares a gradient with central differences
# (:ref:`chapter 7 <sphx_glr_chapters_gallery_07_gradient_checks.py>`). It changes an array a little, calls ``loss()``,
# and changes the array back. It takes arrays of float64 only, so the layer is made with ``np.float64`` here. The loss
# is any number that depends on the output; ``(dy * y).sum()`` is the simplest, because its gradient with respect to
# :math:`y` is ``dy``.
#
# In a new layer every :math:`b` is 1. A forgotten factor :math:`b_c` in ``dx`` would not show there. So the check adds
# random numbers to the parameters first, and leaves them changed: make a layer for the check alone. It does the same as
# ``check_layer`` of chapter 7:


def check_layer(layer, x):
    """Return the gradient errors of a layer: of its input x and of its parameters, by name."""
    for param in layer.params.values():
        param += rng.standard_normal(param.shape)
    y, cache = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    dx, grads = layer.backward(dy, cache)
    arrays, gradients = {"x": x} | layer.params, {"x": dx} | grads

    def loss():
        return float((dy * layer.forward(x)[0]).sum())

    return {name: convnet.gradient_error(loss, arrays[name], gradients[name], rng=rng) for name in arrays}


x = rng.standard_normal((2, 3, 5, 4))
errors = check_layer(Swish(3, np.float64), x)
print(errors)
assert max(errors.values()) < 1e-7

# %%
# Both errors are as small as rounding. The sizes 2, 3, 5 and 4 are all different: an axis that is mixed up is then an
# error at once. What does a wrong gradient look like? Here someone forgets that :math:`s` depends on :math:`x`, too:


class WrongSwish(Swish):
    """Swish with a mistake in backward."""

    def backward(self, dy, cache, need_dx=True):
        _, grads = super().backward(dy, cache)
        return dy * cache[1], grads


errors = check_layer(WrongSwish(3, np.float64), x)
print(errors)
assert errors["x"] > 1e-3
assert errors["b"] < 1e-7

# %%
# The error of ``x`` is far above 1e-7, the limit of chapter 7, and that of ``b`` is below it: the check says where to
# look.
#
# **5. The use.** The layer goes into a model like any other. (Which arrays a Solver takes from ``data`` is said in the
# next part.)

rng = np.random.default_rng(0)
layers = [Conv2D(1, 8, 5, padding=2, rng=rng), Swish(8), convnet.MaxPool2D(4), Affine(8 * 7 * 7, 10, rng=rng)]
model = Sequential(layers, input_shape=(1, 28, 28))
Solver(model, data, Adam(3e-3), epochs=3).train()
accuracy = (model.predict(data["x_test"]) == data["y_test"]).mean()
print(f"test accuracy {accuracy:.1%}, b = {np.round(model.params['swish1.b'], 2)}")
assert accuracy > 0.85
assert not np.allclose(model.params["swish1.b"], 1)

# %%
# The training has changed every ``b``. Whether Swish is better than ReLU here, only several runs of each would tell.
#
# Files of models hold the library's own layers only, so :func:`convnet.save_model` refuses this model. Keep its
# parameters with ``np.savez("swish.npz", **model.params)``. Later make the same model again, and call
# ``model.load_params(np.load("swish.npz"))``. (With batch normalization ``model.state`` has to be kept, too.)
# :doc:`Contributing </contributing>` says how a layer becomes one of the library's.
#
# Your own images
# ---------------
#
# The library reads a folder that has a folder of images for each class. We have no photographs here, so we draw some:
# 100 small files of rings and 100 of crosses, at random places, in random colours. With images of your own you begin at
# ``load_data``.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image, ImageDraw

work = tempfile.TemporaryDirectory()  # removed at the end
folder = Path(work.name)


def draw_shape(name):
    """Return an image of a ring or a cross."""
    image = Image.new("RGB", (40, 30), tuple(rng.integers(150, 256, 3)))
    left, top = (int(value) for value in rng.integers(2, (24, 14)))
    box, colour, pen = (left, top, left + 13, top + 13), tuple(rng.integers(0, 100, 3)), ImageDraw.Draw(image)
    if name == "ring":
        pen.ellipse(box, outline=colour, width=3)
    else:
        pen.line(box, fill=colour, width=3)
        pen.line((left, top + 13, left + 13, top), fill=colour, width=3)
    return image


for name in ("ring", "cross"):
    (folder / "shapes" / name).mkdir(parents=True)
    for number in range(100):
        draw_shape(name).save(folder / "shapes" / name / f"{number}.png")

# %%
# :func:`convnet.load_data` reads the files and makes all of one size. It returns the parts that there are, by name; a
# folder that is not divided into ``train`` and ``test`` is all ``"train"``. :func:`convnet.split` holds back a tenth of
# each class for validation and a quarter to test with. :func:`convnet.preprocess_parts` subtracts the mean and divides
# by the standard deviation, as in :ref:`chapter 1 <sphx_glr_chapters_gallery_01_data.py>`, and puts the channels first.
#
# A Solver takes from ``data`` the arrays ``x_train``, ``y_train``, ``x_validation`` and ``y_validation``; the last two
# may be missing, and the test part is for us. If you make these arrays yourself: images are (N, C, H, W) of float32 or
# float64, and labels are integers from 0 on.

shapes = convnet.load_data(folder / "shapes", size=(30, 40))["train"]  # height, width; Pillow has width, height
print(shapes.images.shape, shapes.class_names)
parts = convnet.split(shapes, validation=0.1, test=0.25)
data, statistics = convnet.preprocess_parts(parts)
assert len(data["x_train"]) == 130
_, axes = plt.subplots(figsize=(3, 4), layout="constrained")
names = shapes.class_names
figure = convnet.plot_examples(shapes.images, shapes.labels, class_names=names, examples_per_class=4, ax=axes)

# %%
# 130 images to train with are few. An :class:`convnet.Augmentation` shifts each one by at most 3 pixels and turns it by
# at most 10 degrees, in a new way in every epoch, and mirrors half of them (``flip``, which is wrong for digits: a
# mirrored 3 is no digit).

model = convnet.ConvNet1((3, 30, 40), num_filters=16, hidden_size=32, num_classes=2)
model.statistics, model.class_names = statistics, shapes.class_names
augmentation = convnet.Augmentation(shift=3, rotation=10, flip=True)
options = {"schedule": OneCycle(30), "epochs": 30, "batch_size": 15, "restore_best": False}
Solver(model, data, convnet.Momentum(0.01), augmentation=augmentation, **options).train()
accuracy = (model.predict(data["x_test"]) == data["y_test"]).mean()
print(f"test accuracy {accuracy:.0%} of {len(data['y_test'])} images")
assert accuracy > 0.85

# %%
# Taking the model elsewhere
# --------------------------
#
# **A file.** :func:`convnet.save_model` writes the layers, the parameters, how images are prepared, and the names of
# the classes. So a program that loads it can be given image files of any size, and answers in words. We draw two new
# images, three times as large as those that the model was trained with.

draw_shape("ring").resize((120, 90)).save(folder / "new_ring.png")
draw_shape("cross").resize((120, 90)).save(folder / "new_cross.png")
convnet.save_model(model, folder / "shapes.npz")
answer = convnet.load_model(folder / "shapes.npz").classify(folder / "new_ring.png")
print(answer.names, answer.probabilities)  # in the order of class_names: cross, ring
assert answer.names == ["ring"]

# %%
# **The command line.** The same file, without a line of Python. (Here Python calls the command, so that its answer
# stands on this page.)

import subprocess
import sys

command = ["-m", "convnet", "predict", "shapes.npz", "new_ring.png", "new_cross.png"]
print("convnet", *command[2:])
print(subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=True).stdout)

# %%
# **ONNX** is a file format that many programs read, for example ONNX Runtime, which runs models on a phone or on a
# server. The file holds the layers. If ``model.statistics`` are set, it begins with the preparation of the images, so
# that other programs give it pixels from 0 to 255. ``import_onnx`` makes ``statistics`` of the preparation again:
# ``scores`` is given prepared images, as before. Here we read the file back and compare.

from convnet.onnx import export_onnx, import_onnx

export_onnx(model, folder / "shapes.onnx")
again = import_onnx(folder / "shapes.onnx")
print(f"{(folder / 'shapes.onnx').stat().st_size / 1e6:.1f} MB")
assert np.allclose(again.scores(data["x_test"]), model.scores(data["x_test"]), atol=1e-4)
assert again.statistics is not None

# %%
# **A web page.** :func:`convnet.webpage.export` writes a page that computes in the browser.
# On the page of a network for digits one can draw (chapter 9). That of one for colour images shows the images that
# ``samples=(images, labels)`` gives it.
#
# **scikit-learn** is a library of many methods that learn from data. It can compare them, and search for the best
# options of one by trying. :class:`convnet.estimator.ConvNetClassifier` goes into its functions for that as one more
# method. Here it is a *cross-validation* with three *folds*: the data are cut into three parts, and each is once the
# test of a model that is trained with the other two. A row of the data is an image of 8x8 pixels:

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from convnet.estimator import ConvNetClassifier

pixels, targets = load_digits(return_X_y=True)
scores = cross_val_score(ConvNetClassifier(image_shape=(8, 8), epochs=5, random_state=0), pixels, targets, cv=3)
print("accuracies of three folds:", np.round(scores, 3))
assert scores.mean() > 0.9
work.cleanup()

# %%
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_10_going_further.py``, each with a test.
#
# 1. Write a layer ``PReLU(channels)``: ``y = x`` where ``x`` is above 0, and ``slope * x`` elsewhere, with a trained
#    slope for each channel that begins at 0.25. Check its gradients with ``check_layer``. Why does the check not mind
#    the kink at 0?
# 2. Write a layer ``Noise(deviation)``: in training it adds random numbers of a normal distribution to its input; a
#    prediction leaves the input as it is. As dropout (chapter 5) it needs ``forward(x, rng)`` for training, where a
#    model always gives an ``rng``, and ``__call__(x)`` for prediction. What is the gradient?
# 3. Write ``residual_backward(dy, backward_of_f)``: the gradient of the input of a residual block without a shortcut;
#    ``backward_of_f(dy)`` returns that of ``f``. No layer of the library may be used.
# 4. Write ``block_parameters(channels, filters, stride)``: how many parameters has the block of this chapter? Count the
#    weights of the convolutions, and a scale and a shift for each channel of a batch normalization, those of the
#    shortcut, too.
# 5. Write ``ForgetfulSwish``, a Swish whose ``dx`` lacks the factor :math:`b_c`. For which ``b`` does its gradient pass
#    the check all the same? (``check_layer`` would add random numbers to your ``b``, so call
#    :func:`convnet.gradient_error` yourself.)
#
# Where this lies in the library
# ------------------------------
#
# - :class:`convnet.Residual` (``convnet/layers/residual.py``), :class:`convnet.BatchNorm2D`
#   (``convnet/layers/normalization.py``).
# - The contract of layers: :class:`convnet.Layer` (``convnet/layers/base.py``). The steps by which a layer joins the
#   library: :doc:`/contributing`.
# - The reader of image files: :func:`convnet.load_data` (``convnet/datasets/loading.py``, ``image_reader.py``).
# - Files: :func:`convnet.save_model` (``convnet/models/files.py``); ONNX: ``convnet/onnx/``; the command line:
#   ``convnet/cli/``; scikit-learn: ``convnet/estimator/``.

plt.show()
