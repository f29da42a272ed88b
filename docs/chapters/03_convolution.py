"""
3. Convolution as loops
=======================

A convolution slides a small table of weights over an image. After this chapter you can write it and its gradient as
loops, say how large its output is, and explain why the gradient of a pixel is a sum over windows.
"""

# %%
# A filter slides over an image
# -----------------------------
#
# At the end of chapter 2 each neuron had a weight for every pixel: a template for the whole image, which fits in one
# place only. A *filter* is a small template, here of 3x3 weights. It is laid on each place of the image. The pixels
# under it are its *window*. Window and filter are multiplied, number by number, and the products are added: one neuron,
# whose inputs are the pixels of the window.

import matplotlib.pyplot as plt
import numpy as np
from drawing import COLORS, GREEN, ORANGE, VIOLET, draw_grid, draw_image, draw_text, draw_window, panels

image = np.zeros((5, 5))
image[:3, 2:] = 5  # a bright square
edge = np.array([[-1.0, 0, 1], [-1, 0, 1], [-1, 0, 1]])


def slide(image, weight):
    """Lay a filter on every place of an image, and return the sums of products."""
    kh, kw = weight.shape
    y = np.zeros((image.shape[0] - kh + 1, image.shape[1] - kw + 1))
    for oh, ow in np.ndindex(y.shape):
        for i, j in np.ndindex(kh, kw):
            y[oh, ow] += weight[i, j] * image[oh + i, ow + j]
    return y


result = slide(image, edge)
print(result)

# %%
# ``oh`` and ``ow`` are the row and the column of the output, ``i`` and ``j`` those within the window. The upper left
# pixel of the window is ``image[oh, ow]``. The first row of the output, step by step:

figure, axes = panels(4, 2, size=(2.3, 2.3))
draw_grid(axes[0, 0], edge, "the filter")
draw_text(axes[1, 0], "window\ntimes filter,\nadded", size=11)
for ow, color in enumerate((ORANGE, GREEN, VIOLET)):
    ax, below = axes[:, 1 + ow]
    draw_grid(ax, image, f"window at [0, {ow}]", limit=10)
    draw_window(ax, 0, ow, 3, 3, color=color)
    so_far = np.full(result.shape, np.nan)
    so_far[0, : ow + 1] = result[0, : ow + 1]
    draw_grid(below, so_far, "output", limit=15)
    draw_window(below, 0, ow, color=color)

# %%
# This filter subtracts what is on the left from what is on the right. Where the image is the same on both sides, the
# result is 0; where it grows brighter to the right, it is large. (It is 15 where the window holds three bright rows, 10
# where it holds two, 5 where it holds one.) So the filter finds the left edge of the bright square, wherever it is. It
# compares columns two apart, so it meets the edge at two places, and the output has two columns of 15, 10 and 5.
#
# On a digit, blue is where it grows brighter, orange where it grows darker:

from convnet import load_mnist

images, _, _, _ = load_mnist()
digit = images[0] / 255
figure, axes = panels(3, size=(2.6, 2.8))
draw_image(axes[0], digit, "a digit")
draw_image(axes[1], slide(digit, edge), "brighter to the right", signed=True)
draw_image(axes[2], slide(digit, edge.T), "brighter downwards", signed=True)

# %%
# The filters of a network are not made by hand. Their weights are learned like any others. But what they do is this:
# one filter makes of an image one new image, a *feature map*. It says for every place how strongly the filter
# *responds* there.
#
# Two advantages over Affine. A filter has few weights, here 9 instead of 784. And what is learned in one place is known
# in all places, because the weights are the same everywhere: they are *shared*. At the end of chapter 2 a digit that
# was moved by three pixels no longer fitted. Here its feature map is the same, moved by three pixels:

moved = np.roll(digit, 3, axis=1)
assert np.array_equal(slide(moved, edge)[:, 3:], slide(digit, edge)[:, :-3])

