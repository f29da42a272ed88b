"""
7. What a gradient check finds
==============================

A backward pass with a bug often still trains: the loss falls, only more slowly or less far, and nothing says so. In
this chapter you find five of six classic bugs with the library's check of gradients, and one with a test of the same
kind. You also learn where the check itself has to be read with care: at kinks, with a small step, and in float32.

Every bug is shown in the same way: the code, a careless test that it passes, and the test that it fails. The heading
names the bug. Look for its line yourself before you read on.
"""

import textwrap
import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, FAINT, GREEN, ORANGE, draw_grid, draw_window, panels

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, ConvNet1, MaxPool2D, Momentum, ReLU, Sequential, Solver, gradient_error

rng = np.random.default_rng(7)
data, _ = convnet.preprocess(*(array[:3000] for array in convnet.load_mnist()))

# %%
# A wrong gradient that trains
# ----------------------------
# Here is a convolution with a bug that we put there on purpose. The gradient that it hands back to the layer in front
# of it is moved by one pixel, down and to the right. (``cache`` is what ``forward`` kept for ``backward``; ``need_dx``
# says whether the input gradient is wanted; ``super().backward`` is that of ``Conv2D``.)


class MovedConv2D(Conv2D):
    """A convolution whose input gradient is moved by one pixel."""

    def backward(self, dy, cache, need_dx=True):
        """Return the gradients, that of the input moved."""
        dx, grads = super().backward(dy, cache, need_dx)
        return np.roll(dx, (1, 1), axis=(2, 3)), grads


# %%
# We train networks of two and of four convolutions, each once with the right layer and once with this one. The first
# convolution is always right, because it hands no gradient on. All else is the same: the initial weights, the
# minibatches, the learning rate.


def trained(convolution, count):
    """Return a Solver that has trained a network with so many convolutions."""
    weights, layers = np.random.default_rng(0), []
    for place in range(count):
        kind, channels = (convolution, 8) if place else (Conv2D, 1)
        layers += [kind(channels, 8, 3, padding=1, rng=weights), ReLU()]  # 8 filters of 3x3
        layers += [MaxPool2D(2)] if place < 2 else []
    layers += [Affine(8 * 7 * 7, 10, rng=weights)]
    model = Sequential(layers, input_shape=(1, 28, 28))  # the layers in a row, as a model
    solver = Solver(model, data, Momentum(0.005), epochs=3, restore_best=False)
    solver.train()
    return solver


kinds = ((Conv2D, "right gradient", BLUE), (MovedConv2D, "moved by a pixel", ORANGE))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
accuracies = {}
for ax, count in zip(axes, (2, 4), strict=True):
    for kind, name, color in kinds:
        solver = trained(kind, count)
        accuracies[kind, count] = accuracy = solver.validation_accuracy_history[-1]
        label = f"{name}: {accuracy:.0%} of the digits right"
        ax.semilogy(solver.loss_history, color=color, label=label)
        assert np.mean(solver.loss_history[-20:]) < 0.8 * np.mean(solver.loss_history[:5])
    ax.set(title=f"{count} convolutions", xlabel="iteration", ylim=(0.03, 20))
    ax.legend(loc="lower left")
axes[0].set_ylabel("loss of the minibatch")
assert abs(accuracies[Conv2D, 2] - accuracies[MovedConv2D, 2]) < 0.03
assert accuracies[MovedConv2D, 4] < accuracies[Conv2D, 4] - 0.2

# %%
# With two convolutions the two curves can hardly be told apart. The second one hands a wrong gradient back, and only
# the first one gets it. All other parameters get right gradients, and make good what the first convolution does not
# learn. With four convolutions the wrong gradients pile up. The loss stays at 2.3 for long, and then it falls, too.
# Without the blue curve beside it you would blame the learning rate, or the data.
#
# A falling loss is no test of a gradient. We need a test that compares a gradient with what it should be.
#
# Differences
# -----------
# Chapter 2 tried a derivative out, by the **central difference** with a small number :math:`h`:
#
# .. math:: f'(x) \approx \frac{f(x + h) - f(x - h)}{2 h}.
#
# Now for a whole array. The gradient has one derivative for each of its numbers, found by changing that number alone:


