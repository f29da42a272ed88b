"""
2. From one neuron to a loss
============================

A neuron is a sum of products. Many neurons make a layer, a layer's results become probabilities, and a loss says how
wrong these are. After this chapter you can compute how the loss changes with each weight, in three ways: by hand, by
trying, and by code. Then you train a first network with a dozen lines.
"""

# %%
# One neuron
# ----------
#
# A neuron gets some numbers :math:`x_0, x_1, \ldots`, its *inputs*. It has a *weight* for each of them and a *bias*,
# one number more. It gives
#
# .. math:: y = x_0 w_0 + x_1 w_1 + \ldots + b.
#
# The bias shifts the result. Without it, inputs of 0 would always give 0.

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, INK, ORANGE, draw_grid, draw_image, draw_neuron, draw_text, draw_window, panels

x = np.array([2.0, -1.0])
w = np.array([0.5, 1.5])
b = 0.25


def neuron(x, w, b):
    """Return the sum of the products, plus the bias."""
    return x[0] * w[0] + x[1] * w[1] + b


y = neuron(x, w, b)
print("y =", y)

# %%
# Say that for this input the right result is 1. How wrong is the neuron? A *loss* :math:`L` is a number that is 0 when
# all is right, and grows with the error. We take the square of the difference.

target = 1.0


def loss(y):
    """Return how wrong y is."""
    return (y - target) ** 2


print("loss =", loss(y))

# %%
# The gradient by hand
# --------------------
#
# To *train* is to change the weights so that the loss falls. For that we ask of each weight: if it grows a little, and
# all other numbers stay as they are, by how much does the loss change, per unit? That is the derivative of the loss
# with respect to the weight. All of them together are called the *gradient*. And any single number of the computation
# has its gradient: that of :math:`y` is :math:`dL/dy`.
#
# The loss depends on :math:`y`, and :math:`y` on :math:`w_0`. The chain rule multiplies the two derivatives:
#
# .. math:: \frac{dL}{dw_0} = \frac{dL}{dy} \cdot \frac{dy}{dw_0} = 2 (y - 1) \cdot x_0.
#
# The first factor is the same for every weight. So we compute it once, and *hand it on* from :math:`y` to all that
# :math:`y` was made of. For sums and products there are three rules:
#
# - a **sum** hands its gradient on to each of its terms, as it is: if a term grows by 1, the sum grows by 1;
# - a **product** hands its gradient on to each factor, times the *other* factor: if :math:`a` grows by 1, then
#   :math:`a \cdot b` grows by :math:`b`;
# - a number that is **used several times** gets a gradient from each use, and these are added: each use
#   moves the loss.
#
# The third rule is a familiar one. :math:`w^2` is the product :math:`w \cdot w`. Each factor gets the other one,
# :math:`w`, and their sum is :math:`2w`: for :math:`w = 3` it is 3 + 3 = 6. A *function of one number*, such as the
# square or the exponential, hands the gradient on times its own derivative.
#
# In code a gradient has the name of its number with a d before it. ``dy`` is the derivative of the loss with respect
# to y: :math:`dL/dy`. That is a convention; whenever you read ``dsomething``, read "by how much the loss changes when
# something grows, per unit".

dy = 2 * (y - target)
dw = np.array([dy * x[0], dy * x[1]])  # a product: times the other factor
dx = np.array([dy * w[0], dy * w[1]])
db = dy  # a sum: as it is
print("dy =", dy, " dw =", dw, " dx =", dx, " db =", db)

# %%
# The whole computation as a picture:

draw_neuron(x, w, b, target, dx=dx, dw=dw, dy=dy)