# %%
# That alone does not make the network's answer the same. In the end an Affine layer reads the maps, and it has a weight
# for each place. Pooling (chapter 5) makes small moves matter less, and training with moved images (chapter 6) helps,
# too.
#
# (In mathematics a convolution turns the filter by 180 degrees first. Networks leave that out: training would simply
# find the turned weights. What remains is a cross-correlation; in this field it is called convolution all the same.)
#
# Padding and stride
# ------------------
#
# The height and the width of a filter are its *kernel size*, KH and KW; for a square filter both are K. A filter of 3x3
# makes 3x3 results of 5x5 pixels: its middle never comes to lie on a pixel of the border. A *padding* of P puts P rings
# of zeros around the image. With one ring the middle of this filter comes to lie on the border, too. *Stride* is how
# far the window moves from one result to the next: with stride 2 it leaves out every second place.
#
# An image of 5x5 pixels with padding 1, and its first window of 3x3:

figure, axes = panels(1, size=(2.6, 2.6))
draw_grid(axes[0], np.arange(1, 26).reshape(5, 5), padding=1, limit=60)
draw_window(axes[0], -1, -1, 3, 3)

# %%
# Now one row of pixels at a time, its padding in grey, and below it the windows in this row, each as a bar:


def output_size(size, kernel, stride, padding):
    """Return how many windows there are along one axis."""
    return (size + 2 * padding - kernel) // stride + 1


figure, axes = panels(3, 2, size=(2.8, 1.8))
cases = ((5, 3, 1, 0), (5, 3, 1, 1), (5, 5, 1, 2), (5, 3, 2, 0), (5, 3, 2, 1), (6, 3, 2, 0))
for ax, (size, kernel, stride, padding) in zip(axes.flat, cases, strict=True):
    count = output_size(size, kernel, stride, padding)
    title = f"{size} pixels, kernel {kernel},\nstride {stride}, padding {padding}: {count} windows"
    draw_grid(ax, np.zeros((1, size)), title, padding=(0, padding), numbers=False)
    for k in range(count):
        first = k * stride - padding
        ax.barh(1 + 0.5 * k, kernel - 0.2, 0.2, first - 0.4, color=COLORS[k % len(COLORS)])
    ax.set(xlim=(-2.6, 6.6), ylim=(3.6, -0.6))

# %%
# Count the windows. An image of S pixels is, with its padding P, :math:`S + 2P` pixels wide. Counted in the padded
# image, the first window begins at 0 (in the image itself that is -P). A window of K pixels can begin at
# :math:`S + 2P - K` at the latest. So the window can move by :math:`S + 2P - K` pixels in all. Divided by the stride
# and rounded down, that is the number of moves. There is one window more than moves:
#
# .. math:: O = \left\lfloor \frac{S + 2P - K}{\text{stride}} \right\rfloor + 1.

print("outputs of 5 pixels, kernel 3, stride 2, padding 1:", output_size(5, 3, 2, 1))
print("outputs of 28 pixels, kernel 7, stride 1, padding 3:", output_size(28, 7, 1, 3))
print("outputs of 6 pixels, kernel 3, stride 2, no padding:", output_size(6, 3, 2, 0))

# %%
# A kernel of 7 with padding 3 keeps the size; so does every odd K with padding :math:`(K - 1) / 2` and stride 1. In the
# last case the stride does not fit: of 6 columns the windows take columns 0 to 2 and 2 to 4, and column 5 is in no
# window.
#
# Channels
# --------
#
# An image has C channels (chapter 1). Then the window goes through all of them, and so does the filter: it has a weight
# for each pixel of the window in each channel, :math:`C \cdot KH \cdot KW` in all. All products are added to *one*
# number. So one filter makes one feature map, whatever C is. With F filters there are F maps, and these are the
# channels of what follows. The weights have the shape (F, C, KH, KW).

figure, axes = panels(7, size=(1.25, 2.5), widths=[4, 4, 0.6, 2, 2, 1.1, 1.8])
rng = np.random.default_rng(1)
x = rng.integers(0, 4, (1, 2, 4, 4)).astype(float)
weight = rng.integers(-1, 2, (1, 2, 2, 2)).astype(float)
for c in range(2):
    draw_grid(axes[c], x[0, c], f"x[0, {c}]")
    draw_window(axes[c], 1, 1, 2, 2)
    draw_grid(axes[3 + c], weight[0, c], f"weight[0, {c}]")
    draw_window(axes[3 + c], 0, 0, 2, 2)
