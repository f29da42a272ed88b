"""
1. Data: what a digit is to a network
=====================================

A network sees no pictures. It gets tables of numbers. After this chapter you can say which numbers these are, prepare
images for a network by hand, and explain why a photograph of your own handwriting is misread, and mend that.
"""

# %%
# A digit is a table
# ------------------
#
# MNIST is a set of 70,000 handwritten digits. 60,000 are for training, 10,000 for the test. They are in the package.

import matplotlib.pyplot as plt
import numpy as np
from drawing import draw_arrow, draw_grid, draw_image, draw_window, panels

from convnet import load_mnist

images, labels, test_images, test_labels = load_mnist()
print("images", images.shape, images.dtype, "from", images.min(), "to", images.max())
print("labels", labels.shape, labels[:8])

# %%
# An image has 28 rows and 28 columns. Each element is one *pixel*, a number from 0 (black) to 255 (white): as many
# values as one byte can have, hence the type ``uint8``. A *label* says which digit the image shows.
#
# This is the first image. On the right are the numbers of some of its pixels; the larger, the darker the blue.

figure, (whole, part) = panels(2, size=(3.4, 3.4))
draw_image(whole, images[0], f"images[0], label {labels[0]}")
draw_window(whole, 5, 17, 7, 7)
draw_grid(part, images[0, 5:12, 17:24], "images[0, 5:12, 17:24]")
draw_arrow(whole, (8, 24), part, (3, -0.6))

# %%
# The table is all that there is. Nothing in it says "stroke" or "loop". To find these in the numbers is the network's
# work.
#
# People do not write alike:

from convnet import plot_examples

_, ax = plt.subplots(figsize=(8, 5), layout="constrained")
_ = plot_examples(images[:1000], labels[:1000], examples_per_class=6, ax=ax)

# %%
# Axes, and what a channel is
# ---------------------------
#
# ``images`` has three axes: N images, H rows (the height), W columns (the width). An image in colour needs more than
# one number a pixel: how much red, how much green, how much blue. Each *kind of number*, given for every place, is
# called a *channel*; drawn by itself, it is a grey image. Here is a digit painted red on blue paper.

ink = images[0] / 255  # from 0, no ink, to 1
red, green, blue = ink, 0.2 * ink, 0.8 * (1 - ink)
painted = np.stack([red, green, blue])
assert painted.shape == (3, 28, 28)

figure, axes = panels(4)
draw_image(axes[0], painted.transpose(1, 2, 0), "what we see")
for ax, channel, name in zip(axes[1:], painted, ("red", "green", "blue"), strict=True):
    draw_image(ax, channel, f"channel {name}", white=1)

# %%
# A grey image has one channel, a colour image three. In the middle of a network there may be 32: one says for every
# place how much of an edge lies there, another one how much of a curve. Chapter 3 makes such channels.
#
# A network takes arrays of the shape (N, C, H, W): images, channels, rows, columns. This order is called *channels
# first*: they come before the rows and columns. Cameras and image files have the channels last: (H, W, C).
# ``transpose`` moves axes. In ``transpose(1, 2, 0)`` the new first axis is the old axis 1, then come the old axes 2 and
# 0. ``reshape`` moves none: it keeps the order of the numbers, and only counts them differently.

photo = painted.transpose(1, 2, 0)  # (H, W, C), as from a file
right = photo.transpose(2, 0, 1)
wrong = photo.reshape(3, 28, 28)
assert right.shape == wrong.shape == (3, 28, 28)
assert (right == painted).all()
assert not (wrong == painted).all()

figure, axes = panels(2)
draw_image(axes[0], right[0], "transpose: channel red")
draw_image(axes[1], wrong[0], 'reshape: "channel red"')

# %%
# Both have the right shape, and no error is raised. One of them is no channel at all. When you change the order of
# axes, look at a picture.
#
# Numbers of a size near 1
# ------------------------
#
# A network multiplies its inputs by *weights* and adds the products up, again and again. Its first weights are random
# numbers, chosen so that inputs of a size near 1 give sums of a size near 1. (The *size* of several numbers is here the
# root of the mean of their squares.) Pixels go up to 255, which is far too large. So we divide by 255. Let us see what
# a difference that makes. A digit has 784 pixels, each gets a random weight, and the products are added: one sum for
# each of 1,000 digits.
#
# The sum of 784 random products is not 784 times as large as one of them: some are positive, some negative, and they
# partly cancel. It is about 28 times as large, the root of 784. So the random weights are divided by 28. (Try it: the
# sum of four times as many products has twice the size.) How large are the sums?