# %%
# On each arrow stands the number that goes along it, and below that the gradient that comes back. Follow one way: the
# loss hands :math:`2 (y - 1) = -2.5` to the sum, the sum hands -2.5 to each term, and the product :math:`x_0 w_0` hands
# :math:`-2.5 \cdot 2 = -5` to :math:`w_0`. So if :math:`w_0` grows by a little, the loss falls by five times as much.
#
# The computation of y and the loss is the *forward pass*. The way back is the *backward pass*. Such a walk back through
# a computation is called *backpropagation*. For each step of the computation it needs one thing: how this step hands on
# the gradient. The step need not know what comes before it or after it. Inputs get a gradient, too. Nobody changes an
# image, but the inputs of a later layer are the results of an earlier one, which hands their gradient on.
#
# The gradient by trying
# ----------------------
#
# A derivative can be tried out. Make :math:`w_0` a little larger and a little smaller, by :math:`h`, and look:
#
# .. math:: \frac{dL}{dw_0} \approx \frac{L(w_0 + h) - L(w_0 - h)}{2h}.
#
# This is a *central difference*. It needs nothing but the values of the loss, so it can check any gradient. (The
# *one-sided* difference is :math:`(L(w_0 + h) - L(w_0)) / h`. The bend of the curve makes it too large or too small. In
# a central difference the bends on the two sides cancel.)

h = 1e-5
for i in range(2):
    step = np.zeros(2)
    step[i] = h
    tried = (loss(neuron(x, w + step, b)) - loss(neuron(x, w - step, b))) / (2 * h)
    print(f"dw[{i}]: by hand {dw[i]:.6f}, by trying {tried:.6f}")
    assert abs(tried - dw[i]) < 1e-8

# %%
# Why not a far smaller :math:`h`? A computer's number of type ``float64`` has about 16 digits. The two losses are
# nearly equal, and in their difference the first digits cancel: what remains is mostly rounding, and it is divided by
# the tiny :math:`2h`. Why not a larger one? The function is not a straight line. Here is the error for the function
# :math:`e^w` at :math:`w = 1`, whose derivative is known.

steps = 10.0 ** np.arange(-13, 0)
one_sided = np.abs((np.exp(1 + steps) - np.exp(1)) / steps - np.e)
central = np.abs((np.exp(1 + steps) - np.exp(1 - steps)) / (2 * steps) - np.e)
between = (steps > 0.5e-7) & (steps < 2e-5)  # 1e-7, 1e-6 and 1e-5
assert central[between].max() < min(central[~between].min(), one_sided.min())

figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.loglog(steps, one_sided, "o-", color=ORANGE, label="one-sided difference")
ax.loglog(steps, central, "o-", color=BLUE, label="central difference")
ax.set(xlabel="step h", ylabel="error of the derivative")
_ = ax.legend(frameon=False)

# %%
# The central difference is best between :math:`10^{-7}` and :math:`10^{-5}`, and its error there is far smaller than
# that of the one-sided difference at its best step. A larger loss has larger rounding. So checks of gradients use the
# longest of these steps, :math:`10^{-5}`, and ``float64``.
#
# A step downhill
# ---------------
#
# Weights and biases are called *parameters*: what is learned. The gradient, seen as an arrow as the images in chapter
# 1, points to where the loss grows. So each parameter takes a small step against it: minus a *learning rate* times the
# gradient. This rule is called *gradient descent*.

learning_rate = 0.05
moved = loss(neuron(x, w - learning_rate * dw, b - learning_rate * db))
print(f"loss {loss(y):.4f} before the step, {moved:.4f} after it")
assert moved < loss(y)

# %%
# Many neurons: Affine
# --------------------
#
# A layer has M neurons, which all get the same D inputs. The weights make a table of D rows and M columns, one column
# for each neuron. And we do not compute for one example but for N at a time. Such a layer is called *Affine*, the
# mathematical word for a sum of products plus a constant (or "fully connected", or "dense"). With :math:`n` for the
# example, :math:`d` for the input and :math:`m` for the neuron:
#
# .. math:: y_{nm} = b_m + \sum_d x_{nd} w_{dm}.


def affine_forward(x, weight, bias):
    """Return y of shape (N, M)."""
    y = np.zeros((len(x), len(bias)))
    for n, m in np.ndindex(y.shape):  # all pairs of indices, one after another
        y[n, m] = bias[m]
        for d in range(len(weight)):
            y[n, m] += x[n, d] * weight[d, m]
    return y


x = np.array([[2.0, -1, 0, 1], [0, 1, 3, -2], [1, 1, -1, 0]])  # N = 3 examples of D = 4 inputs
weight = np.array([[1.0, 0], [2, -1], [0, 1], [-1, 3]])  # M = 2 neurons
bias = np.array([0.0, 1.0])
y = affine_forward(x, weight, bias)