products = (x[0, :, 1:3, 1:3] * weight[0]).sum()
draw_text(axes[2], r"$\times$", size=14)
draw_text(axes[5], "added\n=", size=11)
draw_grid(axes[6], [[products]], "y[0, 0, 1, 1]", limit=10)
draw_window(axes[6], 0, 0)

# %%
# Each output of the whole convolution is one sum:
#
# .. math:: y[n, f, oh, ow] = b[f] + \sum_{c,i,j} \text{weight}[f, c, i, j] \cdot x[n, c, h, w].
#
# Here :math:`n` counts the images, :math:`f` the filters, :math:`c` the channels, and :math:`i, j` the rows and columns
# of the window. With the padding P the pixel lies in row and column
#
# .. math:: h = oh \cdot \text{stride} + i - P, \quad w = ow \cdot \text{stride} + j - P.
#
# Where this is outside of the image, there is a 0 of the padding, and nothing to add.
#
# The loops stand in a function of their own, because the way back needs the same ones. For each product of the sum it
# gives three indices: where the product is added, which weight is its first factor, and which pixel its second one.
# (``yield`` hands them out one after another to the loop that asks for them.)


def output_shape(x_shape, weight_shape, stride, padding):
    """Return (N, F, OH, OW)."""
    out_h, out_w = (output_size(x_shape[axis], weight_shape[axis], stride, padding) for axis in (2, 3))
    return x_shape[0], weight_shape[0], out_h, out_w


def places(x_shape, weight_shape, stride, padding):
    """Give, for each product, its index in y, in weight and in x."""
    height, width = x_shape[2:]
    for n, f, oh, ow in np.ndindex(output_shape(x_shape, weight_shape, stride, padding)):
        for c, i, j in np.ndindex(weight_shape[1:]):
            h, w = oh * stride + i - padding, ow * stride + j - padding
            if 0 <= h < height and 0 <= w < width:
                yield (n, f, oh, ow), (f, c, i, j), (n, c, h, w)


for at_y, at_weight, at_x in list(places((1, 1, 5, 5), (1, 1, 3, 3), stride=1, padding=1))[:5]:
    print("y", at_y, " weight", at_weight, " x", at_x)

# %%
# These are the first five products for an image of 5x5 pixels with padding 1. Its first window, which was drawn above,
# holds four pixels of the image; they lie under the weights [1, 1] to [2, 2]. The fifth product is one of the second
# window.


def conv2d_forward(x, weight, bias, stride=1, padding=0):
    """Return y of shape (N, F, OH, OW)."""
    y = np.zeros(output_shape(x.shape, weight.shape, stride, padding))
    y += bias[:, np.newaxis, np.newaxis]  # one for each filter
    for at_y, at_weight, at_x in places(x.shape, weight.shape, stride, padding):
        y[at_y] += weight[at_weight] * x[at_x]
    return y


# %%
# ``places`` has seven loops in two lines: over images, filters, rows and columns of the output, and over channels, rows
# and columns of the window. The convolution itself is one line: ``y[at_y] += weight[at_weight] * x[at_x]``, a product
# that is added to a sum. The library computes the same:

from convnet import functional

x = rng.standard_normal((2, 3, 14, 13))
weight, bias = rng.standard_normal((4, 3, 5, 2)), rng.standard_normal(4)
y = conv2d_forward(x, weight, bias, stride=2, padding=1)
np.testing.assert_allclose(y, functional.conv2d_forward(x, weight, bias, stride=2, padding=1))
print("x", x.shape, " weight", weight.shape, " y", y.shape)

# %%
# The gradient
# ------------
#
# Now back. From the later layers comes ``dy``: by how much the loss changes with each number of y. The rules are those
# of chapter 2. A sum hands the gradient on to each term. A product hands it on to both of its factors, times the other
# factor. What is used several times gets the sum.
#
# So the way back has the same loops. Where the way forth has one line, ``y += weight * x``, it has two. Each hands
# ``dy`` on to one factor, times the other one:


def conv2d_backward(dy, x, weight, stride=1, padding=0):
    """Return the gradients with respect to x, weight and bias."""
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for at_y, at_weight, at_x in places(x.shape, weight.shape, stride, padding):
        dweight[at_weight] += dy[at_y] * x[at_x]
        dx[at_x] += dy[at_y] * weight[at_weight]
    return dx, dweight, dy.sum(axis=(0, 2, 3))