def numerical_gradient(function, array, h=1e-5):
    """Return the gradient of function() with respect to an array that it reads."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + h
        above = function()
        array[index] = kept - h
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * h)
    return gradient


x = np.array([0.0, 1.0, 2.0])
print(numerical_gradient(lambda: np.sin(x).sum(), x), "by differences")
print(np.cos(x), "by calculus")
assert np.allclose(numerical_gradient(lambda: np.sin(x).sum(), x), np.cos(x), atol=1e-9)

# %%
# This calls the function twice for every number. ConvNet1 in its usual size has 3 million of them, so that a check
# would take 6 million forward passes. There is a shorter way. Take a random **direction** :math:`d`, an array of the
# same shape and of length 1, and move all numbers at once. (The *length* of an array is the root of the sum of its
# squares.) By the chain rule
#
# .. math:: \frac{f(x + h d) - f(x - h d)}{2 h} \approx \sum_i \frac{\partial f}{\partial x_i} d_i.
#
# This takes two forward passes for any number of parameters. A mistake in any element changes the sum on the right,
# unless :math:`d_i` happens to be 0. :func:`convnet.gradient_error` compares the two sides along 20 random directions.
# It returns the largest difference, divided by the length of the gradient that it was given:

x = rng.standard_normal(50)


def sum_of_cubes():
    """Return the sum of all x cubed."""
    return float((x**3).sum())


gradient = 3 * x**2
right = gradient_error(sum_of_cubes, x, gradient, rng=rng)
gradient[17] *= 1.01
almost = gradient_error(sum_of_cubes, x, gradient, rng=rng)
print(f"right gradient: {right:.0e}, one of 50 elements wrong by 1 %: {almost:.0e}")
assert right < 1e-7
assert almost > 1e-5

# %%
# A right gradient gives less than 1e-7; what is left comes from the step and from rounding. In a small array a bug
# usually gives more than 1e-3. Between the two, look closer: it is mostly a bug in a few elements, as here. In a large
# array every bug gives a smaller error (bug 5 shows why). So check layers with small arrays.
#
# From a loss to a layer
# ----------------------
# A layer's output is an array, not a loss. We make a loss of it: multiply the output :math:`y` by a fixed random array
# :math:`dy` and add up, :math:`L = \sum_i dy_i \, y_i`. Then :math:`\partial L / \partial y = dy`, and the
# backward pass has to return the gradient of this :math:`L`. The next function does this for every argument of a
# ``forward``. Here ``backward`` returns a tuple with one gradient for each argument, ``(dx,)`` if there is only one:


def check(forward, backward, **arrays):
    """Print the gradient error of each argument of forward, and return the largest one."""
    dy = rng.standard_normal(forward(**arrays).shape)

    def loss():
        return float((dy * forward(**arrays)).sum())

    errors = []
    for name, gradient in zip(arrays, backward(dy, **arrays), strict=True):
        errors.append(gradient_error(loss, arrays[name], gradient, rng=rng))
        print(f"gradient of {name}: error {errors[-1]:.0e}")
    return max(errors)


# %%
# To see *where* a gradient is wrong, the small arrays of this chapter can be drawn element by element:


def draw_input_gradients(forward, backward, digits=1, **arrays):
    """Draw the gradient of the first argument by backward, by differences, and the difference; return the first two."""
    x = next(iter(arrays.values()))
    dy = rng.standard_normal(forward(**arrays).shape)
    computed = backward(dy, **arrays)[0]
    expected = numerical_gradient(lambda: float((dy * forward(**arrays)).sum()), x)
    limit = np.abs(expected).max()
    _, axes = panels(3, size=(3.2, 2.8))
    grids = computed, expected, computed - expected
    for ax, grid, title in zip(axes, grids, ("by backward", "by differences", "what is wrong"), strict=True):
        draw_grid(ax, grid.round(digits), title, form=f".{digits}f", limit=limit)
    return axes, computed, expected


# %%
# Bug 1: a crop by a fixed pixel
# ------------------------------
# This is a convolution of one image with one filter, at stride 1. It goes over the elements of the filter: each one is
# multiplied with the part of the padded image that it meets.


def convolve(x, weight, padding):
    """Return the convolution of an image (H, W) with a filter (KH, KW)."""
    padded = np.pad(x, padding)
    height, width = (np.array(padded.shape) - weight.shape + 1).tolist()
    y = np.zeros((height, width))
    for i, j in np.ndindex(weight.shape):
        y += weight[i, j] * padded[i : i + height, j : j + width]
    return y


def bug_1(dy, x, weight, padding):
    """Return the gradients of `convolve` with respect to x and weight."""
    padded, (height, width) = np.pad(x, padding), dy.shape
    dpadded, dweight = np.zeros(padded.shape), np.zeros(weight.shape)
    for i, j in np.ndindex(weight.shape):
        dpadded[i : i + height, j : j + width] += weight[i, j] * dy
        dweight[i, j] = (dy * padded[i : i + height, j : j + width]).sum()
    return dpadded[1 : 1 + x.shape[0], 1 : 1 + x.shape[1]], dweight


# %%
# The careless test takes the commonest convolution, 3x3 with a padding of 1. (``partial(convolve, padding=1)`` is
# ``convolve`` with its padding fixed.)

image = rng.standard_normal((6, 7))
small, large = rng.standard_normal((3, 3)), rng.standard_normal((5, 5))
forward, backward = partial(convolve, padding=1), partial(bug_1, padding=1)
assert check(forward, backward, x=image, weight=small) < 1e-7

# %%
# The other common convolution is 5x5 with a padding of 2:

forward, backward = partial(convolve, padding=2), partial(bug_1, padding=2)
found = {"1 fixed crop": check(forward, backward, x=image, weight=large)}
axes, computed, expected = draw_input_gradients(forward, backward, x=image, weight=large)
draw_window(axes[0], 1, 1, 5, 6)
draw_window(axes[1], 0, 0, 5, 6)
assert np.allclose(computed[1:, 1:], expected[:-1, :-1])
assert found["1 fixed crop"] > 1e-2

# %%
# The filter's gradient is right and the image's is wrong. The picture shows how: the left grid is the middle one, moved
# down and to the right by one pixel. The two frames hold the same numbers. The last line of ``bug_1`` cuts off one
# pixel of padding, however many there are.
#
# *Why it hides.* The shape is right, and with a padding of 1 so are the numbers. In a network with one convolution,
# such as ConvNet1, the gradient of the image is not needed at all. In the first figure of this chapter, the gradient
# was moved in the same way.
#
# *The cure* is to cut off what was added:


def convolve_backward(dy, x, weight, padding):
    """Return the gradients of `convolve` with respect to x and weight."""
    padded, (height, width) = np.pad(x, padding), dy.shape
    dpadded, dweight = np.zeros(padded.shape), np.zeros(weight.shape)
    for i, j in np.ndindex(weight.shape):
        dpadded[i : i + height, j : j + width] += weight[i, j] * dy
        dweight[i, j] = (dy * padded[i : i + height, j : j + width]).sum()
    return dpadded[padding : padding + x.shape[0], padding : padding + x.shape[1]], dweight


for padding in (0, 1, 2, 3):
    forward = partial(convolve, padding=padding)
    backward = partial(convolve_backward, padding=padding)
    print(f"padding {padding}:")
    mended = {"1 fixed crop": check(forward, backward, x=image, weight=large)}
    assert mended["1 fixed crop"] < 1e-7

# %%
# Bug 2: a stride of 2, and windows out of range
# ----------------------------------------------
# Average pooling takes the mean of each window. Here a window has 3x3 pixels, and one begins every 2 pixels, so that
# they overlap by one. The bug may be in either of the two functions:


def average_pool(x):
    """Return the means of windows of 3x3 pixels, at stride 2."""
    y = np.zeros((x.shape[0] // 2, x.shape[1] // 2))
    for row, column in np.ndindex(y.shape):
        y[row, column] = x[2 * row : 2 * row + 3, 2 * column : 2 * column + 3].mean()
    return y


def average_pool_backward(dy, x):
    """Return the gradient of `average_pool`: each pixel of a window gets a ninth."""
    dx = np.zeros(x.shape)
    for row, column in np.ndindex(dy.shape):
        dx[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += dy[row, column] / 9
    return (dx,)


# %%
# The careless test has an image of 7x7 pixels:

assert check(average_pool, average_pool_backward, x=rng.standard_normal((7, 7))) < 1e-7

# %%
# The careful test has an image of 6x8:

image = rng.standard_normal((6, 8))
found["2 out of range"] = check(average_pool, average_pool_backward, x=image)
draw_input_gradients(average_pool, average_pool_backward, digits=2, x=image)
assert found["2 out of range"] > 1e-2

# %%
# Only the last rows and columns are wrong. The rows of the image are 0 to 5. The third window begins at row 4 and would
# reach to row 6, which does not exist. NumPy cuts such a slice short and says nothing. ``mean`` then divides by the
# number of pixels that are there, such as 6, and the backward pass divides by 9.
#
# *Why it hides.* With 7 pixels, or with windows of 2x2, all windows fit. *The cure* is the formula for the number of
# windows that fit, :math:`\lfloor (H - K) / \text{stride} \rfloor + 1`, in place of
# :math:`\lfloor H / \text{stride} \rfloor`. (A backward pass that divides by the number of pixels that are there would
# be right, too, but the library's pooling has whole windows only, unless told otherwise.)


def mended_average_pool(x):
    """Return the means of the windows of 3x3 pixels that lie inside x, at stride 2."""
    y = np.zeros(((x.shape[0] - 3) // 2 + 1, (x.shape[1] - 3) // 2 + 1))
    for row, column in np.ndindex(y.shape):
        y[row, column] = x[2 * row : 2 * row + 3, 2 * column : 2 * column + 3].mean()
    return y


mended["2 out of range"] = check(mended_average_pool, average_pool_backward, x=image)
assert mended["2 out of range"] < 1e-7
library = convnet.functional.average_pool2d_forward(image[None, None], 3, stride=2)[0, 0]
assert np.allclose(mended_average_pool(image), library)

# %%
# Bug 3: every tied maximum gets the whole gradient
# -------------------------------------------------
# Max pooling hands the gradient of a window to its largest pixel. The backward pass finds it by comparing:


def max_pool(x):
    """Return the largest pixel of each window of 2x2, at stride 2."""
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).max(axis=(1, 3))


def spread(y):
    """Return an array that repeats each element in its window of 2x2 pixels."""
    return y.repeat(2, axis=0).repeat(2, axis=1)


def bug_3(dy, x):
    """Return the gradient of `max_pool`."""
    is_largest = x == spread(max_pool(x))
    return (np.where(is_largest, spread(dy), 0.0),)


# %%
# Random numbers pass:

assert check(max_pool, bug_3, x=rng.standard_normal((4, 6))) < 1e-7

# %%
# Now an image as networks see them: a stroke on an empty ground, which is 0 everywhere.

stroke = np.zeros((4, 6))
stroke[1:, 2:5] = [[0, 3, 5], [1, 6, 4], [2, 2, 0]]
try:
    check(max_pool, bug_3, x=stroke)
except ValueError as error:
    message = str(error)
print(textwrap.fill(message, 84))

# %%
# The check refuses. Where two pixels of a window are equally large, the maximum has a **kink**: it follows whichever
# of the two rises, and there is no derivative. (More about kinks below.) The message names five elements at most, and
# advises moving the array off the kink. Let us do that:

moved = stroke + 1e-2 * rng.standard_normal(stroke.shape)
assert check(max_pool, bug_3, x=moved) < 1e-7

# %%
# The check is content, and the bug is still there: moving the array has broken the ties, and the ties were the bug. At
# a tie we have to ask another question, one that has an answer. If the *same* number :math:`b` is added to all pixels,
# tied pixels stay tied, and every maximum grows by :math:`b`. So :math:`L` is a smooth function of :math:`b`, and its
# derivative is the sum of all elements of ``dx``:


def check_common_shift(backward, x):
    """Return the error of the gradient with respect to b, which is added to all pixels."""
    dy, b = rng.standard_normal(max_pool(x).shape), np.zeros(1)
    (dx,) = backward(dy, x)
    db = np.array([dx.sum()])
    return gradient_error(lambda: float((dy * max_pool(x + b)).sum()), b, db, rng=rng)


found["3 tied maxima"] = check_common_shift(bug_3, stroke)
print(f"error with respect to b: {found['3 tied maxima']:.0e}")
dy = np.array([[1.0, 2, 3], [4, 5, 6]])
_, axes = panels(3, size=(2.8, 2.4), widths=[6, 3, 6])
draw_grid(axes[0], stroke, "x")
draw_grid(axes[1], dy, "dy")
draw_grid(axes[2], bug_3(dy, stroke)[0], "dx: the whole dy, four times", limit=8)
assert found["3 tied maxima"] > 1e-2

# %%
# In the empty windows all four pixels get the whole gradient, four times as much in all as there is to hand out.
#
# *Why it hides.* Random numbers are hardly ever equal. *Why it matters.* Where an image is 0, a convolution gives its
# bias in every pixel. That bias is the :math:`b` of our check, and it gets too large a gradient. (If a ReLU follows the
# convolution, the bias has to be above 0 for that. Ties at 0 do no harm there: ReLU stops their gradient.) Such ties
# are common. Here is a convolution of MNIST's digits, as they are before the mean image is subtracted:

digits = convnet.load_mnist()[0][:1000, None] / 255
maps = convnet.functional.conv2d_forward(digits, rng.standard_normal((1, 1, 3, 3)), np.array([0.1]), padding=1)
windows = maps.reshape(1000, 14, 2, 14, 2).swapaxes(2, 3).reshape(-1, 4)
tied = ((windows == windows.max(axis=1, keepdims=True)).sum(axis=1) > 1).mean()
print(f"the maximum of {tied:.0%} of the windows of 2x2 is tied")
assert 0.5 < tied < 0.8

# %%
# *The cure* is to choose one of the tied pixels. The library takes the first one:


def max_pool_backward(dy, x):
    """Return the gradient of `max_pool`, which goes to the first of the largest pixels."""
    dx = np.zeros(x.shape)
    for row, column in np.ndindex(dy.shape):
        window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        i, j = divmod(int(window.argmax()), 2)
        dx[2 * row + i, 2 * column + j] = dy[row, column]
    return (dx,)


mended["3 tied maxima"] = check_common_shift(max_pool_backward, stroke)
_, argmax = convnet.functional.max_pool2d_forward(stroke[None, None], 2)
library = convnet.functional.max_pool2d_backward(dy[None, None], argmax, (1, 1, 4, 6))
assert np.array_equal(max_pool_backward(dy, stroke)[0], library[0, 0])
assert mended["3 tied maxima"] < 1e-7

# %%
# Bug 4: the best parameters, which are the last
# ----------------------------------------------
# This loop trains, and keeps the parameters that did best on the validation digits. The last step is far too large, as
# it may be in a real training, and spoils the network. That is what the best parameters are kept for.


def train(model, rates):
    """Take a step with each rate; return the best accuracy, and the parameters that had it."""
    best_accuracy, best_params = 0.0, {}
    for rate in rates:
        _, grads = model.loss(data["x_train"][:200], data["y_train"][:200])
        for name, param in model.params.items():
            param -= rate * grads[name]
        accuracy = (model.predict(data["x_validation"]) == data["y_validation"]).mean()
        if accuracy > best_accuracy:
            best_accuracy, best_params = accuracy, dict(model.params)
    return best_accuracy, best_params


# %%
# The careless test asks whether the best accuracy is good:

rates = 25 * [0.02] + [5.0]
model = ConvNet1(num_filters=4, hidden_size=20)
best_accuracy, best_params = train(model, rates)
print(f"best validation accuracy: {best_accuracy:.1%}")
assert best_accuracy > 0.5

# %%
# The careful one gives the model the best parameters, and measures again:

model.load_params(best_params)  # copies them into the model's arrays
measured = (model.predict(data["x_validation"]) == data["y_validation"]).mean()
shared = np.shares_memory(best_params["affine1.weight"], model.params["affine1.weight"])
print(f"validation accuracy with the best parameters: {measured:.1%}")
print("they are the arrays of the model itself:", shared)
assert shared
assert measured < best_accuracy - 0.02

# %%
# No gradient is wrong here, and ``gradient_error`` has nothing to say. But the idea is the same: compute one number in
# two ways, and compare. ``dict(model.params)`` makes a new dictionary *of the same arrays*, and ``param -= ...``
# changes these arrays in place. Two names for one array are called **aliases**.
#
# *Why it hides.* As long as every epoch is better than the one before, the last parameters are the best ones. *The
# cure* is a copy of each array: ``{name: param.copy() for name, param in model.params.items()}``. The library's Solver
# keeps copies, and passes the same test:

model = ConvNet1(num_filters=4, hidden_size=20)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", convnet.ConvnetWarning)  # of the last epoch, which goes wrong
    factor = (1, 1, 1, 20)  # on the learning rate, of each epoch
    solver = Solver(model, data, Momentum(0.005), epochs=4, schedule=lambda epoch: factor[int(epoch)])
    solver.train()
measured = solver.check_accuracy(data["x_validation"], data["y_validation"])  # the share of right answers
print("at first, and by epoch:", *(f"{accuracy:.1%}" for accuracy in solver.validation_accuracy_history))
print(f"with the parameters that the Solver has restored: {measured:.1%}")
assert measured == solver.best_validation_accuracy > solver.validation_accuracy_history[-1]

# %%
# Bug 5: the mean over the wrong axis
# -----------------------------------
# This is the softmax loss of :ref:`the second chapter <sphx_glr_chapters_gallery_02_affine_and_softmax.py>`, the mean
# over the examples. A row of ``one_hot`` has a 1 at the label of the example, and 0 elsewhere:


def bug_5(scores, labels):
    """Return the softmax loss of scores (N, K), and its gradient."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    one_hot = np.eye(scores.shape[1])[labels]
    return float(loss), (probabilities - one_hot) / scores.shape[1]


