r"""
9. What the filters learned
===========================

A trained network is a list of numbers. This chapter makes pictures of them. You will see what training did to the
filters, what each filter finds in a digit, which pieces of 2,000 test images excite it most, and where the network
still errs. At the end there is a page on which you draw a digit and look inside while the network reads it.

The course of V. N. Sichkar (2018, `DOI 10.5281/zenodo.1317904 <https://doi.org/10.5281/zenodo.1317904>`_) ends with the
results of the training, among them the filters before and after. We begin there.
"""

# %%
# A trained network
# -----------------
#
# This is ConvNet1 of chapter 6 (:ref:`training <sphx_glr_chapters_gallery_06_training.py>`), made smaller: 16 filters
# of 7x7, and 64 hidden units. Before we train it, we keep a copy of the filters as they were drawn at random. Nothing
# is chosen by the test images here, so this chapter may look at them closely.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from drawing import draw_image

import convnet

images, labels, test_images, test_labels = convnet.load_mnist()
images, labels = images[:31_000], labels[:31_000]  # half of them, to save time, and 1,000 for validation
data, statistics = convnet.preprocess(images, labels, test_images, test_labels, num_test=None)


def trained(**options):
    """Return a small ConvNet1 after two epochs, and its filters from before the training."""
    model = convnet.ConvNet1(num_filters=16, hidden_size=64, seed=0, **options)
    model.statistics = statistics
    before = model.params["conv1.weight"].copy()
    solver = convnet.Solver(
        model, data, convnet.Momentum(0.02), schedule=convnet.OneCycle(2), epochs=2, restore_best=False, seed=0
    )
    solver.train()
    return model, before


model, before = trained()
accuracy = (model.predict(data["x_test"]) == test_labels).mean()
print(f"test accuracy {accuracy:.2%}")
assert accuracy > 0.97

# %%
# Filters before and after
# ------------------------
#
# A filter has a weight for each pixel of its window. We draw it as a picture of 7x7 squares: blue for weights above 0,
# orange for weights below, white for 0. Each picture has a scale of its own: its largest weight has the full colour.
# The first row shows eight filters before the training, the second the same filters after it.

after = model.params["conv1.weight"]


def draw_filters(rows, count=8):
    """Draw filters (F, 1, KH, KW), a row of pictures for each name."""
    _, axes = plt.subplots(len(rows), count, figsize=(count, 1.1 * len(rows)), layout="constrained", squeeze=False)
    for row, (name, weight) in zip(axes, rows.items(), strict=True):
        for panel, one_filter in zip(row, weight, strict=False):
            draw_image(panel, one_filter[0], signed=True)
        row[0].set_ylabel(name)


draw_filters({"before": before, "after": after})

# %%
# One sees little: both rows look like noise. The filters did learn, but each began with large random weights, and the
# change that training adds is smaller. (The noise does little harm: the layers behind learn to use the filters as they
# are.) So we look at the change itself, *after* minus *before*:

draw_filters({"change": after - before})
share = np.linalg.norm(after - before) / np.linalg.norm(before)  # norm: the root of the sum of squares
print(f"size of the change: {share:.0%} of the size before")
assert share < 0.5

# %%
# The changes look less like noise. In filters 0, 5 and 6, counted from 0, one sees it best: squares of one colour lie
# together, in bands and patches of about the width of a pen stroke. A weight changes in much the same way as its
# neighbours do.
#
# We can measure this. Take every weight and its neighbour to the right, and compute the correlation of the two: 0 means
# that they have nothing to do with each other, 1 that they are always alike.


def smoothness(weight):
    """Return the correlation of the weights with their neighbours to the right."""
    return np.corrcoef(weight[..., :-1].ravel(), weight[..., 1:].ravel())[0, 1]


change = after - before
for name, weight in {"before": before, "after": after, "change": change}.items():
    print(f"{name}: {smoothness(weight):.2f}")
of_neighbours = np.corrcoef(before[..., :-1].ravel(), change[..., 1:].ravel())[0, 1]
print(f"before, with the change of the neighbour to the right: {of_neighbours:.2f}")
assert max(abs(smoothness(before)), abs(smoothness(after))) < 0.15
assert smoothness(change) > 0.4
assert of_neighbours < -0.08

