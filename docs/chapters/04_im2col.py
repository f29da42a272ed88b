"""
4. im2col: a convolution as one product
=======================================

The loops of chapter 3 become one product of two matrices, which a computer does fast. After this chapter you can write
the two functions that this needs, ``im2col`` and ``col2im``, in five lines of NumPy each, and say why the second one is
the *adjoint* of the first, and not its inverse.
"""

# %%
# Why a product?
# --------------
#
# A convolution is many sums of products. So is a product of matrices. How many multiplications a second do we get, in
# three ways: by Python's loops, by NumPy number by number (``a * b``), and by NumPy as a product of matrices
# (``a @ b``)?

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, COLORS, draw_grid, draw_text, draw_window, panels


def seconds(function):
    """Return the time of the fastest of five calls."""
    times = []
    for _ in range(5):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return min(times)


def product_by_loops(a, b):
    """Return the product of two matrices."""
    y = np.zeros((len(a), b.shape[1]))
    for m, n in np.ndindex(y.shape):
        for k in range(len(b)):
            y[m, n] += a[m, k] * b[k, n]
    return y


rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 1000, 1000))
small_a, small_b = a[:30, :30], b[:30, :30]
np.testing.assert_allclose(product_by_loops(small_a, small_b), small_a @ small_b, atol=1e-12)
speeds = {
    "Python's loops": 30**3 / seconds(lambda: product_by_loops(small_a, small_b)),
    "a * b": 1000**2 / seconds(lambda: a * b),
    "a @ b": 1000**3 / seconds(lambda: a @ b),
}
for name, speed in speeds.items():
    print(f"{name:15} {speed / 1e6:9.1f} million multiplications a second")
assert speeds["a @ b"] > speeds["Python's loops"]

# %%
# The same as a picture. Each number on the axis is ten times the one before:

figure, ax = plt.subplots(figsize=(6, 2), layout="constrained")
ax.plot(list(speeds.values()), list(speeds), "o", color=BLUE, markersize=9)
ax.set(xscale="log", xlabel="multiplications a second", xlim=(1e5, 1e12), ylim=(2.5, -0.5))
ax.grid(axis="x")

# %%
# Python's loops are slow because Python looks up again for every single number what it is and what ``*`` means for it.
# ``a * b`` and ``a @ b`` do that once for all numbers, and then the processor multiplies four or more pairs of numbers
# in one go. But in ``a * b`` each number is fetched from memory for one multiplication, and fetching takes longer than
# multiplying. In ``a @ b`` each number of a is used 1,000 times, once for each column of b. A good program fetches it
# once or a few times, keeps it close to the processor's arithmetic, and uses it again and again. Chapter 8 takes such a
# product apart.
#
# So we write the convolution as a product.
#
# im2col: each window becomes a column
# ------------------------------------
#
# Copy the pixels of the first window into the first column of a new matrix, those of the second window into the second
# column, and so on. An image of 3x4 pixels and windows of 2x2 give six columns of four numbers. The first four
# of them:

image = np.arange(1.0, 13).reshape(3, 4)
windows = [image[oh : oh + 2, ow : ow + 2] for oh in range(2) for ow in range(3)]
expected = np.stack([window.reshape(4) for window in windows], axis=1)