def check_loss(loss, count):
    """Return the gradient error of a loss for so many examples of ten classes."""
    scores, labels = rng.standard_normal((count, 10)), rng.integers(0, 10, count)
    _, gradient = loss(scores, labels)
    return gradient_error(lambda: loss(scores, labels)[0], scores, gradient, rng=rng)


print(f"10 examples: error {check_loss(bug_5, 10):.0e}")
assert check_loss(bug_5, 10) < 1e-7

# %%
# Ten examples of ten classes pass. Another number of examples does not:

found["5 wrong axis"] = check_loss(bug_5, 50)
print(f"50 examples: error {found['5 wrong axis']:.0e}")
scores, labels = rng.standard_normal((50, 10)), rng.integers(0, 10, 50)
expected = numerical_gradient(lambda: bug_5(scores, labels)[0], scores)
ratios = bug_5(scores, labels)[1] / expected
print(f"backward / differences: from {ratios.min():.4f} to {ratios.max():.4f}")
assert 0.8 / np.sqrt(500) < found["5 wrong axis"] < 4 * 0.8 / np.sqrt(500)  # the largest of 20 directions
assert np.allclose(ratios, 5, atol=1e-3)

# %%
# The gradient is five times too large, in every element. A ratio that is the same everywhere says that a factor is
# wrong. Here it is 50 / 10: the loss divides by the number of examples, ``scores.shape[0]``, and its gradient by the
# number of classes, ``scores.shape[1]``.
#
# If :math:`g` is the right gradient, ``bug_5`` returns :math:`5 g`. The difference, :math:`4 g`, has 4/5 of the length
# of :math:`5 g`. Why is the error so much smaller than 0.8? The check sees :math:`\sum_i e_i d_i`, where :math:`e` is
# the difference. The squares of the :math:`D` numbers :math:`d_i` add up to 1, so each is about :math:`1 / \sqrt{D}` in
# size. About as many of the products are positive as negative, and they partly cancel: by the rule of chapter 6 for
# such sums, what is left is about the length of :math:`e`, times :math:`1 / \sqrt{D}`. Here :math:`D` is 50 * 10. That
# makes :math:`0.8 / \sqrt{500} = 0.04`, and the largest of 20 directions gives a little more. So the same bug gives a
# smaller error in a larger array. It still stands far above 1e-7.
#
# *Why it hides.* With as many examples as classes the two numbers are equal. And in a training the direction of every
# step is right; only the learning rate seems to depend on the size of the minibatch. *The cure* is to divide by
# ``scores.shape[0]``, as the library does:

mended["5 wrong axis"] = check_loss(convnet.softmax_loss, 50)
assert mended["5 wrong axis"] < 1e-7

# %%
# Bug 6: a transposed filter
# --------------------------
# The convolution once more. The padding is right now. What is wrong?


def bug_6(dy, x, weight, padding):
    """Return the gradients of `convolve` with respect to x and weight."""
    padded, (height, width) = np.pad(x, padding), dy.shape
    dpadded, dweight = np.zeros(padded.shape), np.zeros(weight.shape)
    for i, j in np.ndindex(weight.shape):
        dpadded[i : i + height, j : j + width] += weight[j, i] * dy
        dweight[i, j] = (dy * padded[i : i + height, j : j + width]).sum()
    return dpadded[padding : padding + x.shape[0], padding : padding + x.shape[1]], dweight


# %%
# The careless test takes a filter that one can calculate with by hand, a blur:

image, blur = rng.standard_normal((6, 7)), np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
forward, backward = partial(convolve, padding=1), partial(bug_6, padding=1)
assert check(forward, backward, x=image, weight=blur) < 1e-7

# %%
# Random numbers are harder to calculate with, and the better test:

found["6 transposed filter"] = check(forward, backward, x=image, weight=small)
axes, computed, expected = draw_input_gradients(forward, backward, x=image, weight=small)
for place in ((3, 1), (0, 5)):
    for ax in axes[:2]:
        draw_window(ax, *place)
    print(f"backward / differences in row {place[0]}, column {place[1]}: {computed[place] / expected[place]:.1f}")