# %%
# Before and after, the correlation is 0 within chance. (By chance alone it is about :math:`1 / \sqrt{672} = 0.04`, for
# 16 * 7 * 6 = 672 pairs.) That of the change is not. Why is that so? The gradient of a filter is a sum over pieces of
# images, each multiplied by a number (chapter 3). In a piece of a digit neighbouring pixels are alike: a stroke is
# several pixels wide. So the gradient is smooth, and a sum of many gradients, which is what training adds, is smooth as
# well. (*After* stays at 0 all the same. The last line says why: where a weight began above 0, training lowered its
# neighbours a little. In *after* this cancels the smoothness of the change.)
#
# Filters that start small
# ------------------------
#
# If the noise comes from the start, we can start with less of it. An *initializer* is a function that draws the first
# weights of a layer. It is given their shape, how many inputs an output adds up, ``fan_in``, a random generator ``rng``
# and the ``dtype``; also ``fan_out``, for other initializers. (Arguments after the ``*`` are given by name.) Ours draws
# as ``he_normal`` does, the usual one, and makes filters a hundred times smaller. (Filters have four axes, F, C, KH and
# KW; the weights of an Affine layer have two.) As each picture has a scale of its own, small weights look like large
# ones. The random numbers are the same as above, so the first row is, too.


def small_filters(shape, fan_in, rng, dtype, *, fan_out):
    """Draw weights as he_normal does, those of filters a hundred times smaller."""
    weight = convnet.he_normal(shape, fan_in, rng, dtype, fan_out=fan_out)
    return 0.01 * weight if len(shape) == 4 else weight


smooth_model, small_before = trained(initializer=small_filters)
accuracy = (smooth_model.predict(data["x_test"]) == test_labels).mean()
print(f"test accuracy {accuracy:.2%}")
smooth = smooth_model.params["conv1.weight"]
print(f"smoothness before {smoothness(small_before):.2f}, after {smoothness(smooth):.2f}")
assert accuracy > 0.97
assert smoothness(smooth) > smoothness(after) + 0.2
draw_filters({"before": small_before, "after": smooth})

# %%
# Now one sees what was learned without any subtraction. A filter with blue on one side and orange on the other answers
# at an edge of a stroke. One with a blue band finds strokes in the direction of the band. Both networks read more than
# 97 % of the test digits. Which of the two starts is better, one run of each does not tell (chapter 6).
#
# What a filter finds in an image
# -------------------------------
#
# The convolution slides a filter over the image, and each output says how well the window fits the filter: it is large
# where bright pixels lie under weights above 0 and dark ones under weights below. (Dark pixels count, too: the network
# sees the image minus the mean image of chapter 1, so that they are mostly below 0.) The outputs of one filter are a
# picture again, a *feature map*. ReLU sets what is below 0 to 0.

convolution, relu = smooth_model.layers["conv1"], smooth_model.layers["relu1"]
chosen = [np.flatnonzero(test_labels == label)[0] for label in (1, 2, 7)]
maps = relu(convolution(data["x_test"][chosen]))
print("feature maps (N, F, H, W):", maps.shape)

# %%
# Of the 16 maps of the first digit we take the one with the largest number at row 14, column 14, and compute this
# number by hand. It is the sum of a window times a filter, plus the filter's bias. (It is above 0, so ReLU leaves it.)
# Counted in the image, the window begins at row 14 - 3 = 11; counted in the image with a padding of 3, at row 11 + 3 =
# 14. The same holds for the columns.

f = maps[0, :, 14, 14].argmax()
window = np.pad(data["x_test"][chosen[0], 0], 3)[14:21, 14:21]
by_hand = (window * smooth[f, 0]).sum() + smooth_model.params["conv1.bias"][f]
print(f"filter {f}: by hand {by_hand:.4f}, in the map {maps[0, f, 14, 14]:.4f}")
assert by_hand > 0
assert np.isclose(by_hand, maps[0, f, 14, 14], atol=1e-4)

# %%
# Above stand the first eight filters with their numbers, below their maps of three digits. The three maps of a filter
# have one scale of colours:

figure, axes = plt.subplots(4, 9, figsize=(9, 4.2), layout="constrained")
axes[0, 0].axis("off")
for number, panel in enumerate(axes[0, 1:]):
    draw_image(panel, smooth[number, 0], str(number), signed=True)
