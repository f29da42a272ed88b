r"""
5. Pooling, activations, dropout and batch normalization
========================================================

A convolutional network is more than convolutions. In this chapter you write the layers between them: max and average
pooling, ReLU, dropout and batch normalization. For each you will know what it computes, how it hands the gradient back,
and how it can go wrong.

As in the chapters before, ``dy`` is the gradient of the loss with respect to a layer's output ``y``. The backward pass
returns ``dx``, the gradient with respect to its input ``x``. By the chain rule, every output that depends on an input
adds its share: :math:`dx_i = \sum_j dy_j \, \partial y_j / \partial x_i`. The sign :math:`\partial` says that
:math:`x_i` alone moves and all other inputs stay: take the ordinary derivative, with the others as constants.
"""

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, COLORS, FAINT, INK, ORANGE, PINK, draw_grid, draw_image, draw_window, panels

import convnet
from convnet import functional, gradient_error

rng = np.random.default_rng(5)
images = convnet.load_mnist()[0]

# %%
# Max pooling
# -----------
# A pooling makes an image smaller. It cuts the image into windows and makes one number of each window. **Max pooling**
# takes the largest one. Here the windows are of 2x2 pixels and lie side by side:


def max_pool(x):
    """Return the largest pixel of each window of 2x2 of an image (H, W), and its place."""
    height, width = x.shape[0] // 2, x.shape[1] // 2
    y, places = np.zeros((height, width)), {}
    for row, column in np.ndindex(height, width):
        window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        i, j = divmod(int(window.argmax()), 2)
        y[row, column] = window[i, j]
        places[row, column] = 2 * row + i, 2 * column + j
    return y, places


x = np.array([[1, 3, 2, 0, 4, 1], [2, 0, 1, 5, 2, 3], [0, 1, 7, 2, 1, 1], [4, 2, 3, 6, 0, 2.0]])
y, places = max_pool(x)
assert np.array_equal(y, [[3, 5, 4], [4, 7, 2]])

# %%
# For the backward pass, ask what happens to an output if one pixel grows a little. If the pixel is the largest of its
# window, the output grows as much. If it is not, nothing happens. So the derivative is 1 for the largest pixel and 0
# for the others: the gradient of a window goes to its largest pixel.


def max_pool_backward(dy, places, shape):
    """Return the gradient of `max_pool` with respect to an image of this shape."""
    dx = np.zeros(shape)
    for (row, column), place in places.items():
        dx[place] += dy[row, column]
    return dx


dy = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
dx = max_pool_backward(dy, places, x.shape)
_, axes = panels(4, size=(2.7, 2.3), widths=[6, 3, 3, 6])
draw_grid(axes[0], x, "x", limit=10)
draw_grid(axes[1], y, "y", limit=10)
draw_grid(axes[2], dy, "dy", limit=1)
draw_grid(axes[3], dx, "dx", limit=1)
for color, (window, (row, column)) in zip((*COLORS, PINK, INK), places.items(), strict=True):
    for ax in (axes[0], axes[3]):
        draw_window(ax, 2 * window[0], 2 * window[1], 2, 2, color=FAINT)
        draw_window(ax, row, column, color=color, inset=0.1)
    for ax in (axes[1], axes[2]):
        draw_window(ax, *window, color=color, inset=0.1)
assert np.isclose(dx.sum(), dy.sum())

# %%
# Each window has a colour of its own. Each number of ``dy`` stands in ``dx`` where the maximum was. All other pixels
# get 0.
#
# *What can go wrong.* If two pixels of a window are equally large, they must not both get the whole gradient: if both
# grow by 1, the output grows by 1, not by 2. ``argmax`` takes the first one. If windows overlap, one pixel can be the
# largest of several windows, and the shares have to be added: hence ``+=`` and not ``=``. If the size of the image is
# odd, the last row or column lies in no window and is not looked at.
#
# The library does the same for many images with many channels, in compiled loops (chapter 8). ``None`` in an index is
# short for ``np.newaxis``: ``x[None, None]`` is one image with one channel, of shape (1, 1, 4, 6).

library, argmax = functional.max_pool2d_forward(x[None, None], 2)
assert np.array_equal(library[0, 0], y)
library = functional.max_pool2d_backward(dy[None, None], argmax, (1, 1, 4, 6))
assert np.array_equal(library[0, 0], dx)