assert np.abs(computed).max() < 0.7 * np.abs(expected).max()
backward = partial(convolve_backward, padding=1)
mended["6 transposed filter"] = check(forward, backward, x=image, weight=small)
assert found["6 transposed filter"] > 1e-2
assert mended["6 transposed filter"] < 1e-7

# %%
# Now the gradient is wrong nearly everywhere. A factor is not the reason: the ratios of the two framed elements differ.
# Nor is it moved: the number of the middle grid that is furthest from 0 is nowhere in the left one. The line that adds
# to ``dpadded`` has ``weight[j, i]`` where the forward pass has ``weight[i, j]``: rows and columns are exchanged.
#
# *Why it hides.* A blur, or a filter of ones, stays the same when rows and columns are exchanged. *The cure* is in
# ``convolve_backward`` above, and the last two lines of the output are its check.
#
# The six together
# ----------------
# Bug 4 is no gradient. The errors of the other five, with the bug and mended:

figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
names = list(found)
ax.semilogx([found[name] for name in names], names, "o", color=ORANGE, label="with the bug")
ax.semilogx([mended[name] for name in names], names, "o", color=BLUE, label="mended")
ax.axvline(1e-7, color=FAINT, linestyle="--")
ax.text(1.3e-7, 4.25, "1e-7", color=FAINT, va="center")
ax.set(xlabel="gradient_error", ylim=(4.6, -0.6), xlim=(1e-13, 10))
ax.legend(loc="center")
ax.grid(alpha=0.3)
assert min(found.values()) > 1e4 * max(mended.values())