for row, index, of_image in zip(axes[1:], chosen, maps, strict=True):
    draw_image(row[0], test_images[index], "")
    for number, (panel, one_map) in enumerate(zip(row[1:], of_image, strict=False)):
        draw_image(panel, one_map, signed=True, white=maps[:, number].max())

# %%
# A map keeps where something was found. Filter 3 marks the horizontal strokes of the 2 and of the 7. (The place in the
# map is the middle of the window. The blue band of filter 3 lies above the middle, and so its marks lie a little below
# the strokes.) Filter 1 is blue on the left and orange on the right: it answers at the right edge of a stroke, where
# the left half of its window is bright and the right half dark. The next layers see these maps instead of the pixels.
#
# Map 3 also has a pale blot at the upper end of the 1, in part where the window holds no ink at all. The lower half of
# such a window lies nearer to the middle of the image, where the mean image has much ink. Empty pixels are far below 0
# there, and most weights are, too, so the products are above 0. Under the blue band the empty pixels are only a little
# below 0, and take less away. In the corners the mean image is 0, and the map is empty.

ink = np.lib.stride_tricks.sliding_window_view(np.pad(test_images[chosen[0]], 3), (7, 7)).max(axis=(2, 3))
print("largest number of map 3 in each digit:", maps[:, 3].max(axis=(1, 2)).round(2))
print(f"in the 1, where the window has no ink: {maps[0, 3][ink == 0].max():.2f}")
assert maps[0, 3][ink == 0].max() > 0.1
assert maps[0, 3, 0, 0] == 0
assert maps[0, 3].max() < 0.5 * maps[1:, 3].max(axis=(1, 2)).min()
assert smooth[3, 0, :3].mean() > 0.02
assert smooth[1, 0, :, :3].mean() > 0.02
assert smooth[1, 0, :, 4:].mean() < -0.02

# %%
# What excites a filter most
# --------------------------
#
# Turn the question round: of all windows in many images, which give the largest output? We look at 2,000 test digits,
# find the strongest place of each filter in each image, and keep the eight images where it is strongest.

maps = convolution(data["x_test"][:2000])
flat = maps.reshape(*maps.shape[:2], -1)  # (N, F, H * W)
strongest, place = flat.max(axis=2), flat.argmax(axis=2)
padded = np.pad(test_images[:2000], ((0, 0), (3, 3), (3, 3)))


def best_windows(filter_index, count=8):
    """Return the windows of the images that excite a filter most, one from each image."""
    windows = []
    for n in np.argsort(-strongest[:, filter_index])[:count]:
        row, column = divmod(place[n, filter_index], 28)
        windows.append(padded[n, row : row + 7, column : column + 7])
    return np.array(windows)


figure, axes = plt.subplots(6, 9, figsize=(9, 6.2), layout="constrained")
for index, row in enumerate(axes):
    draw_image(row[0], smooth[index, 0], signed=True)
    for panel, window in zip(row[1:], best_windows(index), strict=True):
        draw_image(panel, window)

# %%
# The windows of a row come from eight different images, and are alike. Each one looks roughly like the filter to their
# left: bright where it is blue, dark where it is orange. (Roughly, because the windows show the pixels, and the filter
# got them minus the mean image.) A filter is a picture of what it looks for. In numbers: the correlation of each filter
# with the mean of its eight windows.

likeness = [np.corrcoef(smooth[f].ravel(), best_windows(f).mean(axis=0).ravel())[0, 1] for f in range(16)]
print(np.round(likeness, 2))
assert np.median(likeness) > 0.5

# %%
# Errors
# ------
#
# A single number, such as the accuracy, hides which errors a network makes. The confusion matrix has a row for each
# true class and a column for each predicted one. The diagonal holds the right answers. On the right stands the *recall*
# of each class: the share of the true 9s, for example, that was found. Above stands the *precision*: the share of 9s
# among all that were called 9. The diagonal is blue, the errors are orange: the darker, the larger the share of the
# row.