# %%
# Average pooling
# ---------------
# **Average pooling** takes the mean of each window. Every pixel moves the mean by a quarter of its own change, so that
# each of the four gets a quarter of the window's gradient. ``reshape`` makes (2, 2, 3, 2) of the shape (4, 6): the
# window's row, the row within the window, the window's column, the column within it. The mean is over axes 1 and 3,
# those within. (Height and width have to be even here.)


def average_pool(x):
    """Return the mean of each window of 2x2, of an image (H, W)."""
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3))


def average_pool_backward(dy):
    """Return the gradient of `average_pool`."""
    return dy.repeat(2, axis=0).repeat(2, axis=1) / 4


dx = average_pool_backward(dy)
_, axes = panels(4, size=(2.7, 2.3), widths=[6, 3, 3, 6])
draw_grid(axes[0], x, "x", limit=10)
draw_grid(axes[1], average_pool(x), "y", limit=10)
draw_grid(axes[2], dy, "dy", limit=1)
draw_grid(axes[3], dx, "dx", limit=1, form=".3g")
library = functional.average_pool2d_forward(x[None, None], 2)
assert np.allclose(library[0, 0], average_pool(x))
assert np.isclose(dx.sum(), dy.sum())

# %%
# *What can go wrong* is at the edge. With a padding, some windows hold zeros that are no pixels. If these count, the
# mean of a white image is no longer white. Here are windows of 3x3 pixels, at stride 1, with a padding of 1:

white = np.ones((1, 1, 4, 4))
options = {"stride": 1, "padding": 1}
counted = functional.average_pool2d_forward(white, 3, **options)[0, 0]
not_counted = functional.average_pool2d_forward(white, 3, count_padding=False, **options)[0, 0]
_, axes = panels(2, size=(2.8, 2.8))
draw_grid(axes[0], counted, "zeros of the padding count", form=".2f")
draw_grid(axes[1], not_counted, "only pixels count", form=".2f")
assert np.isclose(counted[0, 0], 4 / 9)
assert (not_counted == 1).all()

# %%
# In the corner, 4 of the 9 elements are pixels. Forward and backward pass have to count in the same way.
#
# This is what the two poolings make of a digit:

digit = images[7].astype(float)
_, axes = panels(3, size=(2.5, 2.7))
draw_image(axes[0], digit, "28x28 pixels")
draw_image(axes[1], max_pool(digit)[0], "max pooling: 14x14")
draw_image(axes[2], average_pool(digit), "average pooling: 14x14")
assert max_pool(digit)[0].mean() > average_pool(digit).mean()

# %%
# Max pooling keeps the brightest pixels, so that strokes get wider. Average pooling blurs. A network pools feature
# maps, not the image: the maximum then says whether a filter found its pattern *anywhere* in the window. One pixel more
# or less to the side hardly matters any more, and the next layer has a quarter of the numbers to compute with.
#
# ReLU
# ----
# An **activation function** is applied to every number alone. **ReLU**, the rectified linear unit, is
# :math:`y = \max(x, 0)`. Why is it needed at all? Because two Affine layers in a row are no more than one:
#
# .. math:: (x W_1 + b_1) W_2 + b_2 = x (W_1 W_2) + (b_1 W_2 + b_2).

w1, b1, w2, b2 = (rng.standard_normal(shape) for shape in ((6, 5), 5, (5, 3), 3))
inputs = rng.standard_normal((4, 6))
two_layers = (inputs @ w1 + b1) @ w2 + b2
assert np.allclose(two_layers, inputs @ (w1 @ w2) + (b1 @ w2 + b2))
assert not np.allclose(np.maximum(inputs @ w1 + b1, 0) @ w2 + b2, two_layers)

# %%
# The same holds for convolutions. The bend of the ReLU between them is what makes a *deep* network, one of many layers,
# more than a shallow one. The slope of ReLU is 1 where :math:`x > 0` and 0 where :math:`x < 0`. At 0 there is a bend
# and no slope; we take 0. So the backward pass lets the gradient through where the output was positive:


def relu(x):
    """Return x where it is positive, and 0 elsewhere."""
    return np.maximum(x, 0)


def relu_backward(dy, y):
    """Return the gradient of `relu`, from its output y."""
    return dy * (y > 0)