# %%
# Here nothing lies between the two groups. Only once did the check itself mislead us: its advice to move off the kink
# hid the ties. Otherwise it was the numbers of the careless tests that let a bug pass:
#
# .. list-table::
#    :header-rows: 1
#    :widths: 25 30 45
#
#    * - bug
#      - the careless test
#      - a test that finds it
#    * - 1 fixed crop
#      - padding 1
#      - paddings 0, 1, 2, 3, and filters of other sizes than 3x3
#    * - 2 windows out of range
#      - windows that fit
#      - windows larger than the stride; sizes at which :math:`H - K` is no multiple of the stride
#    * - 3 tied maxima
#      - random numbers
#      - images with a ground that is the same everywhere, and a shift of all pixels
#    * - 4 aliased parameters
#      - a training that gets better and better
#      - a training that gets worse; measure again what was kept
#    * - 5 wrong axis
#      - 10 examples of 10 classes
#      - sizes that are all different
#    * - 6 transposed filter
#      - a symmetric filter
#      - random filters
#
# The rule behind the table: give a test sizes that are all different, numbers that are all different, and then, on
# purpose, some that are equal.
#
# Kinks
# -----
# ReLU is :math:`\max(x, 0)`. Its slope is 0 to the left of 0, and 1 to the right. At 0 itself it has a kink and no
# derivative. The central difference takes a point on either side, and finds the mean of both slopes, 1/2:

h, at = 0.4, np.linspace(-1, 1, 201)
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(at, np.maximum(at, 0), color=BLUE, label="ReLU")
ax.plot([-h, h], [0, h], "o-", color=ORANGE, label="central difference at 0: slope 1/2")
ax.plot([0.25, 0.25 + h], [0.25, 0.25 + h], "s-", color=GREEN, label="at a point off the kink: slope 1")
ax.set(xlabel="x", ylabel="y")
ax.legend()
zero = np.zeros(1)
slope = numerical_gradient(lambda: float(np.maximum(zero, 0).sum()), zero)
assert np.isclose(slope[0], 0.5)
assert convnet.functional.relu_backward(np.ones(1), zero)[0] == 0