figure, axes = panels(7, size=(1.1, 2.4), widths=[4, 0.8, 2, 0.8, 2, 0.8, 2])
for ax, sign in zip(axes[1::2], "@+=", strict=True):
    draw_text(ax, sign, size=14)
draw_grid(axes[0], x, "x (N, D)")
draw_grid(axes[2], weight, "weight (D, M)")
draw_grid(axes[4], bias[np.newaxis], "bias (M,)")
draw_grid(axes[6], y, "y (N, M)")
draw_window(axes[0], 1, 0, 1, 4)
draw_window(axes[2], 0, 1, 4, 1)
draw_window(axes[4], 0, 1)
draw_window(axes[6], 1, 1)

# %%
# One row of x, one column of weight and one bias make one number of y. This is the product of two matrices, in NumPy
# ``@``:

assert np.array_equal(y, x @ weight + bias)

# %%
# Now backwards. The layer gets ``dy``, of the shape of y: by how much the loss changes with each of its results. (Here
# there are no later layers that ``dy`` could come from, so the code below takes any numbers.) The line
# ``y[n, m] += x[n, d] * weight[d, m]`` is a product and a sum. The product hands ``dy[n, m]`` on to both factors.
# Weights are used for every example, inputs by every neuron: what comes from all the uses is added. So the loops stay
# the same, and ``+=`` adds up.


def affine_backward(dy, x, weight):
    """Return the gradients with respect to x, weight and bias."""
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(weight.shape[1])
    for n, m in np.ndindex(dy.shape):
        dbias[m] += dy[n, m]
        for d in range(len(weight)):
            dweight[d, m] += dy[n, m] * x[n, d]
            dx[n, d] += dy[n, m] * weight[d, m]
    return dx, dweight, dbias


rng = np.random.default_rng(0)
dy = rng.standard_normal(y.shape)
dx, dweight, dbias = affine_backward(dy, x, weight)

# %%
# Read the two inner lines as sums: ``dweight[d, m]`` is a sum over n, ``dx[n, d]`` one over m. Sums of products are
# products of matrices again. ``.T`` is the transposed matrix, rows for columns. You can find the formulas by the shapes
# alone: dy is (N, M), x is (N, D), and there is one way to make (D, M) of them.

np.testing.assert_allclose(dx, dy @ weight.T)  # (N, M) @ (M, D)
np.testing.assert_allclose(dweight, x.T @ dy)  # (D, N) @ (N, M)
np.testing.assert_allclose(dbias, dy.sum(axis=0))

# %%
# The check by trying is in the library: :func:`convnet.gradient_error`. It moves many weights at once, in random
# directions. The loss should then change by the sum, over all weights, of gradient times move (more in chapter 7). It
# returns how far off the gradient is, as a share of its size. A layer alone has no loss, so we invent one that belongs
# to our ``dy``: the sum of ``dy * y``. Its derivative with respect to ``y[n, m]`` is ``dy[n, m]``, as it should be.
# ``gradient_error`` changes an array in place, calls the loss, and puts the old numbers back. So the loss has to use
# that very array, and its type has to be ``float64``.

from convnet import gradient_error


def layer_loss():
    """Return a loss whose gradient with respect to the layer's result is dy."""
    return (dy * affine_forward(x, weight, bias)).sum()


for name, array, gradient in (("x", x, dx), ("weight", weight, dweight), ("bias", bias, dbias)):
    error = gradient_error(layer_loss, array, gradient, rng=rng)
    print(f"{name:6} relative error {error:.1e}")
    assert error < 1e-7

# %%
# Scores become probabilities: softmax
# ------------------------------------
#
# To tell K *classes* apart, such as ten digits, the last layer has K neurons. Their results are called *scores*: the
# highest score is the network's answer. But how sure is it? Probabilities are positive and sum to 1. The exponential
# makes every number positive, and division by the sum does the rest:
#
# .. math:: p_k = \frac{e^{s_k}}{\sum_j e^{s_j}}.
#
# This is *softmax*.

scores = np.array([2.0, 1.0, -1.0])
exponentials = np.exp(scores)
probabilities = exponentials / exponentials.sum()