# %%
# There are other activation functions. Here are four with their slopes. *Leaky ReLU* has a small slope, here 0.1, in
# place of 0 on the left. *Sigmoid* is :math:`1 / (1 + e^{-x})`, *tanh* is :math:`(e^x - e^{-x}) / (e^x + e^{-x})`.
# Their backward functions in the library take the input x (yours in chapter 2 took the output); that of ReLU takes x or
# y, as both are positive in the same places.

at = np.linspace(-4, 4, 401)
dones = np.ones(at.shape)  # with dy = 1, dx is the slope
curves = {
    "ReLU": (functional.relu_forward(at), functional.relu_backward(dones, at)),
    "leaky ReLU, slope 0.1": (functional.leaky_relu_forward(at, 0.1), functional.leaky_relu_backward(dones, at, 0.1)),
    "sigmoid": (functional.sigmoid_forward(at), functional.sigmoid_backward(dones, at)),
    "tanh": (functional.tanh_forward(at), functional.tanh_backward(dones, at)),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for (name, (outputs, slopes)), color in zip(curves.items(), COLORS, strict=True):
    style = "--" if name.startswith("leaky") else "-"  # it lies on ReLU where x > 0
    left.plot(at, outputs, style, color=color, label=name)
    right.plot(at, slopes, style, color=color)
left.set(title="y", xlabel="x", ylim=(-1.5, 3))
right.set(title="slope of y", xlabel="x")
left.legend()
assert np.isclose(curves["sigmoid"][1].max(), 0.25)

# %%
# *What can go wrong.* The **sigmoid** has a slope of at most 1/4, and of almost 0 far from the middle. The chain rule
# multiplies the slopes of all layers. On the way back through ten sigmoids at most :math:`(1/4)^{10} \approx 10^{-6}`
# of the gradient is left, if the weights do not make up for it: it **vanishes**. Where the inputs of all ReLUs on the
# way are positive, their slopes multiply to 1.
#
# ReLU has a weakness of its own. A neuron, also called *unit*, whose input to the ReLU is negative for every example
# gives 0 for all of them. Its gradient is 0, too, so that its weights no longer change: it is **dead**. A step that was
# too large can push a bias so far down. Here we set it by hand:

examples, weight = rng.standard_normal((200, 6)), rng.standard_normal((6, 5))
for bias in (0.0, -20.0):
    outputs = relu(examples @ weight + bias)
    dweight = examples.T @ relu_backward(np.ones(outputs.shape), outputs)
    positive = (outputs > 0).mean()
    print(f"bias {bias:g}: {positive:.0%} of the outputs are positive, largest dweight {abs(dweight).max():g}")
assert not dweight.any()

# %%
# The Solver, the library's training loop (chapter 6), warns of dead units. A leaky ReLU has none: its slope is never 0.
#
# Dropout
# -------
# A network with many parameters can learn its training images by heart. **Dropout** makes that harder: in every
# training step it sets a random part of the numbers to 0. If the network knew a training image by one number alone, it
# would fail whenever that number is dropped. So it has to answer by several signs at once. With the probability
# ``rate`` a number is dropped; the others are divided by ``1 - rate``:


def dropout(x, rate, rng):
    """Return x with some elements dropped and the others larger, and which were kept."""
    kept = rng.random(x.shape) >= rate
    return x * kept / (1 - rate), kept


def dropout_backward(dy, kept, rate):
    """Return the gradient of `dropout`."""
    return dy * kept / (1 - rate)


# %%
# Why the division? In *prediction*, when the trained network is used, nothing is dropped. The next layer should then
# get numbers of the size that it was trained with. Let us drop half of an array of ones again and again, and take the
# mean over all draws:

ones, rate = np.ones((8, 12)), 0.5
draws = np.array([dropout(ones, rate, rng)[0] for _ in range(2000)])
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
draw_grid(left, draws[0], "one draw of 8x12 ones")
counts = np.arange(1, len(draws) + 1)
means = draws[:, 0, 0].cumsum() / counts
right.semilogx(counts, means, color=BLUE, label="with the division")
right.semilogx(counts, means * (1 - rate), color=ORANGE, label="without")
right.axhline(1, color=FAINT, linestyle="--")
right.set(xlabel="number of draws", ylabel="mean of one element")
right.legend()
assert abs(draws.mean() - 1) < 0.01

# %%
# With the division the mean goes to 1, the number without dropout. Without the division it goes to a half.
#
# *What can go wrong.* Without the division, the next layer gets numbers in prediction that are too large: at rate 0.5,
# on average, twice as large as those it was trained with. If the backward pass draws again, in place of using ``kept``,
# the gradient belongs to another function than the one that was computed. And if numbers are dropped in prediction, the
# same image gets another answer each time. A layer of the library therefore has two ways: ``layer.forward(x, rng)`` for
# training, and ``layer(x)`` for prediction. (Only layers that draw need ``rng``.) ``forward`` returns y and what the
# backward pass needs; ``backward`` returns dx and the gradients of the parameters, of which dropout has none.

layer = convnet.Dropout(0.5)
trained, kept = layer.forward(ones, rng)
assert np.array_equal(layer(ones), ones)
assert np.array_equal(layer.backward(ones, kept)[0], trained)

# %%
# Batch normalization
# -------------------
# The numbers between two layers may be of any size, and their size changes while the earlier layers are trained. Each
# layer then has to follow, and often needs a smaller learning rate. **Batch normalization** brings each channel to mean
# 0 and standard deviation 1. Mean and deviation are those of the channel over all images of the minibatch and all
# pixels, that is over the axes N, H and W of an array (N, C, H, W):
#
# .. math:: z = \frac{x - m}{s} \quad \text{with} \quad s = \sqrt{\text{variance} + \epsilon}
#
# .. math:: y = \text{weight} \cdot z + \text{bias}.
#
# The small number :math:`\epsilon` keeps the division from failing when all pixels are equal. With a trained weight and
# bias for each channel the layer can still give any scale and any mean. These are now two numbers that are learned, and
# no longer depend on all the layers before.


def batch_norm(x, weight, bias, epsilon=1e-5):
    """Return batch normalized images (N, C, H, W), and what the backward pass needs."""
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    s = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + epsilon)
    z = (x - mean) / s
    return weight[:, None, None] * z + bias[:, None, None], (z, s)