# %%
# The library's backward pass says 0 there, others may say 1. So it disagrees with the difference's 1/2, and neither has
# a mistake. That is why ``gradient_error`` looks for kinks. It compares the slopes to the two sides,
# :math:`(f(x + h) - f(x)) / h` and :math:`(f(x) - f(x - h)) / h`. If they do not agree, it makes the step shorter, in
# case the kink is only near, and raises an error if it is still there.
#
# Real networks do stand on kinks. The biases of a new network are 0. The corners of MNIST's images are the same in
# all images, and 0 after the mean is subtracted. So the ReLU behind the convolution gets exactly 0 there:

x, labels = data["x_train"][:5].astype(np.float64), data["y_train"][:5]
model = ConvNet1(num_filters=3, hidden_size=8, dtype=np.float64)
try:
    _, grads = model.loss(x, labels)
    bias, dbias = model.params["conv1.bias"], grads["conv1.bias"]
    gradient_error(lambda: model.loss(x, labels)[0], bias, dbias, rng=rng)
except ValueError as error:
    message = str(error)
print(textwrap.fill(message, 84))
assert "kink" in message

# %%
# It names the bias of the first filter alone. Some windows of the pooling hold such zeros, and beside them outputs
# whose filter windows reach pixels that vary. In the maps of the other two filters the largest of these outputs is
# above 0, and the maximum takes it. In the map of the first filter they are below 0, and the maximum is the 0.
#
# Small random numbers move the parameters off the kinks. The gradient has to be computed anew, at the new place:

for param in model.params.values():
    param += 1e-2 * rng.standard_normal(param.shape)
_, grads = model.loss(x, labels)
for name, param in model.params.items():
    error = gradient_error(lambda: model.loss(x, labels)[0], param, grads[name], rng=rng)
    print(f"{name}: {error:.0e}")
    assert error < 1e-7

# %%
# This is the check of a whole network: every layer, the loss and L2 in one. Do it before the first training of anything
# new. (It moves off the ties, too, so it cannot find bug 3.)
#
# The step, and float32
# ---------------------
# How small should :math:`h` be? Two errors pull in opposite directions. A curve is not a straight line. In the central
# difference, the parts of the errors of the two sides that grow with :math:`h` cancel, and what is left grows with
# :math:`h^2`. And a computer rounds: numbers in float64 have 16 digits, those in float32 only 7. The difference of two
# almost equal values loses most of these digits, and dividing by a small :math:`h` makes what is left larger. This
# error is about :math:`\epsilon / h`, where :math:`\epsilon` is the rounding of a number near 1. We measure both with
# :math:`f(x) = e^{\sin x}`:

steps = 10.0 ** np.arange(-12, 0.1, 0.25)
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
best = {}
for dtype, color in ((np.float64, BLUE), (np.float32, ORANGE)):
    points, widths = np.linspace(0.5, 1, 20).astype(dtype), steps[:, None].astype(dtype)
    above, below = np.exp(np.sin(points + widths)), np.exp(np.sin(points - widths))
    differences = (above - below) / (2 * widths)
    exact = np.cos(points.astype(float)) * np.exp(np.sin(points.astype(float)))
    errors = np.sqrt(np.mean((differences / exact - 1) ** 2, axis=1))
    best[dtype] = steps[errors.argmin()], errors.min(), errors[steps.searchsorted(0.99e-5)]
    ax.loglog(steps, errors, "o-", color=color, markersize=3, label=dtype.__name__)
ax.set(xlabel="step h", ylabel="relative error of the difference")
ax.grid(alpha=0.3)
ax.legend()
for dtype, (step, error, at_default) in best.items():
    print(f"{dtype.__name__}: smallest error {error:.0e} at h = {step:.0e}; {at_default:.0e} at h = 1e-5")
assert best[np.float64][1] < 1e-9 > best[np.float64][2]
assert 1e-6 < best[np.float32][1] < 1e-4
assert (errors[steps < 1e-8] == 1).all()  # those of float32, where x + h is x
assert best[np.float32][2] > 1e-3

# %%
# To the right of its lowest point each curve rises with :math:`h^2`, to the left with :math:`1 / h`. In float64 the
# default step of ``gradient_error``, 1e-5, lies near the lowest point. In float32 even the best step leaves an error of
# about 2e-5, and at a step of 1e-5 a right gradient looks as wrong as one with a bug. Where the orange line is flat, at
# the left, :math:`x + h` is :math:`x` itself in float32: the difference is 0, and all of it is wrong. So
# ``gradient_error`` takes arrays of float64 alone. Check a network in float64, then train it in float32.
#
# A layer of your own
# -------------------
# A layer of the library has ``forward``, which returns the output and a cache, and ``backward``, which returns the
# gradient of the input and those of the parameters by name. The same check for a layer:


def check_layer(layer, x):
    """Return the gradient errors of a layer: of its input x and of its parameters, by name."""
    for param in layer.params.values():  # in a new BatchNorm2D they are 1: a backward pass that forgets them would pass
        param += rng.standard_normal(param.shape)
    y, cache = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    dx, grads = layer.backward(dy, cache)

    def loss():
        return float((dy * layer.forward(x)[0]).sum())

    errors = {"x": gradient_error(loss, x, dx, rng=rng)}
    for name, param in layer.params.items():
        errors[name] = gradient_error(loss, param, grads[name], rng=rng)
    return errors


x = rng.standard_normal((4, 2, 7, 9))
options = {"stride": 2, "padding": 2, "rng": rng, "dtype": np.float64}
for layer in (Conv2D(2, 3, 5, **options), MovedConv2D(2, 3, 5, **options), BatchNorm2D(2, dtype=np.float64)):
    errors = check_layer(layer, x)
    print(f"{type(layer).__name__}: " + ", ".join(f"{name} {error:.0e}" for name, error in errors.items()))
    assert (max(errors.values()) < 1e-7) == (type(layer) is not MovedConv2D)

# %%
# This finds at once what the first figure of this chapter did not show: the input gradient of ``MovedConv2D`` is wrong.
# Use ``check_layer`` for every layer that you write. Give the layer parameters of float64. The check changes them.
#
# What a gradient check does not find
# -----------------------------------
# The check compares a backward pass with *its own* forward pass. If the forward pass is wrong and the backward pass is
# its right derivative, the check is content. This function should subtract from every column its mean over the
# examples. It takes the mean over the wrong axis, and its gradient does so, too:


def centre(x):
    """Return x (N, D) without the means of its columns, over the examples."""
    return x - x.mean(axis=1, keepdims=True)


def centre_backward(dy, x):
    """Return the gradient of `centre`."""
    return (dy - dy.mean(axis=1, keepdims=True),)


table = rng.standard_normal((4, 6))
assert check(centre, centre_backward, x=table) < 1e-7
print("mean of each column:", centre(table).mean(axis=0).round(2))
assert np.abs(centre(table).mean(axis=0)).max() > 1e-2

# %%
# For this there is another kind of test: compare the forward pass with the formula, written as plain loops by someone
# who does not think of speed. In this library that is ``convnet/naive.py``. So each layer has two tests, and needs
# both: the forward pass against the loops, and the backward pass against the forward pass.
#
# Exercises
# ---------
# The answers are in ``tests/chapters/test_07_gradient_checks.py``, each with a test that shows that it is right.
#
# 1. **A seventh bug.** The function :math:`y = x s(x)` with :math:`s(x) = 1 / (1 + e^{-x})` is called SiLU. Somebody
#    wrote its gradient as ``dy * s * (1 - s)``. Check it, and write the right one, ``silu_backward(dy, x)``.
# 2. **A missing transpose.** The forward pass is ``y = x @ weight``. In ``dx = dy @ weight`` the ``.T`` is missing.
#    Write ``three_matrices(rng)``, which returns three weights: one for which NumPy raises an error, one for which the
#    gradient check passes, and one for which it fails.
# 3. **A fair share.** Write ``fair_max_pool_backward(dy, x)``, in which tied pixels share the gradient of their window
#    equally. It has to pass the check on random numbers, and the one with a common shift on ``stroke``.
# 4. **A layer that draws random numbers.** Dropout draws anew at every call, so that a difference compares two
#    different functions. Write ``dropout_error(x, rate, rng)``, which checks the gradient all the same, with
#    ``gradient_error``; ``rng`` draws ``dy`` and the directions. :func:`convnet.functional.dropout_forward` is called
#    as ``y, kept = dropout_forward(x, rate, rng)``, and :func:`convnet.functional.dropout_backward` as
#    ``dx = dropout_backward(dy, kept, rate)``. A new ``np.random.default_rng(0)`` draws the same numbers each time.
# 5. **Without differences.** A convolution without a bias is linear in its image. Then the sum of
#    ``dy * forward(x)`` equals that of ``backward(dy, x) * x`` for all ``x`` and ``dy``, with no :math:`h` in it. Here
#    ``backward`` returns ``dx`` alone. Write ``adjoint_error(forward, backward, x, rng)``, which returns by how much
#    the two sums differ, relative to the first one. Find bugs 1 and 6 with it.
# 6. **The best step.** For which :math:`h` is :math:`h^2 + \epsilon / h` smallest? Write ``best_step(epsilon)``, and
#    compare it with the lowest points of the figure. :math:`\epsilon` is about 6e-8 in float32 and 1e-16 in float64.
#    Expect the same power of ten.
#
# Where this lies in the library
# ------------------------------
# - ``convnet/layers/gradient_check.py``: :func:`convnet.gradient_error`. It also tells which elements cross a kink.
# - ``convnet/naive.py``: every operation as loops, the other half of the tests.
# - ``tests/layers/test_contract.py``: every layer of the library, checked in the way of this chapter.
# - ``tests/layers/test_gradient_check.py``: the tests of the check itself.
# - ``convnet/training/state.py``: the Solver's copies of the best parameters.
#
# Next: :ref:`sphx_glr_chapters_gallery_08_from_loop_to_kernel.py`.

plt.show()