rng = np.random.default_rng(0)
weights = rng.standard_normal(784) / np.sqrt(784)
flat = images[:1000].reshape(1000, 784)
for name, inputs in (("pixels from 0 to 255", flat), ("pixels from 0 to 1", flat / 255)):
    sums = inputs @ weights  # each digit's pixels times the weights, added
    print(f"{name}: sums of a size of {np.sqrt((sums**2).mean()):.2f}")

# %%
# The size of the second sums is about a third of 1; the standard deviation, below, does the rest. Chapter 2 takes the
# exponentials of such sums, and makes probabilities of them. :math:`e^{0.35}` is a handy number. :math:`e^{89}` has 39
# digits: beside it all the others are as good as 0, before anything is learned.
#
# The mean image
# --------------
#
# The mean image has for each pixel the mean of this pixel over all images. It is a mean over axis 0, the images, and
# thus an image itself. We take the first 59,000 images; the last 1,000 are kept for choices, as a later section says.

train = images[:59000] / np.float32(255)
mean_image = train.mean(axis=0)
assert mean_image.shape == (28, 28)

figure, axes = panels(3)
draw_image(axes[0], train[0], "a digit")
draw_image(axes[1], mean_image, "the mean image")
draw_image(axes[2], train[0] - mean_image, "their difference", signed=True)

# %%
# The mean image is a soft blot: what all digits have in common. The difference is what is special about this one. Blue
# is above 0: more ink than usual. Orange is below 0: ink that other digits have here, and this one has not. So a pixel
# without ink says something, too.
#
# Why subtract it? Take each image as a list of 784 numbers, an arrow in a space of 784 dimensions. The cosine of the
# angle between two arrows is 1 if they point the same way, 0 if they are at a right angle, and below 0 if they point
# apart. If both arrows have the length 1, it is the sum of the products of their numbers. ``@`` computes that for all
# pairs of rows.