batch = rng.standard_normal((10, 3, 6, 6))
for channel, (mean, deviation) in enumerate([(2, 0.3), (-1, 1), (4, 2)]):
    batch[:, channel] = mean + deviation * batch[:, channel]
weight, bias = np.ones(3), np.zeros(3)
normalized, cache = batch_norm(batch, weight, bias)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for ax, array, title in zip(axes, (batch, normalized), ("x", "y"), strict=True):
    for channel, color in enumerate(COLORS[:3]):
        pixels = array[:, channel].ravel()
        ax.hist(pixels, bins=25, histtype="step", linewidth=1.8, color=color, label=f"channel {channel}")
    ax.set(title=title, xlabel="value of a pixel", ylabel="pixels")
axes[0].legend()
assert np.allclose(normalized.mean(axis=(0, 2, 3)), 0)
assert np.allclose(normalized.std(axis=(0, 2, 3)), 1, atol=1e-3)

# %%
# Three channels of different mean and spread come out alike. Now the gradient, with a weight of 1 for the moment. A
# pixel :math:`x_i` acts on the outputs of its channel in three ways, and each adds to its gradient. Let :math:`M` be
# the number of pixels of the channel in the minibatch:
#
# 1. directly: :math:`z_i = (x_i - m) / s`, which gives :math:`dy_i / s`;
# 2. through the mean: :math:`\partial m / \partial x_i = 1 / M`. Every :math:`z_j` has the derivative
#    :math:`-1 / s` with respect to :math:`m`, which gives :math:`-\frac{1}{s} \cdot \frac{1}{M} \sum_j dy_j`;
# 3. through the deviation: :math:`\partial s / \partial x_i = z_i / M`. Every :math:`z_j = (x_j - m) / s` has, with
#    :math:`m` fixed, the derivative :math:`-(x_j - m) / s^2 = -z_j / s` with respect to :math:`s`, which gives
#    :math:`-\frac{1}{s} \cdot z_i \cdot \frac{1}{M} \sum_j dy_j z_j`.
#
# The derivative :math:`\partial s / \partial x_i` comes from :math:`s^2 = \frac{1}{M} \sum_j (x_j - m)^2 + \epsilon`.
# Take the derivative of both sides with respect to :math:`x_i`. The left side gives
# :math:`2 s \, \partial s / \partial x_i`. On the right :math:`x_i` stands in the term :math:`j = i`, which gives
# :math:`\frac{2}{M} (x_i - m)`. It also stands in the mean :math:`m` of every term, which gives
# :math:`\frac{1}{M} \sum_j -2 (x_j - m) \cdot \frac{1}{M} = 0`, because the deviations from a mean add up to 0. Both
# sides divided by :math:`2 s` give :math:`\partial s / \partial x_i = (x_i - m) / (M s) = z_i / M`.
#
# The sums divided by :math:`M` are means. With a weight, :math:`y = \text{weight} \cdot z + \text{bias}`: each
# :math:`z_j` gets :math:`\text{weight} \cdot dy_j`, so that the weight multiplies all three shares. Together:
#
# .. math:: dx = \frac{\text{weight}}{s} \left( dy - \text{mean}(dy) - z \cdot \text{mean}(dy \cdot z) \right).