figure, axes = panels(3, size=(2.4, 2.2))
titles = ("scores s", "exp(s)", "probabilities p")
for ax, values, title in zip(axes, (scores, exponentials, probabilities), titles, strict=True):
    ax.bar(range(3), values, color=BLUE)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(title=title, xticks=range(3), xlabel="class")
    for k, value in enumerate(values):
        ax.text(k, max(value, 0), f"{value:.2f}", ha="center", va="bottom")
    ax.margins(y=0.15)

# %%
# Only the differences of scores count. If 5 is added to every score, each exponential is multiplied by :math:`e^5`, and
# the factor cancels in the fraction. That is of use, because exponentials overflow: the largest ``float64`` is about
# :math:`10^{308}`, and :math:`e^{1000}` is beyond it. NumPy makes infinity of it:

large = np.array([1000.0, 999.0, 997.0])
with np.errstate(over="ignore", invalid="ignore"):
    print("as the formula says:", np.exp(large) / np.exp(large).sum())
shifted = np.exp(large - large.max())
print("largest score subtracted first:", shifted / shifted.sum())
np.testing.assert_allclose(shifted / shifted.sum(), probabilities)

# %%
# Infinity divided by infinity is "not a number", nan. So the largest score is subtracted first. The result is the same
# by the formula, the largest exponential is :math:`e^0 = 1`, and nothing can overflow. The exponential of a very
# negative number becomes 0. As a part of the sum that does no harm: the sum is at least 1.
#
# The loss: how probable was the truth?
# -------------------------------------
#
# The label says which class is right. The network gave it some probability :math:`p`; 1 would be best. The *softmax
# loss*, also called cross-entropy, is
#
# .. math:: L = -\log p_{\text{label}},
#
# with the natural logarithm. It is 0 for :math:`p = 1` and grows without bound when the network was sure of something
# else.

p = np.linspace(0.004, 1, 500)
figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
ax.plot(p, -np.log(p), color=BLUE)
ax.plot(0.1, -np.log(0.1), "o", color=ORANGE)
ax.text(0.17, 2.5, f"ten classes, all alike: {np.log(10):.2f}", color=ORANGE)
_ = ax.set(xlabel="probability given to the right class", ylabel="loss", ylim=(0, None))

# %%
# Remember the orange point. A network that knows nothing gives each of ten classes 0.1, and its loss is :math:`\log 10
# = 2.30`. If an untrained network starts very far from this, say at 100, something is wrong. The first weights of
# chapter 1 give scores of a size of about 1 or less. So no class is far ahead, and the loss is not far from
# :math:`\log 10`.
#
# The gradient of softmax and loss together is short. Put the formula for :math:`p` in, and use
# :math:`\log (a / b) = \log a - \log b` and :math:`\log e^s = s`:
#
# .. math:: L = -\log \frac{e^{s_\text{label}}}{\sum_j e^{s_j}} = -s_\text{label} + \log \sum_j e^{s_j}.
#
# The derivative of :math:`\log u` is :math:`1/u` times that of :math:`u`. Here :math:`u` is the sum. Only its term with
# :math:`j = k` depends on :math:`s_k`, and the derivative of that is :math:`e^{s_k}` again. So the second term gives
# :math:`e^{s_k} / \sum_j e^{s_j}`, which is :math:`p_k`. The first one gives -1, for the label alone:
#
# .. math:: \frac{dL}{ds_k} = p_k - 1 \text{ for the label, and } p_k \text{ for every other class.}
#
# In words: what the network says minus what is true. A step against this gradient raises the score of the right class,
# by more the further its probability is below 1. It lowers every other score, by more the larger its probability is.
#
# In code, for N examples at a time, with the mean of their losses. The loss is computed in its second form, again with
# the largest score subtracted. The first form would fail where a probability is so small that it becomes 0: the
# logarithm of 0 is minus infinity. ``shifted[rows, labels]`` takes from each row the score of its label.


def softmax_loss(scores, labels):
    """Return the mean loss of N examples, and its gradient for the scores (N, K)."""
    rows = np.arange(len(labels))
    shifted = scores - scores.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    losses = np.log(totals[:, 0]) - shifted[rows, labels]
    dscores = exponentials / totals  # the probabilities
    dscores[rows, labels] -= 1
    return losses.mean(), dscores / len(labels)