def mean_cosine(rows):
    """Return the mean cosine between pairs of different rows."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)  # keepdims: one length beside each row
    cosines = units @ units.T
    return cosines[np.triu_indices(len(rows), 1)].mean()  # above the diagonal: each pair once


before = mean_cosine(train[:1000].reshape(1000, 784))
after = mean_cosine((train[:1000] - mean_image).reshape(1000, 784))
print(f"mean cosine between two digits: {before:.2f}")
print(f"after the mean image is subtracted: {after:.2f}")
assert before > 0.3
assert abs(after) < 0.05

# %%
# Without the subtraction all digits point to one side of the space: each is the mean image, plus what is special about
# it. The mean image, times the weights, adds the same number to the sums of all digits. If the weights change, so does
# this number, and all sums move together. The network first has to learn to overlook what is common. Subtracting it
# once, before the training, is cheaper. Chapter 2 shows what a difference it makes.
#
# The standard deviation
# ----------------------
#
# The standard deviation says how far numbers usually lie from their mean. If the mean is subtracted first, dividing by
# it gives numbers of a size near 1, whatever their unit was. The library divides by *one* number: the deviation of all
# training pixels, from 0 to 1, before the mean image is subtracted. After that they spread a little less, so the result
# is a little smaller than 1. That does no harm.
#
# Why not divide each pixel by its own deviation? Some pixels near the border never vary. Their deviation is 0, and one
# cannot divide by 0:

std = train.std()
pixel_std = train.std(axis=0)
print(f"one deviation for all pixels: {std:.4f}")
print(f"size of the prepared pixels: {((train - mean_image) / std).std():.2f}")
print("pixels that never vary:", (pixel_std == 0).sum())
assert not mean_image[pixel_std == 0].any()  # they are black in every image
assert pixel_std[0, 0] == 0

# %%
# Here is each pixel's own deviation as an image. Black is 0.

figure, axes = panels(1)
draw_image(axes[0], pixel_std, "deviation of each pixel")

# %%
# The pixels that never vary lie in the corners and at the edges. They are black in every image. Close to them the
# deviation is nearly 0: a speck of ink there would become a huge number.
#
# Three parts, and statistics from one of them
# --------------------------------------------
#
# The images go into three parts. From the *training* part the network learns. By the *validation* part you choose, for
# example among several networks. If you compare many networks on the same images, the winner owes part of its lead to
# luck on just these images. So the *test* part takes no part in any choice: it is looked at once, at the end.
#
# The mean image and the deviation come from the training part alone. The other parts stand for images that nobody has
# seen yet. A network at work may get a single image, and no mean image can be computed from that. So every image is
# prepared with the mean image and the deviation of the training part. Altogether the inputs are
#
# .. math:: x = \frac{\text{pixel} / 255 - \text{mean image}}{\text{deviation}}.
#
# :func:`convnet.preprocess` does all that this chapter did, and puts the channels first. It keeps the last 1,000
# training images for validation. Of the test images it takes the first 1,000, unless ``num_test`` says otherwise;
# ``num_test=None`` takes all.

from convnet import preprocess

data, statistics = preprocess(images, labels, test_images, test_labels)
for name, array in data.items():
    print(f"{name:13}", array.shape, array.dtype)

by_hand = ((images[0] / 255 - mean_image) / std)[np.newaxis]  # one channel
np.testing.assert_allclose(data["x_train"][0], by_hand, atol=1e-4)

# %%
# ``np.newaxis`` makes the axis of the one channel. ``statistics.mean`` is the mean image, of shape (1, 28, 28), and
# ``statistics.std`` the deviation. They belong to the network as much as the weights do: ``statistics.apply`` prepares
# a new image as those of training were prepared.

assert np.array_equal(statistics.apply(test_images[:5]), data["x_test"][:5])

# %%
# Saving what is prepared
# -----------------------
#
# Prepared data can be kept in a file, together with the statistics. We keep 1,000 images of each part, in a folder that
# is deleted afterwards.

import tempfile
from pathlib import Path

from convnet import load_prepared, save_prepared

few = {name: array[:1000] for name, array in data.items()}
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "digits.pickle"
    save_prepared(file, few, statistics)
    loaded, loaded_statistics = load_prepared(file)
assert np.array_equal(loaded["x_train"], few["x_train"])
assert np.array_equal(loaded_statistics.mean, statistics.mean)

# %%
# Why your own photograph is misread
# ----------------------------------
#
# We train a small network, :class:`convnet.ConvNet1`; chapters 2 to 6 explain its parts, so take the four lines as they
# are. To be quick, we take 9,000 images, of which ``preprocess`` again keeps 1,000 for validation. The network goes
# through the other 8,000 twice (two *epochs*). We give it the statistics of their preparation: ``predict_images`` first
# prepares each image with them.
#
# Then we take "photographs" of validation digits, since we are going to choose among several ways to prepare them. The
# digits are in dark ink on light paper, smaller than MNIST's, away from the middle, with less light on one side.

from convnet import ConvNet1, Momentum, Solver, prepare_digit

small, small_statistics = preprocess(images[:9000], labels[:9000], test_images, test_labels)
model = ConvNet1(num_filters=8, hidden_size=50)
model.statistics = small_statistics
Solver(model, small, Momentum(0.01), epochs=2).train()


def photograph(image):
    """Return a picture of 112x112 pixels in which an image of 28x28 lies on paper."""
    ink = np.zeros((112, 112))
    row, column = rng.integers(0, 29, 2)
    ink[row : row + 84, column : column + 84] = np.kron(image / 255, np.ones((3, 3)))  # each pixel becomes 3x3
    light = np.linspace(230, 170, 112)  # of each column of the paper
    return (light * (1 - 0.8 * ink)).astype(np.uint8)


def shrink(photo):
    """Return 28x28 pixels, each the mean of 4x4."""
    return photo.reshape(28, 4, 28, 4).mean(axis=(1, 3)).astype(np.uint8)


# %%
# A photograph has to be made 28x28 pixels in any case. Beyond that we do more and more for it:
#
# - nothing;
# - invert it, so that the ink is light and the paper dark, as in MNIST;
# - :func:`convnet.prepare_digit`: make the paper black whatever its light, crop the digit, scale it to fit 20x20
#   pixels, and move its centre of mass to the middle. So did MNIST's makers with theirs.

digits, answers = images[8000:8300], labels[8000:8300]
photos = [photograph(digit) for digit in digits]
versions = {
    "as it is": [shrink(photo) for photo in photos],
    "inverted": [255 - shrink(photo) for photo in photos],
    "prepare_digit": [prepare_digit(photo) for photo in photos],
    "MNIST's own": list(digits),
}
read = {name: model.predict_images(np.stack(version)) for name, version in versions.items()}
right = {name: predicted == answers for name, predicted in read.items()}
shown = (~right["as it is"] & ~right["inverted"] & right["prepare_digit"]).argmax()  # the first such digit
figure, axes = panels(5, size=(2, 2.3))
draw_image(axes[0], photos[shown], "the photograph,\n112x112 pixels\n(the others: 28x28)", white=255)
for ax, (name, version) in zip(axes[1:], versions.items(), strict=True):
    title = f"{name}\nread as {read[name][shown]}\n{right[name].mean():.0%} of 300 right"
    draw_image(ax, version[shown], title, white=255)
assert right["as it is"].mean() < 0.3
assert right["inverted"].mean() < 0.6
assert abs(right["prepare_digit"].mean() - right["MNIST's own"].mean()) < 0.03
plt.show()

# %%
# The digits are the same all the time, and so is the network. It has learned from images in which the paper is exactly
# 0, and the digit fills the middle. Other images differ from these in nearly every pixel, however clearly a person
# reads them. So: give a network at work what it got in training. If it misreads your image, look at the 28x28 numbers
# that it really got before you doubt the network.
#
# The percentages of the last two pictures differ by a few of 300 digits. So small a difference may be chance.
#
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_01_data.py``.
#
# 1. **Read the file yourself.** MNIST's image files begin with 16 bytes: four whole numbers of four bytes each, the
#    most significant byte first. They are 2051, the number of images, of rows, and of columns. The pixels follow, one
#    byte each. The files are compressed by gzip. Write ``read_images(path)``, with ``gzip.open`` and ``np.frombuffer``.
#    With the type ``">u4"`` the latter reads such numbers of four bytes. ``convnet.datasets.mnist.__path__[0]`` is the
#    folder of the files; list it, the names say which is which.
# 2. **Back to pixels.** Write ``to_pixels(x, statistics)``, which makes images of ``uint8``, of shape (N, 28, 28), of
#    prepared ones, of shape (N, 1, 28, 28). Start with the last step of the preparation. Mind that a result such as
#    6.9999 has to become 7.
# 3. **Too many images for the memory.** Write ``moments(batches)``, which gets batches of images one after another, as
#    from a generator, and returns the mean image and the deviation of all pixels, both for pixels from 0 to 255. Keep
#    only sums. A deviation squared is the mean of the squares, minus the square of the mean.
# 4. **Channels first and last.** Write ``channels_last(x)``, which turns (N, C, H, W) into (N, H, W, C), and find the
#    one case, apart from images of a single pixel, in which ``reshape`` gives the same.
# 5. **Light does not matter.** A photograph is taken in half the light. Which of the steps "divide by 255", "subtract
#    the mean image", "divide by the deviation" makes up for it? Write ``even_light(image)``, which gives the same
#    result for an image and for half of it, and also if some number is added to all pixels. The image is not all of one
#    colour.
#
# Where this lies in the library
# ------------------------------
#
# - ``convnet/datasets/mnist/__init__.py``: :func:`convnet.load_mnist`; ``convnet/datasets/idx.py`` reads the files.
# - ``convnet/datasets/preprocessing.py``: :func:`convnet.preprocess` and :class:`convnet.Statistics`.
# - ``convnet/datasets/prepared.py``: :func:`convnet.save_prepared` and :func:`convnet.load_prepared`.
# - ``convnet/datasets/digits.py``: :func:`convnet.prepare_digit`, each step a function of its own.
# - ``convnet/plotting/predictions.py``: :func:`convnet.plot_examples`.
#
# The order of this chapter is that of Sichkar 2018 (`DOI 10.5281/zenodo.1317904
# <https://doi.org/10.5281/zenodo.1317904>`_): load the digits, look at them, prepare them, save them.
#
# Next: :ref:`sphx_glr_chapters_gallery_02_affine_and_softmax.py`.