def batch_norm_backward(dy, weight, cache):
    """Return the gradients of `batch_norm` with respect to x, weight and bias."""
    z, s = cache
    axes = (0, 2, 3)
    means = dy.mean(axis=axes, keepdims=True), (dy * z).mean(axis=axes, keepdims=True)
    dx = weight[:, None, None] / s * (dy - means[0] - z * means[1])
    return dx, (dy * z).sum(axis=axes), dy.sum(axis=axes)


# %%
# Is that right? Compare it with differences, as in
# :ref:`the second chapter <sphx_glr_chapters_gallery_02_affine_and_softmax.py>`. :func:`convnet.gradient_error` does it
# along random directions, and :ref:`a later chapter <sphx_glr_chapters_gallery_07_gradient_checks.py>` explains how. We
# also try the gradient that somebody gets who forgets that mean and deviation move with :math:`x`:

dy = rng.standard_normal(batch.shape)


def loss():
    """Return the sum of dy * y: a loss whose gradient with respect to y is dy."""
    return float((dy * batch_norm(batch, weight, bias)[0]).sum())


dx, dweight, dbias = batch_norm_backward(dy, weight, cache)
first_way = dy * weight[:, None, None] / cache[1]
error = gradient_error(loss, batch, dx, rng=rng)
error_of_first = gradient_error(loss, batch, first_way, rng=rng)
print(f"error of the three ways together: {error:.0e}; of the first one alone: {error_of_first:.0e}")
assert error < 1e-7
assert error_of_first > 1e-3
assert gradient_error(loss, weight, dweight, rng=rng) < 1e-7
assert gradient_error(loss, bias, dbias, rng=rng) < 1e-7

# %%
# Rounding and the step leave an error below :math:`10^{-7}`. The error of the first way alone is above :math:`10^{-3}`,
# and that gradient is wrong. (Why a mistake gives so small a number, chapter 7 explains.) What counts is that it is far
# above :math:`10^{-7}`.
#
# What else *can go wrong* is prediction. A single image has no minibatch, and its answer must not depend on the images
# beside it. So the layer keeps **running statistics** while it trains: after each step it moves them a tenth of the way
# to the mean and the variance of the minibatch. In prediction it normalizes with them. The layer has 3 channels;
# ``forward`` changes nothing in it, ``update_state`` moves the running statistics.

layer = convnet.BatchNorm2D(3, dtype=np.float64)
for _ in range(100):
    minibatch = batch[rng.choice(10, 5, replace=False)]
    _, kept = layer.forward(minibatch)
    layer.update_state(kept)
alone, together = layer(batch[:1]), layer(batch)[:1]
print("params:", *layer.params, " state:", *layer.state, " epsilon:", layer.epsilon)  # * gives the names
print("running mean:", layer.state["running_mean"].round(2))
print("mean of all: ", batch.mean(axis=(0, 2, 3)).round(2))
assert np.allclose(alone, together)
assert not np.allclose(layer.forward(batch[:1])[0], layer.forward(batch)[0][:1])

# %%
# The running mean depends most on the last minibatches, so it is close to the mean of all and not equal to it. In
# prediction the image gets the same answer alone and among others; with the statistics of the batch it does not.
# Somebody who normalizes with those of the batch in prediction, too, gets answers that depend on the batch. And a
# minibatch of one vector, without pixels to take the mean over, is its own mean: every output is then the bias,
# whatever the input was. (The library's function takes arrays (N, C), as from an Affine layer, too.)