figure, axes = panels(4, 2, size=(2.5, 2.1))
for k, above, below, color in zip(range(4), *axes, COLORS, strict=True):
    draw_grid(above, image, f"window {k}", limit=30)
    draw_window(above, k // 3, k % 3, 2, 2, color=color)
    filled = expected.copy()
    filled[:, k + 1 :] = np.nan
    draw_grid(below, filled, f"column {k}", limit=30)
    draw_window(below, 0, k, 4, 1, color=color)

# %%
# Neighbouring windows overlap, so most pixels are copied several times: the pixel 6 is in windows 0, 1 and 3, and in
# window 4, which is not drawn. The matrix needs more memory than the image, up to KH times KW as much. That is the
# price.
#
# The same matrix can be filled row by row, and that is quicker to write. Row 0 has the *upper left* pixel of every
# window, row 1 the upper right ones. The upper left pixels of all windows are a piece of the image themselves:

figure, axes = panels(4, 2, size=(2.5, 2.1))
for k, above, below, color in zip(range(4), *axes, COLORS, strict=True):
    i, j = divmod(k, 2)
    draw_grid(above, image, f"pixel [{i}, {j}] of all windows", limit=30)
    draw_window(above, i, j, 2, 3, color=color)
    filled = expected.copy()
    filled[k + 1 :] = np.nan
    draw_grid(below, filled, f"row {k}", limit=30)
    draw_window(below, k, 0, 1, 6, color=color)

# %%
# So there is one slice of the image for each pixel [i, j] of the window: from row i and column j on, as many rows as
# there are windows down, and as many columns as there are windows across. With a stride the slice takes every second
# (or third) row and column: with stride 2, three windows down and i = 1 the rows are ``1:7:2``, that is 1, 3 and 5.
# With C channels, the pixels of channel 0 stand first in a column, then those of channel 1; all are sliced at once.
#
# The code first fills an array with five axes: c, i and j, and the window's place down and across. ``reshape`` then
# makes one axis of the first three, in this order, and one of the last two.


def count_windows(shape, kh, kw, stride):
    """Return (OH, OW), by chapter 3's formula; the padding, if any, is already around the image."""
    return (shape[-2] - kh) // stride + 1, (shape[-1] - kw) // stride + 1


def im2col(x, kh, kw, stride=1):
    """Return the windows of an image (C, H, W) as columns (C * KH * KW, OH * OW)."""
    out_h, out_w = count_windows(x.shape, kh, kw, stride)
    cols = np.zeros((len(x), kh, kw, out_h, out_w))
    for i, j in np.ndindex(kh, kw):
        cols[:, i, j] = x[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
    return cols.reshape(-1, out_h * out_w)


assert np.array_equal(im2col(image[np.newaxis], 2, 2), expected)

# %%
# Only two loops are left, over the pixels of the window. Each turn copies a whole slice.
#
# The product
# -----------
#
# A window is a column now, and a filter can be a row: (F, C, KH, KW) becomes (F, C * KH * KW), in the same order c, i,
# j. Row times column is the sum of the products of filter and window. So *all* outputs are one product of matrices.

weight = np.array([[[[1.0, 1], [0, 0]]], [[[0, 0], [2, -1]]]])  # F = 2 filters of one channel
rows = weight.reshape(2, 4)
y = rows @ expected
figure, axes = panels(5, size=(2.3, 2.2), widths=[4, 0.6, 6, 0.6, 6])
draw_grid(axes[0], rows, "weight (F, C KH KW)")
draw_text(axes[1], "@", size=14)
draw_grid(axes[2], expected, "im2col(x) (C KH KW, OH OW)", limit=30)
draw_text(axes[3], "=", size=14)
draw_grid(axes[4], y, "y (F, OH OW)", limit=40)
draw_window(axes[0], 0, 0, 1, 4)
draw_window(axes[2], 0, 2, 4, 1)
draw_window(axes[4], 0, 2)

# %%
# The convolution of N images, one after another:


def pad(x, padding):
    """Put zeros around images (N, C, H, W)."""
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def conv2d_forward(x, weight, bias, stride=1, padding=0):
    """Return y of shape (N, F, OH, OW)."""
    filters, _, kh, kw = weight.shape
    x, rows = pad(x, padding), weight.reshape(filters, -1)
    y = np.stack([rows @ im2col(image, kh, kw, stride) for image in x])
    y += bias[:, np.newaxis]  # one for each filter
    return y.reshape(len(x), filters, *count_windows(x.shape, kh, kw, stride))


from convnet import naive

x = rng.standard_normal((2, 3, 14, 13))
weight, bias = rng.standard_normal((4, 3, 5, 2)), rng.standard_normal(4)
y = conv2d_forward(x, weight, bias, stride=2, padding=1)
np.testing.assert_allclose(y, naive.conv2d_forward(x, weight, bias, stride=2, padding=1))

# %%
# ``convnet.naive`` has the loops, in a form that is quicker than ours of chapter 3. The results are equal; the times
# are not. An image as large as a digit, with eight filters of 7x7:

digit = rng.random((1, 1, 28, 28))
filters, biases = rng.standard_normal((8, 1, 7, 7)), np.zeros(8)
start = perf_counter()
slow = naive.conv2d_forward(digit, filters, biases, padding=3)
loop_time = perf_counter() - start
column_time = seconds(lambda: conv2d_forward(digit, filters, biases, padding=3))
np.testing.assert_allclose(conv2d_forward(digit, filters, biases, padding=3), slow)
print(f"loops {loop_time * 1e3:.1f} ms, im2col and product {column_time * 1e3:.2f} ms")
assert column_time < loop_time

# %%
# Back: two products and col2im
# -----------------------------
#
# For one image, ``y = rows @ cols`` is a product as in chapter 2. There it was ``x @ weight``; the first factor got
# ``dy @ weight.T``, the second one ``x.T @ dy``. Here the first factor is ``rows``, and the second one ``cols``. So
# ``drows = dy @ cols.T`` and ``dcols = rows.T @ dy``. All images use the same weights, so what they give to
# ``drows`` is added.
#
# ``dcols`` says by how much the loss changes with each number in the *columns*. We want to know it for the pixels. A
# pixel was *copied* into several columns, once for each window that it is in. A number that is used several times gets
# the sum of what comes from its uses. So each number of ``dcols`` is added to the pixel that it was copied from. This
# is *col2im*: the same slices, with both sides exchanged, and ``+=``.


def col2im(cols, shape, kh, kw, stride=1):
    """Add each number to the pixel that im2col copies it from; shape is (C, H, W)."""
    out_h, out_w = count_windows(shape, kh, kw, stride)
    x, cols = np.zeros(shape), cols.reshape(-1, kh, kw, out_h, out_w)
    for i, j in np.ndindex(kh, kw):
        x[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride] += cols[:, i, j]
    return x


# %%
# Watch it add up. All numbers in the columns are 1, and the rows of the matrix come back one after another:

figure, axes = panels(4, size=(2.5, 2.3))
total = np.zeros((3, 4))
for k, (ax, color) in enumerate(zip(axes, COLORS, strict=True)):
    i, j = divmod(k, 2)
    total[i : i + 2, j : j + 3] += 1
    draw_grid(ax, total, f"row {k} added", limit=6)
    draw_window(ax, i, j, 2, 3, color=color)
assert np.array_equal(total, col2im(np.ones((4, 6)), (1, 3, 4), 2, 2)[0])

# %%
# The result says how many windows each pixel is in, as chapter 3 counted for images of 7x7 pixels. And now the whole
# way back. What belongs to the padding is cut off at the end.


def conv2d_backward(dy, x, weight, stride=1, padding=0):
    """Return the gradients with respect to x, weight and bias."""
    (filters, _, kh, kw), (_, _, h, w) = weight.shape, x.shape
    rows, padded = weight.reshape(filters, -1), pad(x, padding)
    drows, dx = np.zeros(rows.shape), np.zeros(padded.shape)
    for n, image in enumerate(padded):
        dy_rows = dy[n].reshape(filters, -1)
        drows += dy_rows @ im2col(image, kh, kw, stride).T
        dx[n] = col2im(rows.T @ dy_rows, image.shape, kh, kw, stride)
    dx = dx[:, :, padding : padding + h, padding : padding + w]
    return dx, drows.reshape(weight.shape), dy.sum(axis=(0, 2, 3))


dy = rng.standard_normal(y.shape)
ours = conv2d_backward(dy, x, weight, stride=2, padding=1)
loops = naive.conv2d_backward(dy, x, weight, stride=2, padding=1)
for gradient, by_loops in zip(ours, loops, strict=True):
    np.testing.assert_allclose(gradient, by_loops, atol=1e-12)

# %%
# A trap. The two loops can be saved if one computes the indices of all pixels of all windows, and writes
# ``x[row_indices, column_indices] += cols``. That is wrong. Where an index occurs several times, NumPy adds *once*, and
# the other sums are lost. ``np.add.at`` adds as often as the index occurs:

wrong, right = np.zeros(3), np.zeros(3)
wrong[[0, 1, 1, 1]] += 1
np.add.at(right, [0, 1, 1, 1], 1)
print("+= with an index three times:", wrong, " np.add.at:", right)
assert wrong[1] == 1
assert right[1] == 3

# %%
# In our loops a slice holds no pixel twice, so ``+=`` is right.
#
# The adjoint, not the inverse
# ----------------------------
#
# The name *col2im* sounds as if it took back what *im2col* does. It does not.

there_and_back = col2im(im2col(image[np.newaxis], 2, 2), (1, 3, 4), 2, 2)[0]
counts = col2im(np.ones((4, 6)), (1, 3, 4), 2, 2)[0]
figure, axes = panels(5, size=(2.1, 2.1), widths=[4, 0.6, 4, 0.6, 4])
draw_grid(axes[0], image, "x", limit=48)
draw_text(axes[1], r"$\times$", size=14)
draw_grid(axes[2], counts, "windows of each pixel", limit=8)
draw_text(axes[3], "=", size=14)
draw_grid(axes[4], there_and_back, "col2im(im2col(x))", limit=48)
assert np.array_equal(there_and_back, counts * image)

# %%
# Each pixel comes back as many times as it was copied. What is col2im, then? im2col does nothing but copy. So it can be
# written as a matrix :math:`A` of zeros and ones. Take the image as one long list :math:`x`, and the result of im2col
# as one long list, too. Then the second list is :math:`A x`. Each *row* of A belongs to one number of im2col's result,
# and has a single 1, at the pixel that is copied. Take an image of 3x3 pixels and windows of 2x2, and count from 0:
# number 2 of the result is the upper left pixel of window 2, which is pixel 3. So row 2 of A is 0 0 0 1 0 0 0 0 0.
#
# A can be found by trying. A matrix times a list with a single 1, at place k, gives the matrix's *column* k. So column
# k of A is what im2col makes of an image in which pixel k is 1 and all others are 0. Here is A, and on the right the
# matrix B of col2im, found in the same way. Blue is 1, white is 0.

units = np.eye(9).reshape(9, 1, 3, 3)  # nine images, each with a single 1
A = np.stack([im2col(unit, 2, 2).reshape(-1) for unit in units], axis=1)
back = [col2im(unit.reshape(4, 4), (1, 3, 3), 2, 2) for unit in np.eye(16)]  # the same for col2im
B = np.stack([pixels.reshape(-1) for pixels in back], axis=1)
assert np.array_equal(B, A.T)
assert (A.sum(axis=1) == 1).all()
assert A[2].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]

figure, (left, right) = panels(2, size=(3.6, 4.4), widths=[9, 16])
draw_grid(left, A, "A of im2col:\n16 rows for the numbers,\n9 columns for the pixels", numbers=False)
draw_window(left, 0, 4, 16, 1)
draw_grid(right, B, "B of col2im:\n9 rows for the pixels, 16 columns for the numbers", numbers=False)
draw_window(right, 4, 0, 1, 16)

# %%
# The frame is around the pixel in the middle. In A its column has four ones: it is copied four times. In B its row has
# the same four ones: it gets the sum of four numbers. B is A *transposed*, rows and columns exchanged: ``A.T``, as the
# ``assert`` shows. A function with the transposed matrix is called the *adjoint*.
#
# The chain rule says why it is this one. The loss depends on a pixel :math:`x_k` through all the numbers that A makes
# of it:
#
# .. math:: \text{dx}_k = \sum_r \text{dcols}_r \, A_{rk}, \quad \text{that is} \quad \text{dx} = A^T \, \text{dcols}.
#
# Here k counts the pixels, and r the numbers of im2col's result.
#
# A function that can be written as a matrix is called *linear*. For all of them the same holds: *the backward pass of a
# linear function is its adjoint*. The adjoint of copying is adding. The adjoint of padding is cutting off. The adjoint
# of multiplying by W is multiplying by ``W.T``.
#
# It also makes a quick test, without a loss and without small steps. For any x and any z the two sums of products are
# equal:
#
# .. math:: \sum (A x) \cdot z = \sum x \cdot (A^T z).
#
# Both are the sum of :math:`z_r A_{rk} x_k` over all r and k, added up in another order. For comparison we also take a
# wrong col2im, which forgets the stride.


def wrong_col2im(cols, shape, kh, kw, stride):
    """Add the numbers to pixels side by side, whatever the stride."""
    out_h, out_w = count_windows(shape, kh, kw, stride)
    x, cols = np.zeros(shape), cols.reshape(-1, kh, kw, out_h, out_w)
    for i, j in np.ndindex(kh, kw):
        x[:, i : i + out_h, j : j + out_w] += cols[:, i, j]
    return x


x = rng.standard_normal((7, 14, 13))
cols = im2col(x, 3, 4, stride=2)  # OH = 6, OW = 5
z = rng.standard_normal(cols.shape)
expected = (cols * z).sum()
right = (x * col2im(z, x.shape, 3, 4, stride=2)).sum()
wrong = (x * wrong_col2im(z, x.shape, 3, 4, stride=2)).sum()
print(f"im2col {expected:.6f}, col2im {right:.6f}, wrong col2im {wrong:.6f}")
np.testing.assert_allclose(right, expected)
assert not np.isclose(wrong, expected)
plt.show()

# %%
# The wrong one is found at once. Do such a test with sizes that are all different, as here, so that no error is hidden
# by two equal ones.
#
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_04_im2col.py``.
#
# 1. **Without a loop.** ``np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))`` gives all windows of
#    stride 1, of shape (C, H - KH + 1, W - KW + 1, KH, KW), without copying. Write ``im2col_view(x, kh, kw, stride)``
#    with it, to the same result as ``im2col``.
# 2. **Pooling.** The maximum of each window, channel by channel, is *max pooling*. Write ``max_pool(x, size, stride)``
#    for an image (C, H, W), with ``im2col`` and one call of ``max``. It returns (C, OH, OW). First give the channels an
#    axis of their own, with ``reshape``.
# 3. **The inverse, after all.** If every pixel is in some window, x can be got back from its columns. Write
#    ``undo(cols, shape, kh, kw, stride)``.
# 4. **Other adjoints.** Find the backward pass of each, and test it by the two sums: ``np.cumsum``, each number
#    replaced by the sum of all up to it; ``x[::-1]``; and ``np.pad(x, 2)`` for a list of numbers.
# 5. **The price.** How many times as much memory as the image, without its padding, do the columns of ConvNet1 need,
#    for 28x28 pixels, 7x7 filters, stride 1 and padding 3? And with stride 7 and no padding? Write
#    ``growth(size, kernel, stride, padding)`` for square images.
#
# Where this lies in the library
# ------------------------------
#
# - ``convnet/_kernels.pyx``: ``im2col`` and ``col2im`` as compiled loops, and the convolution with them.
# - ``convnet/layers/convolution.py``: :func:`convnet.functional.conv2d_forward` and
#   :func:`convnet.functional.conv2d_backward`.
# - ``tests/layers/test_convolution.py`` and ``tests/test_kernels.py``: tests that compare all of these.
#
# Next: :ref:`sphx_glr_chapters_gallery_05_other_layers.py`.