scores, labels = rng.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
loss_of_five, dscores = softmax_loss(scores, labels)
error = gradient_error(lambda: softmax_loss(scores, labels)[0], scores, dscores, rng=rng)
print(f"loss {loss_of_five:.4f}, relative error of the gradient {error:.1e}")
assert error < 1e-7
np.testing.assert_allclose(dscores.sum(axis=1), 0, atol=1e-12)

# %%
# Each row of ``dscores`` sums to 0: what one class wins, others lose. The loss is a mean, so each example's gradient is
# divided by N: an example moves the mean of N by one part in N.
#
# A first network
# ---------------
#
# One Affine layer with ten neurons, and the softmax loss. The data are those of chapter 1, each image as a list of 784
# numbers. We do not compute the gradient of all 5,000 training images for a single step. Fifty of them, a *minibatch*,
# tell the direction well enough. One pass through all images, an *epoch*, then has 5,000 / 50 = 100 steps instead of
# one. That is *stochastic gradient descent*, SGD. *Stochastic* means "by chance": usually the fifty are drawn at
# random. Here we take them in order, so that the same minibatches return every 100 steps.
#
# We take 6,000 digits. :func:`convnet.preprocess` keeps the last 1,000 of them for validation, so 5,000 remain for
# training. With ``num_test=None`` it takes all 10,000 test digits. We choose nothing in this chapter, so we may look at
# the test part, and do not need the validation part. In ``reshape(-1, 784)`` the -1 stands for "as many rows as it
# takes".

from convnet import load_mnist, preprocess

images, labels, test_images, test_labels = load_mnist()
data, statistics = preprocess(images[:6000], labels[:6000], test_images, test_labels, num_test=None)
x_train, y_train = data["x_train"].reshape(-1, 784), data["y_train"]
x_test, y_test = data["x_test"].reshape(-1, 784), data["y_test"]


def train(x_train, y_train, learning_rate, epochs=5):
    """Return the weight, the bias and the losses of all steps."""
    weight, bias, losses = np.zeros((784, 10), np.float32), np.zeros(10, np.float32), []
    for _ in range(epochs):
        for start in range(0, len(x_train), 50):  # minibatches
            x, labels = x_train[start : start + 50], y_train[start : start + 50]
            value, dscores = softmax_loss(x @ weight + bias, labels)
            weight -= learning_rate * x.T @ dscores
            bias -= learning_rate * dscores.sum(axis=0)
            losses.append(value)
    return weight, bias, losses


weight, bias, losses = train(x_train, y_train, 0.02)
accuracy = ((x_test @ weight + bias).argmax(axis=1) == y_test).mean()
print(f"first loss {losses[0]:.2f}, mean of the last ten {np.mean(losses[-10:]):.2f}")
print(f"accuracy {accuracy:.1%}")
assert np.isclose(losses[0], np.log(10), atol=1e-4)
assert accuracy > 0.85
assert np.corrcoef(losses[200:300], losses[300:400])[0, 1] > 0.9  # one epoch's curve is like the next one's

figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.plot(losses, color=BLUE, linewidth=0.8)
ax.axhline(np.log(10), color=ORANGE, linestyle="--", label="log 10")
ax.set(xlabel="step", ylabel="loss of the minibatch", ylim=(0, None))
_ = ax.legend(frameon=False)

# %%
# The first loss is log 10, because all weights are 0, and thus all scores. Later the same peaks return every 100 steps,
# as the same minibatches do. After five epochs the *accuracy*, the share of the 10,000 test digits that are read right,
# is above 85 %, and the network has never seen these digits.
#
# What did it learn? Each neuron has a weight for each pixel, so that its weights make an image.

figure, axes = panels(5, 2, size=(1.6, 1.8))
for k, ax in enumerate(axes.flat):
    draw_image(ax, weight[:, k].reshape(28, 28), f"weights for {k}", signed=True)

# %%
# Where a neuron's weights are blue, ink raises its score; where they are orange, ink lowers it. The neuron for 0 wants
# a ring, and no ink in the middle. This is a template: it fits if the digit lies just there. We move all test digits
# three pixels to the right:

to_the_right = statistics.apply(np.roll(test_images, 3, axis=2)).reshape(-1, 784)
accuracy_moved = ((to_the_right @ weight + bias).argmax(axis=1) == y_test).mean()
print(f"accuracy on moved digits {accuracy_moved:.1%}")
assert accuracy_moved < accuracy - 0.2