vector = rng.standard_normal((1, 3))
assert np.allclose(functional.batch_norm2d_forward(vector, weight, bias)[0], bias)

# %%
# The layers side by side
# -----------------------
#
# .. list-table::
#    :header-rows: 1
#    :widths: 20 28 32 20
#
#    * - layer
#      - forward
#      - backward
#      - in prediction
#    * - max pooling
#      - the largest of a window
#      - the window's ``dy``, to the largest
#      - the same
#    * - average pooling
#      - the mean of a window
#      - an equal share of ``dy`` to each pixel
#      - the same
#    * - ReLU
#      - :math:`\max(x, 0)`
#      - ``dy`` where the output is positive
#      - the same
#    * - dropout
#      - ``x * kept / (1 - rate)``
#      - ``dy * kept / (1 - rate)``
#      - ``x``
#    * - batch normalization
#      - :math:`(x - m) / s`, scaled and shifted
#      - ``dy - mean(dy) - z * mean(dy * z)``, times ``weight / s``
#      - with running statistics
#
# Exercises
# ---------
# The answers are in ``tests/chapters/test_05_other_layers.py``, each with a test that shows that it is right.
#
# 1. **Overlapping windows.** Write ``max_pool(x)`` and ``max_pool_backward(dy, places, shape)`` for windows of 3x3
#    pixels at stride 2. A pixel can be the largest of several windows.
# 2. **A pooling that is a convolution.** Average pooling of 2x2 windows is a convolution. With which filter and which
#    stride? Write ``averaging_filter()``, which returns them for an image of one channel, the filter in the shape
#    ``(1, 1, 2, 2)``.
# 3. **A slope to learn.** An activation is :math:`y = x` for :math:`x > 0` and :math:`y = a x` elsewhere, where
#    :math:`a` is a parameter. Write ``learned_slope_forward(x, a)`` and ``learned_slope_backward(dy, x, a)``, which
#    returns the gradients with respect to :math:`x` and to :math:`a`. Check both with :func:`convnet.gradient_error`.
#    For that, let a be an array of one element, ``np.array([0.1])``, which it can move.
# 4. **How much dropout shakes.** A number :math:`x` goes through dropout of a given rate. Its mean stays :math:`x`.
#    What is its standard deviation? Two values are possible, each with its probability, and the deviation squared is
#    the mean of :math:`(\text{value} - x)^2`. Write ``deviation_of_dropout(x, rate)``.
# 5. **Batch normalization in prediction** is :math:`y = a x + b` for each channel. Write ``scale_and_shift(layer)``,
#    which computes :math:`a` and :math:`b` from ``layer.params``, ``layer.state`` and ``layer.epsilon``.
# 6. **A useless bias.** Show with the formula that the gradient ``dx`` of batch normalization adds up to 0 in each
#    channel. What does this say about the bias of a convolution just before it? Write ``bias_gradient(x, weight, bias,
#    dy)``, which computes the gradient of that bias. Here ``weight`` and ``bias`` are those of the convolution, with
#    stride 1 and no padding; the normalization has weight 1 and bias 0; ``dy`` belongs to its output. Use
#    :func:`convnet.functional.conv2d_forward`, :func:`convnet.functional.batch_norm2d_forward`, which returns y, the
#    mean and the variance, and ``dx, _, _ = batch_norm2d_backward(dy, x, weight, mean, variance)``, where x and weight
#    are the normalization's own.
#
# Where this lies in the library
# ------------------------------
# - ``convnet/naive.py``: all these layers as loops, forward and backward, with padding and stride.
# - ``convnet/layers/pooling.py``: :class:`convnet.MaxPool2D` and :class:`convnet.AveragePool2D`, and their functions.
# - ``convnet/layers/activations.py``: :class:`convnet.ReLU` and other activations.
# - ``convnet/layers/dropout.py``: :class:`convnet.Dropout`.
# - ``convnet/layers/normalization.py``: :class:`convnet.BatchNorm2D`.
# - ``convnet/layers/base.py``: what every layer has, ``forward``, ``backward``, ``params``, ``state`` and
#   ``update_state``.
#
# Next: :ref:`sphx_glr_chapters_gallery_06_training.py`.

plt.show()