# %%
# That is the whole gradient of a convolution. The bias is added to every output of its filter, so its gradient is the
# sum of ``dy`` over images, rows and columns. Is it right? We try it, as in chapter 2. The loss takes the library's
# forward pass: we have seen that it gives the same numbers, and it is faster.

from convnet import gradient_error

dy = rng.standard_normal(y.shape)
dx, dweight, dbias = conv2d_backward(dy, x, weight, stride=2, padding=1)


def loss():
    """Return a loss whose gradient with respect to y is dy."""
    return (dy * functional.conv2d_forward(x, weight, bias, stride=2, padding=1)).sum()


for name, array, gradient in (("x", x, dx), ("weight", weight, dweight), ("bias", bias, dbias)):
    error = gradient_error(loss, array, gradient, rng=rng)
    print(f"{name:6} relative error {error:.1e}")
    assert error < 1e-7

# %%
# Why a pixel's gradient is a sum over windows
# --------------------------------------------
#
# Take one pixel, and ask which outputs change when it does. It is in several windows, and each of these makes an
# output. Here is the pixel in the middle of 5x5, with a filter of 3x3. The pictures show three of its nine windows, and
# the output of each. In each window the pixel lies under another weight.

image = np.zeros((5, 5))
image[2, 2] = 1
names = np.arange(1.0, 10).reshape(3, 3)  # so that one sees which weight it is
outputs = slide(image, names)

figure, axes = panels(4, size=(2.3, 2.5))
for ax, oh, ow, color in zip(axes[:3], (0, 1, 2), (0, 1, 1), (ORANGE, GREEN, VIOLET), strict=True):
    title = f"window of y[{oh}, {ow}]:\nunder weight[{2 - oh}, {2 - ow}]"
    draw_grid(ax, image, title, numbers=False)
    for i, j in np.ndindex(3, 3):
        ax.text(ow + j, oh + i, f"{names[i, j]:g}", ha="center", va="center", fontsize=9)
    draw_window(ax, oh, ow, 3, 3, color=color)
    draw_window(axes[3], oh, ow, color=color)
draw_grid(axes[3], outputs, "output: by which weight\nthe pixel is multiplied")
assert np.array_equal(outputs, names[::-1, ::-1])

# %%
# If the pixel grows by 1, then y[0, 0] grows by the weight 9, y[1, 1] by 5, y[2, 1] by 2, and so on. In the output the
# weights stand turned by 180 degrees: the pixel is in row 2 of the image, which is row 2 of a window that begins in row
# 0, and row 0 of a window that begins in row 2. Each of these changes moves the loss, by ``dy`` of that output. The
# effects add up, over all windows and all filters. For one image, stride 1 and no padding that is
#
# .. math:: \text{dx}[c, h, w] = \sum_{f,i,j} \text{dy}[f, h - i, w - j] \cdot \text{weight}[f, c, i, j],
#
# where dy is 0 outside of its rows and columns. Why :math:`h - i`? Pixel h lies under weight i in the window oh with
# :math:`oh + i = h`; so :math:`oh = h - i`. The loops add up the same sums in another order, window by window: each
# window puts its share into all the pixels that it holds. Here are both orders for one channel and one filter:

dy = rng.standard_normal((1, 1, 3, 3))
one_image, one_filter = image.reshape(1, 1, 5, 5), names.reshape(1, 1, 3, 3)
by_windows, _, _ = conv2d_backward(dy, one_image, one_filter)
around = np.pad(dy[0, 0], 2)  # with zeros; dy[0, 0, a, b] is around[a + 2, b + 2]
by_pixels = np.zeros((5, 5))
for h, w in np.ndindex(5, 5):
    for i, j in np.ndindex(3, 3):
        by_pixels[h, w] += around[h - i + 2, w - j + 2] * names[i, j]
np.testing.assert_allclose(by_pixels, by_windows[0, 0], atol=1e-12)

# %%
# Not all pixels are in equally many windows. With all weights and all ``dy`` equal to 1, ``dx`` counts the windows:

pixels, ones = np.zeros((1, 1, 7, 7)), np.ones((1, 1, 3, 3))
figure, axes = panels(3, size=(2.8, 3))
for ax, (stride, padding) in zip(axes, ((1, 0), (1, 1), (2, 0)), strict=True):
    dy = np.ones(output_shape(pixels.shape, ones.shape, stride, padding))
    counts, _, _ = conv2d_backward(dy, pixels, ones, stride, padding)
    title = f"stride {stride}, padding {padding}:\nwindows that hold the pixel"
    draw_grid(ax, counts[0, 0], title, limit=9)

# %%
# A pixel in the corner is in one window, one in the middle in nine. With padding the border is in more windows. With
# stride 2 the windows begin in rows 0, 2 and 4, and in columns 0, 2 and 4. Where they overlap, in rows and columns 2
# and 4, the counts are larger.
#
# And the gradient of a weight? ``weight[f, c, i, j]`` is used once in *every* window of every image. So its gradient is
# a sum over all outputs of its filter: each place of each image has a say.
#
# Loops are slow
# --------------
#
# All this is right, and too slow. One digit, eight filters of 7x7:

from time import perf_counter


def seconds(function):
    """Return how long a call takes."""
    start = perf_counter()
    function()
    return perf_counter() - start


one = digit[np.newaxis, np.newaxis]
filters, biases = rng.standard_normal((8, 1, 7, 7)), np.zeros(8)
by_loops = seconds(lambda: conv2d_forward(one, filters, biases, padding=3))
library = functional.conv2d_forward
by_library = min(seconds(lambda: library(one, filters, biases, padding=3)) for _ in range(5))
print(f"our loops {by_loops * 1e3:.0f} ms, the library {by_library * 1e3:.2f} ms")
print(f"by loops, the forward pass alone of 60,000 digits would take {by_loops * 60000 / 3600:.1f} hours")
assert by_library < by_loops
plt.show()

# %%
# The next chapter makes one matrix product of the loops.
#
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_03_convolution.py``.
#
# 1. **Filters by hand.** Find a filter of 3x3 that, with padding 1, leaves every image as it is; one that moves it one
#    pixel to the *right*; and one that makes each pixel the mean of itself and its eight neighbours. (At the border the
#    zeros of the padding are neighbours, too.)
# 2. **One dimension.** Sound is a row of numbers. Write ``conv1d_forward(x, weight, stride)`` and ``conv1d_backward(dy,
#    x, weight, stride)``, which returns dx and dweight, for one channel and one filter, without padding and bias: x has
#    the shape (W,) and weight (K,).
# 3. **How many windows hold a pixel?** Write ``windows_of(h, size, kernel, stride, padding)`` for one axis, without
#    building any array: count the ``oh`` whose window holds ``h``.
# 4. **A convolution again.** With stride 1 and no padding, dx is a convolution of ``dy``: without a bias, with the
#    padding ``(kh - 1, kw - 1)``, and with the filters turned by 180 degrees and the axes of F and C exchanged. Write
#    ``input_gradient(dy, weight)`` so, with :func:`convnet.functional.conv2d_forward`. The formula for dx above says
#    why: its sum goes over the F filters, as that of y goes over the C channels.
# 5. **Count the work.** How many multiplications does a convolution need, without padding? Write
#    ``multiplications(n, c, h, w, f, kh, kw, stride)``. ConvNet1 has 32 filters of 7x7, unless told otherwise, with
#    stride 1 and padding 3. How many does it need for one image of 28x28 pixels? Count those with the zeros of the
#    padding, too: the padded image has 34x34 pixels.
#
# Where this lies in the library
# ------------------------------
#
# - ``convnet/naive.py``: ``conv2d_forward`` and ``conv2d_backward`` as loops, with all options.
# - ``convnet/layers/convolution.py``: :func:`convnet.functional.conv2d_forward`,
#   :func:`convnet.functional.conv2d_backward`, :func:`convnet.functional.conv_output_shape` and the layer
#   :class:`convnet.Conv2D`.
#
# In Sichkar 2018 (`DOI 10.5281/zenodo.1317904 <https://doi.org/10.5281/zenodo.1317904>`_) this is the naive forward and
# backward pass of the convolutional layer.
#
# Next: :ref:`sphx_glr_chapters_gallery_04_im2col.py`.