# %%
# A digit moved by three pixels no longer fits. That is where convolution comes in, in the next chapter.
#
# What the mean image is good for
# -------------------------------
#
# Chapter 1 subtracted the mean image. Here is the same training with and without that, with ten times the learning
# rate.

without, _ = preprocess(images[:6000], labels[:6000], test_images, test_labels, subtract_mean=False)
x_without = without["x_train"].reshape(-1, 784)
_, _, losses_with = train(x_train, y_train, 0.2)
_, _, losses_without = train(x_without, y_train, 0.2)
assert max(losses_with[1:60]) < np.log(10) < max(losses_without[1:60])
assert max(losses_without[20:60]) > np.log(10)  # once more

weight, bias, _ = train(x_without[:50], y_train[:50], 0.2, epochs=1)  # a single step
answers = (x_without @ weight + bias).argmax(axis=1)
most = np.bincount(answers).max() / len(answers)
print(f"without, after one step: {most:.0%} of the digits get the same answer")
assert most > 0.5

figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
ax.plot(losses_without[:60], color=ORANGE, label="without")
ax.plot(losses_with[:60], color=BLUE, label="mean image subtracted")
ax.set(xlabel="step", ylabel="loss of the minibatch", ylim=(0, None))
_ = ax.legend(frameon=False)
plt.show()

# %%
# Without the subtraction the loss jumps far above log 10, that of a network that knows nothing. The digits have much in
# common, so a step that raises the score of one class for some digits raises it for nearly all. Then most digits get
# the same answer, which is wrong for nine in ten. In the next step these digits all ask to lower that score. The mean
# of moves that agree is as long as each of them; if they differ, it is much shorter. So the step back is long, and goes
# too far again. Even after the loss has fallen, a few steps can make it jump once more, as here. With the mean image
# subtracted, the digits, seen as arrows as in chapter 1, no longer point the same way on average. Many moves then
# cancel, and a learning rate of 0.2 is not too large.
#
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_02_affine_and_softmax.py``. Check each gradient with
# :func:`convnet.gradient_error`.
#
# 1. **A neuron with a bend.** ``sigmoid(y) = 1 / (1 + exp(-y))`` turns any number into one between 0 and 1. Show with
#    school calculus that its derivative is ``s * (1 - s)``, where s is its value. Write ``sigmoid_forward(y)`` and
#    ``sigmoid_backward(ds, s)``.
# 2. **Another loss.** Write ``squared_loss(scores, targets)``, both of shape (N, K): the sum of the squared differences
#    over the K results, and the mean of that over the N examples. Return the loss and its gradient.
# 3. **Safe logarithms.** Write ``log_softmax(scores)``, which returns :math:`\log p_k` for each row. It has to be right
#    for scores of 1000 and of -1000, too. First simplify :math:`\log (e^{s_k} / \sum_j e^{s_j})` on paper.
# 4. **Two are one.** Two Affine layers follow each other, with nothing between them. Write ``merge(weight1, bias1,
#    weight2, bias2)``, which returns the weight and the bias of one layer that does the same. What does this say about
#    networks of Affine layers alone?
# 5. **What knows nothing.** Which loss has a network of K classes that gives every class the same score? And which one
#    a network whose score for the right class is higher by 3 than every other one? Write both as functions of K.
#
# Where this lies in the library
# ------------------------------
#
# - ``convnet/naive.py``: ``affine_forward``, ``affine_backward`` and ``softmax_loss`` as loops.
# - ``convnet/layers/affine.py``: :func:`convnet.functional.affine_forward`,
#   :func:`convnet.functional.affine_backward` and the layer :class:`convnet.Affine`.
# - ``convnet/layers/losses.py``: :func:`convnet.softmax_loss`.
# - ``convnet/layers/gradient_check.py``: :func:`convnet.gradient_error`.
#
# In Sichkar 2018 (`DOI 10.5281/zenodo.1317904 <https://doi.org/10.5281/zenodo.1317904>`_) this is the course from the
# forward and backward pass of the affine layer to the softmax loss.
#
# Next: :ref:`sphx_glr_chapters_gallery_03_convolution.py`.