predicted = smooth_model.predict(data["x_test"])
figure, axes = plt.subplots(figsize=(6.5, 6.5), layout="constrained")
convnet.plot_confusion(test_labels, predicted, ax=axes)
wrong = predicted != test_labels
pairs, counts = np.unique(np.stack([test_labels, predicted])[:, wrong], axis=1, return_counts=True)
print(f"{wrong.sum()} errors; most often a {pairs[0, counts.argmax()]} is taken for a {pairs[1, counts.argmax()]}")
assert counts.sum() == wrong.sum() == round((1 - accuracy) * 10_000)

# %%
# And the images themselves. Some of them a person would misread, too; at others the network ought to be better.

_, axes = plt.subplots(figsize=(8, 6), layout="constrained")
figure = convnet.plot_errors(test_images, test_labels, predicted, max_errors=40, ax=axes)

# %%
# The page
# --------
#
# All of this for one digit at a time, drawn by you: :func:`convnet.webpage.export` writes a page that holds the network
# itself. It is one file, needs no server, and sends nothing anywhere. Open it with a browser.

with tempfile.TemporaryDirectory() as folder:
    convnet.webpage.export(smooth_model, Path(folder, "page.html"))
    print(f"{Path(folder, 'page.html').stat().st_size / 1e6:.2f} MB")

# %%
# In a notebook, and here, :func:`convnet.webpage.show` shows the page without a file. Draw a digit, and choose a
# feature map: the page frames what the filter sees at its strongest place.

convnet.webpage.show(smooth_model)

# %%
# Try a digit that fills only a corner, one that lies on its side, and something that is no digit at all. The network
# has to answer with one of ten digits, whatever it sees, and may be sure of a wrong one.
#
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_09_what_filters_learned.py``, each with a test.
#
# 1. Write ``most_changed(before, after)``: the index of the filter for which the size of the change, divided by its
#    size before, is largest. The size is the square root of the sum of squares.
# 2. Write ``occlusion(model, x, label, size)``: cover a square of ``size`` x ``size`` pixels of a prepared image
#    ``x`` (C, H, W) with zeros, at every place where it lies wholly inside the image. (In a prepared image zeros are
#    not black: they are the mean image.) Return the probability of the class ``label`` for each place, an array
#    (H - size + 1, W - size + 1). ``model.probabilities`` returns the probabilities (N, K) of prepared images
#    (N, C, H, W). Where the probability falls, the answer rests on these pixels. Draw it for a 7.
# 3. One number of a feature map sees a part of the image as wide as the filter. Behind a second layer it sees more.
#    Write ``receptive_field(layers)``, which returns how many pixels wide that part is. ``layers`` are pairs
#    ``(kernel_size, stride)``, the first layer first; ConvNet1's convolution and pooling are ``[(7, 1), (2, 2)]``.
#    Begin with one number behind the last layer and go back: how many numbers in front of a layer do ``n`` neighbours
#    behind it see?
# 4. Write ``input_gradient(model, x, label)``: the gradient of the score of a class with respect to prepared images
#    ``x`` (N, C, H, W). ``model.layers`` holds the layers by name, without the softmax, which belongs to the loss.
#    ``layer.forward(x)`` returns the output and a cache, ``layer.backward(dy, cache)`` the gradient of the input and a
#    dictionary of those of the parameters. Call ``forward`` of each layer, and then ``backward`` of each in reverse
#    order. The gradient of the score with respect to the scores (N, K), where it begins, is 1 for the class and 0
#    elsewhere. The result says which pixels would raise the score. Draw it.
#
# Where this lies in the library
# ------------------------------
#
# - The figures: :func:`convnet.plot_filters`, :func:`convnet.plot_confusion`, :func:`convnet.plot_errors`, and
#   :class:`convnet.FilterAnimation`, which makes an animation of the filters while they train (``convnet/plotting/``).
# - The initializers: :func:`convnet.he_normal` and others (``convnet/layers/initializers.py``).
# - The measures: :func:`convnet.confusion_matrix`, :func:`convnet.precision`, :func:`convnet.recall`
#   (``convnet/training/metrics.py``).
# - The page: :func:`convnet.webpage.export`, :func:`convnet.webpage.show`; its forward pass in JavaScript is
#   ``convnet/webpage/network.js``.
#
# Next: :ref:`sphx_glr_chapters_gallery_10_going_further.py`.

plt.show()
