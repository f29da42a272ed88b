r"""
6. Training: ConvNet1 and the Solver
====================================

The layers are there; now they learn. In this chapter you train the network ConvNet1, first with a loop of your own,
then with the library's Solver. You will know what SGD, momentum, RMSProp and Adam do with a gradient, why the learning
rate is lowered towards the end, how to tell that a training has gone wrong, and what to do against learning by heart.

The course follows Sichkar 2018 (DOI 10.5281/zenodo.1317904) here: the model, SGD, the Solver, small data learned by
heart, results.
"""

import textwrap
import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, COLORS, FAINT, ORANGE

import convnet
from convnet import SGD, Adam, ConvNet1, ConvnetWarning, Momentum, RMSProp, Solver

mnist = [array[:2500] for array in convnet.load_mnist()]
data, _ = convnet.preprocess(*mnist, num_validation=500)
x_train, y_train = data["x_train"], data["y_train"]
print({name: array.shape for name, array in data.items()})

# %%
# To be quick we take 2,000 training images of MNIST's 60,000, and 500 validation images. The network learns from the
# training images. The validation images tell how well it does on images that it has *not* learned from.
#
# The model
# ---------
# ConvNet1 is a convolution, ReLU, max pooling, an Affine layer, ReLU, and another Affine layer, which gives ten scores.
# Ours is smaller than the usual one:


def new_model(seed=0, l2=0.0):
    """Return a small ConvNet1, with other initial weights for another random seed."""
    sizes = {"num_filters": 8, "kernel_size": 5, "padding": 2, "hidden_size": 50}
    return ConvNet1(**sizes, seed=seed, l2=l2)


print(new_model().summary())

# %%
# The first Affine layer, whose 50 units (chapter 5) nobody sees, is the **hidden layer**. It reads the maps of the
# pooling as one list of 8 * 14 * 14 = 1,568 numbers: 1,568 * 50 weights and 50 biases are 78,450 parameters. A
# multiply-add is one product of a weight and an input, added to a sum. L2 is explained below; the library's default is
# ``l2=1e-4``, and ours is none.
#
# The initial weights are random numbers, the initial biases are 0. The **random seed** chooses them: the same one gives
# the same numbers in every run. If the weights were all 0, all units of a hidden layer would compute the same and get
# the same gradient, for ever. (The last layer alone may start at 0, as in chapter 2: each of its units has a class of
# its own.)
#
# Their size matters, too. The default, **He normal**, draws them with a standard deviation of :math:`\sqrt{2 / D}`,
# where :math:`D` is the number of inputs of a unit. A sum of :math:`D` products with weights of deviation :math:`s` is
# about :math:`\sqrt{D}\, s` times as large as one input. (So chapter 1 took :math:`s = 1 / \sqrt{D}`.) The sums are as
# often negative as positive, so ReLU takes away half of their mean square, and the 2 puts it back. A signal then
# neither fades nor explodes on its way through many layers.
#
# A training loop
# ---------------
# The gradient of the loss points to where the loss grows. So we take a small step the other way:
#
# .. math:: \text{param} \leftarrow \text{param} - \text{learning rate} \cdot \text{gradient}.
#
# As in chapter 2, we take a minibatch of 50 images for each step: stochastic gradient descent, SGD. Here they are drawn
# anew from all images. A step is also called an **iteration**.
#
# ``model.params`` is a dictionary of all parameters by name. ``model.loss(x, y)`` returns the loss and a dictionary of
# the gradients. ``model.predict(x)`` returns the digit with the highest score for each image.

rng, model, losses = np.random.default_rng(0), new_model(), []
for _ in range(80):
    chosen = rng.choice(len(x_train), 50, replace=False)
    loss, gradients = model.loss(x_train[chosen], y_train[chosen])
    for name, param in model.params.items():
        param -= 0.02 * gradients[name]
    losses.append(loss)

accuracy = (model.predict(data["x_validation"]) == data["y_validation"]).mean()
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(losses, ".-", color=BLUE, linewidth=0.5)
ax.axhline(np.log(10), color=FAINT, linestyle="--")
ax.text(50, np.log(10) + 0.06, "log(10): the loss of a guess", color=FAINT, va="bottom")
ax.set(xlabel="iteration", ylabel="loss of the minibatch")
print(f"right answers on the validation images: {accuracy:.1%}")
assert accuracy > 0.7
assert np.mean(losses[-10:]) < np.log(10) / 2

# %%
# The loss jumps from one minibatch to the next, because each has other images. On the whole it falls. Someone who gives
# each of the ten digits the probability 1/10 has a loss of :math:`-\log(1/10) = 2.3`. A network that has learned
# something is below. At first ours is above: the random weights of He normal are so large that the first scores lie a
# few units apart. (No ReLU follows the scores, so there the 2 is not needed.) A first loss of 4 is no alarm, one of 100
# is.
#
# The Solver
# ----------
# :class:`convnet.Solver` is this loop with what one needs around it. In every epoch it puts all images into a new
# random order and takes each of them once. It measures the accuracy after every epoch, and it keeps the best
# parameters. A **callback** is an object that the Solver calls as it goes, here to print a line for every epoch:

callbacks = [convnet.ProgressBar()]
solver = Solver(new_model(), data, SGD(0.02), batch_size=50, epochs=5, callbacks=callbacks)
solver.train()
figure, axes = plt.subplots(2, 1, figsize=(7, 6), layout="constrained")
convnet.plot_training(solver, ax=axes)
assert len(solver.loss_history) == 5 * 2000 // 50
assert solver.best_validation_accuracy > 0.85

# %%
# The loss in a line is the mean over the minibatches of the epoch. In the figure, above are the losses of all
# minibatches, and the mean loss of the validation images after each epoch. Below are the accuracies. Epoch 0 is before
# the training.
#
# The first test: learn a few images by heart
# -------------------------------------------
# Before the first long training of a new network, let it learn 10 images, then 100. Ours has 79,168 parameters, far
# more than 100 answers need. If it does not learn to give them all, there is a bug, and nothing larger needs to be
# tried before it is found. (``Adam`` is an optimizer of the next section. ``batch_size`` is 50 if nothing is said; ten
# images make one minibatch of ten.)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
axes[0].set_ylabel("accuracy")
for ax, count in zip(axes, (10, 100), strict=True):
    few = data | {"x_train": x_train[:count], "y_train": y_train[:count]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvnetWarning)  # some digits are not among the ten
        solver = Solver(new_model(), few, Adam(1e-3), epochs=30)
    solver.train()
    ax.plot(solver.train_accuracy_history, color=BLUE, label="training")
    ax.plot(solver.validation_accuracy_history, color=ORANGE, label="validation")
    ax.set(title=f"{count} training images", xlabel="epoch", ylim=(-0.02, 1.05))
    ax.legend(loc="lower right")
    assert sum(param.size for param in solver.model.params.values()) == 79168
    assert solver.train_accuracy_history[-1] == 1
    assert solver.validation_accuracy_history[-1] < 0.85

# %%
# The training accuracy reaches 100 %. The validation accuracy stays far below: ten images do not show what a 4 is. The
# gap between the curves is **overfitting**. Here it is what we wanted to see.
#
# From SGD to Adam
# ----------------
# An optimizer makes a step of a gradient. To see what each one does, let us go down a valley with two coordinates, flat
# along the first one and steep along the second one: :math:`f(a, b) = (a^2 + 100 b^2) / 2`, with the gradient
# :math:`(a, 100 b)`. Every rule is a function of the gradient and of what it remembers. Its result is multiplied by the
# learning rate and subtracted. Two rules keep **running means**, such as 0.9 times the old mean plus 0.1 times the new
# value: old values fade by a factor of 0.9 a step. The *size* of a gradient is the root of the running mean of its
# squares.


def sgd(gradient, memory):
    """Return the gradient itself."""
    return gradient


def momentum(gradient, memory):
    """Return a velocity: nine tenths of the last velocity, plus the gradient."""
    memory["velocity"] = 0.9 * memory.get("velocity", 0) + gradient
    return memory["velocity"]


def rmsprop(gradient, memory):
    """Return each coordinate of the gradient divided by its size."""
    memory["square"] = 0.9 * memory.get("square", 0) + 0.1 * gradient**2
    return gradient / (np.sqrt(memory["square"]) + 1e-8)


def adam(gradient, memory):
    """Return the running mean of the gradients divided by their size."""
    t = memory.get("t", 0) + 1
    mean = 0.9 * memory.get("mean", 0) + 0.1 * gradient
    square = 0.999 * memory.get("square", 0) + 0.001 * gradient**2
    memory.update(t=t, mean=mean, square=square)
    return mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)


# %%
# The small number 1e-8 prevents a division by 0. Means that start at 0 are too small at first. If the gradient were
# always :math:`g`, ``mean`` would be :math:`(1 - 0.9^t)\, g` after :math:`t` steps. Divided by that factor, it is
# :math:`g`. In the same way Adam divides ``square`` by :math:`1 - 0.999^t`.
#
# Thirty steps of each. (``partial(RMSProp, decay=0.9)`` is ``RMSProp`` with its ``decay`` fixed.)


def valley_gradient(point):
    """Return the gradient of f at a point (a, b)."""
    return np.array([1.0, 100.0]) * point


def path(rule, rate):
    """Return the points of thirty steps from (-9, 2)."""
    points, memory = [np.array([-9.0, 2.0])], {}
    for _ in range(30):
        points.append(points[-1] - rate * rule(valley_gradient(points[-1]), memory))
    return np.array(points)


rules = {
    "SGD": (sgd, 0.019, SGD),
    "Momentum": (momentum, 0.01, Momentum),
    "RMSProp": (rmsprop, 0.5, partial(RMSProp, decay=0.9)),
    "Adam": (adam, 0.5, Adam),
}
a, b = np.meshgrid(np.linspace(-10, 4, 150), np.linspace(-3, 3, 100))
heights = (a**2 + 100 * b**2) / 2
figure, axes = plt.subplots(2, 2, figsize=(9, 5), layout="constrained", sharex=True, sharey=True)
for ax, color, (name, (rule, rate, _)) in zip(axes.flat, COLORS, rules.items(), strict=True):
    ax.contour(a, b, heights, levels=[1, 5, 20, 50, 100, 200, 350], colors=FAINT, linewidths=0.7)
    points = path(rule, rate)
    ax.plot(points[:, 0], points[:, 1], ".-", color=color)
    ax.plot(0, 0, "k+", markersize=12)
    ax.set_title(f"{name}, learning rate {rate}")
slow = path(sgd, 0.01)
axes[0, 1].plot(slow[:, 0], slow[:, 1], ".-", color=BLUE, label="SGD, learning rate 0.01")
axes[0, 1].legend(loc="lower right")
figure.supxlabel("a")
figure.supylabel("b")
distances = {name: np.linalg.norm(path(rule, rate)[-1]) for name, (rule, rate, _) in rules.items()}
assert distances["RMSProp"] < distances["Momentum"] < distances["Adam"] < distances["SGD"] / 3

# %%
# The cross is the lowest point. *SGD* jumps from one wall to the other. A step subtracts 100 times the rate, times
# :math:`b`, from :math:`b`. Above a rate of :math:`2 / 100 = 0.02` this is more than twice :math:`b`, so that each jump
# ends further out on the other side. And even with a rate of 0.019 it creeps along :math:`a`.
#
# *Momentum* adds up what points the same way in every step, and cancels what changes its sign. A gradient that stays
# the same adds up to :math:`1 + 0.9 + 0.81 + \dots = 10` times itself, so Momentum needs a smaller rate. At its 0.01,
# SGD (blue) does not jump, but creeps even more: Momentum's first ten steps lead about four times as far along
# :math:`a`. The price is that it swings along :math:`b`, and runs past the lowest point, like a ball in a bowl. After
# thirty steps it is much nearer than SGD at either rate.
#
# *RMSProp* divides by the size of the gradient. If that stayed the same, each coordinate would take steps of the length
# of the rate, 0.5. The first step is three times as long as that: the mean of the squares starts at 0, so it is
# :math:`0.1\, g^2` then, and its root is :math:`0.32\, g`. Later steps are shorter, because the gradient falls and the
# mean remembers larger ones. The path goes straight down to the floor of the valley. *Adam* does both: it divides by
# the size, and its mean of the last gradients is a velocity on a smaller scale, a tenth. In this valley that is no
# gain. With minibatches it can be one, because the mean smooths their noise.

tenth = {rule: path(rule, 0.01)[10, 0] for rule in (sgd, momentum)}
print(f"a after ten steps from -9 at rate 0.01: SGD {tenth[sgd]:.1f}, Momentum {tenth[momentum]:.1f}")
assert 3.5 < (tenth[momentum] + 9) / (tenth[sgd] + 9) < 4.5
assert (path(sgd, 0.01)[:, 1] >= 0).all()

# %%
# The library's optimizers take the same steps:

for rule, rate, kind in rules.values():
    point, optimizer = np.array([-9.0, 2.0]), kind(rate)
    for _ in range(30):
        optimizer.update({"point": point}, {"point": valley_gradient(point)})
    assert np.allclose(point, path(rule, rate)[-1])

# %%
# On the digits each optimizer needs a learning rate of its own. A single run depends on the random seed. So we take the
# mean of three runs, and look at how much they differ:

ranges, means = [], []
choices = ((SGD, 0.02), (Momentum, 0.005), (RMSProp, 0.0005), (Adam, 0.001))
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for color, (kind, rate) in zip(COLORS, choices, strict=True):
    name = f"{kind.__name__} at {rate:g}"
    losses, accuracies = [], []
    for seed in range(3):
        solver = Solver(new_model(seed), data, kind(rate), epochs=2, seed=seed)
        solver.train()
        losses.append(solver.loss_history)
        accuracies.append(solver.validation_accuracy_history[-1])
    smooth = np.convolve(np.mean(losses, axis=0), np.ones(10) / 10, "valid")
    ax.semilogy(smooth, color=color, label=name)
    ranges.append((min(accuracies), max(accuracies)))
    means.append(np.mean(accuracies))
    print(f"{name}: accuracy {min(accuracies):.1%} to {max(accuracies):.1%}, mean {means[-1]:.1%}")
ax.set(xlabel="iteration", ylabel="loss, mean of 3 runs and 10 iterations")
ax.legend()
assert min(low for low, _ in ranges) > 0.8
assert max(low for low, _ in ranges) < min(high for _, high in ranges)
assert max(means) - min(means) < min(high - low for low, high in ranges)

# %%
# All four learn. SGD's loss stays a little higher, but with another rate it might not. The accuracies of three runs of
# *one* optimizer lie further apart than the four means. So three runs are too few to rank the optimizers, and the order
# of single runs tells nothing.
#
# The learning rate, and what a diverged run looks like
# -----------------------------------------------------
# The learning rate is the most important number of a training. We try four. The Solver's warnings are
# caught, to be read below:

runs, messages = {}, {}
for rate in (0.0005, 0.02, 0.2, 2.0):
    runs[rate] = Solver(new_model(), data, SGD(rate), epochs=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs[rate].train()
    messages[rate] = [str(warning.message) for warning in caught if warning.category is ConvnetWarning]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for ax, color, (rate, solver) in zip((left, left, left, right), COLORS, runs.items(), strict=True):
    ax.plot(solver.loss_history, color=color, label=f"learning rate {rate:g}")
    ax.set(xlabel="iteration", ylabel="loss of the minibatch", yscale="log")
    ax.axhline(np.log(10), color=FAINT, linestyle="--")
    ax.legend()

# %%
# The blue curve creeps: nothing is wrong, but it would take for ever. The orange one is what a training looks like. The
# green one begins with a jump, and comes back; with other initial weights it might not. The violet one has
# **diverged**: within a few steps the loss becomes more than ten thousand times as large. Then it stays at the dashed
# line, 2.3, the loss of a guess. The Solver has seen it, too. (It advises *OneCycle*, which the next section explains.)

for rate, texts in messages.items():
    print(f"learning rate {rate:g}: {len(texts)} warnings")
for text in messages[2.0]:
    print("-", textwrap.fill(text, 82))
assert not messages[0.02]
assert max(runs[0.2].loss_history) > 1.2 * runs[0.2].loss_history[0] > 2 * runs[0.2].loss_history[-1]
assert max(runs[2.0].loss_history[:10]) > 1e4 * runs[2.0].loss_history[0]
assert np.allclose(runs[2.0].loss_history[-20:], np.log(10), atol=0.2)
assert any("predicts one and the same" in text for text in messages[2.0])
assert any("relu2" in text for text in messages[2.0])

# %%
# The network gives the same answer to every image, because the units of its hidden layer are dead, as
# :ref:`sphx_glr_chapters_gallery_05_other_layers.py` explains: the large steps have made their inputs negative for
# every image. They get no gradient, and the scores are the biases of the last layer alone. These still learn, and give
# each digit about its share of the images: the loss of a guess.
#
# With a still larger rate the numbers overflow. This is an error, because there is nothing left to go on with:

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvnetWarning)
    try:
        Solver(new_model(), data, SGD(1e4), epochs=2).train()
        message = ""
    except FloatingPointError as error:
        message = str(error)
print(textwrap.fill(message, 84))
assert "smaller learning rate" in message

# %%
# How does one find a good rate? Try rates that are ten times smaller, until the loss falls. Or let
# :func:`convnet.find_learning_rate` search: it trains a copy of the model, makes the rate larger with every step, and
# looks where the loss begins to rise. (The losses are smoothed by a running mean. It lags behind, so that the curve
# lies above the points while they fall.) It suggests a third of the rate at which the loss is lowest. At that rate
# itself the loss is about to rise; a third is a rule of thumb that stays clear of it.

found = convnet.find_learning_rate(Solver(new_model(), data, SGD(0.02), epochs=5))
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
convnet.plot_learning_rates(found, ax=ax)
lowest = found.smoothed.argmin()
ax.plot(found.rates[lowest], found.smoothed[lowest], "o", color=ORANGE, label="lowest")
ax.set(ylim=(0, 5))  # the last losses are far above
ax.legend(loc="lower left")
print(found)
assert 0.005 < found.suggestion < 0.5

# %%
# Schedules
# ---------
# At the start a large rate is dangerous: the gradients of a new network are large. In the middle it is welcome. At the
# end it is in the way: every step is that of a random minibatch, and with a large rate the parameters jump around the
# lowest point. So the rate is changed during a training. A **schedule** gives the factor for each moment.
# ``StepDecay(2, 0.3)`` multiplies the rate by 0.3 every two epochs, ``EpochDecay(0.7)`` by 0.7 after every epoch.
# ``CosineDecay(4)`` falls to 0 within four epochs, along half a wave of the cosine. ``OneCycle(4)`` begins with a small
# rate, rises, and then falls to 0:

schedules = {
    "Constant()": convnet.Constant(),
    "StepDecay(2, 0.3)": convnet.StepDecay(2, 0.3),
    "EpochDecay(0.7)": convnet.EpochDecay(0.7),
    "CosineDecay(4)": convnet.CosineDecay(4),
    "OneCycle(4)": convnet.OneCycle(4),
}
epochs = np.linspace(0, 4, 400, endpoint=False)
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.set(xlabel="epoch", ylabel="factor on the learning rate")
for color, (name, schedule) in zip((FAINT, *COLORS), schedules.items(), strict=True):
    ax.plot(epochs, [schedule(epoch) for epoch in epochs], color=color, label=name)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %%
# We compare *OneCycle* with a constant rate, in three runs each. The rate of 0.04 is high on purpose, so that one sees
# what a high rate does at the end:

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
last_losses = {}
for name, color in (("Constant()", FAINT), ("OneCycle(4)", BLUE)):
    last_losses[name] = []
    for seed in range(3):
        options = {"schedule": schedules[name], "epochs": 4, "seed": seed, "restore_best": False}
        solver = Solver(new_model(seed), data, Momentum(0.04), **options)
        solver.train()
        label = name if seed == 0 else None
        ax.plot(solver.validation_loss_history, "o-", color=color, label=label)
        last_losses[name].append(solver.validation_loss_history[-1])
ax.set(xlabel="epoch", ylabel="validation loss")
ax.set(xticks=range(1, 5), xlim=(0.9, 4.1), ylim=(0.15, 0.65))
ax.legend()
for name, losses in last_losses.items():
    print(f"{name}: last losses {np.round(losses, 3).tolist()}, mean {np.mean(losses):.3f}")
assert np.mean(last_losses["OneCycle(4)"]) < np.mean(last_losses["Constant()"])

# %%
# The cycle ends lower, on the mean. With the constant rate the loss falls at first and then wavers: in some
# runs it rises again. ``restore_best=False`` says that the model keeps its last parameters. With a rate that falls to 0
# these are the ones to keep.
#
# Learning by heart, L2 and early stopping
# ----------------------------------------
# Above, overfitting was a test. Now we want to avoid it. We train with only 500 images, three runs without L2 and three
# with it. Its factor 0.03 is far above the default, so that 16 epochs show what L2 does:

few = data | {"x_train": x_train[:500], "y_train": y_train[:500]}
runs = {0.0: [], 0.03: []}
for l2, solvers in runs.items():
    for seed in range(3):
        solver = Solver(new_model(seed, l2), few, Momentum(0.01), epochs=16, seed=seed, restore_best=False)
        solver.train()
        solvers.append(solver)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
training = np.reshape(runs[0.0][0].loss_history, (16, 10)).mean(axis=1)  # ten minibatches an epoch
left.semilogy(range(1, 17), training, color=FAINT, label="training")
left.semilogy(runs[0.0][0].validation_loss_history, color=BLUE, label="validation")
left.set(title="one run without L2", xlabel="epoch", ylabel="loss", xticks=range(0, 17, 4))
left.legend()
right.set(title="validation losses, from near by", xlabel="epoch", xticks=range(0, 17, 4), ylim=(0.2, 0.8))
for style, plain, regularized in zip(("-", "--", ":"), *runs.values(), strict=True):
    losses, losses_with_l2 = plain.validation_loss_history, regularized.validation_loss_history
    turn = int(np.argmin(losses))
    right.plot(losses, style, color=BLUE, label="without L2")
    right.plot(turn, losses[turn], "o", color=BLUE, label="lowest point")
    right.plot(losses_with_l2, style, color=ORANGE, label="with L2")
    right.legend(handles=right.lines[:3])
    assert 3 < turn < 15
    assert losses_with_l2[-1] < losses[turn] < losses[-1]

# %%
# On the left, the training loss falls and falls, towards 0. The validation loss soon stops falling. On the right one
# sees that it even turns: from there on the network learns what is special about its 500 images, and gets *surer* of
# its mistakes. A mistake costs more the surer it is: 2.3 if the right digit has the probability 0.1, and 4.6 if it has
# 0.01. So the loss can grow although there are no more mistakes.
#
# **L2 regularization** adds :math:`\frac{1}{2} \lambda \sum w^2` to the training loss, a sum over all weights, but not
# the biases. Its gradient is :math:`\lambda w`: every step makes each weight a little smaller, unless the data need it.
# A network with small weights changes its answer less from one image to a similar one. Each orange curve ends lower
# than the blue one of the same initial weights, in the same line style, ever was. (The validation losses do not contain
# the term of L2.) The *length* of the weights is the root of the sum of their squares:

accuracies = {}
for l2, solvers in runs.items():
    params = solvers[0].model.params
    length = np.sqrt(sum(np.square(params[name]).sum() for name in params if name.endswith("weight")))
    accuracies[l2] = [solver.validation_accuracy_history[-1] for solver in solvers]
    print(f"L2 {l2:g}: length {length:.1f} (first run), validation accuracy {np.mean(accuracies[l2]):.1%} (mean)")

# %%
# **Early stopping** ends the training when the validation loss has not fallen below its lowest value for some epochs,
# here five. The Solver gives the model the best parameters back. With ``best_by="loss"`` these are the ones with the
# lowest validation loss, and not, as usual, those with the highest validation accuracy:

options = {"epochs": 30, "best_by": "loss", "callbacks": [convnet.EarlyStopping(5)]}
stopped = Solver(new_model(), few, Momentum(0.01), **options)
stopped.train()
print(f"ended after epoch {stopped.epoch}, with the parameters of epoch {stopped.state.best_check}")
x, y = data["x_validation"], data["y_validation"]
for name, net in (("16 epochs", runs[0.0][0].model), ("stopped early", stopped.model)):
    wrong = net.predict(x) != y
    of_right = net.probabilities(x)[wrong, y[wrong]]
    print(f"{name}: {wrong.sum()} mistakes, their mean loss {-np.log(of_right).mean():.2f}")
assert stopped.epoch == stopped.state.best_check + 5

# %%
# There are about as many mistakes as after all 16 epochs. What is won is time, and that the network is a little less
# sure of its mistakes. More images help more than either. We take all 2,000, and the same number of steps, so a quarter
# of the epochs. The accuracies of early stopping are those at the lowest points of the blue curves:

accuracies["stopped"] = [s.validation_accuracy_history[np.argmin(s.validation_loss_history)] for s in runs[0.0]]
accuracies["2,000 images"] = []
for seed in range(3):
    solver = Solver(new_model(seed), data, Momentum(0.01), epochs=4, seed=seed, restore_best=False)
    solver.train()
    accuracies["2,000 images"].append(solver.validation_accuracy_history[-1])
for name in ("stopped", "2,000 images"):
    print(f"{name}: validation accuracy {np.mean(accuracies[name]):.1%} (mean)")
assert np.mean(accuracies.pop("2,000 images")) > max(np.mean(others) for others in accuracies.values())

# %%
# Where there are no more, :class:`convnet.Augmentation` makes new images of old ones, by moving and turning them a
# little.
#
# How to go about it
# ------------------
# 1. Let the network learn 10 images by heart. If it cannot, look for a bug:
#    :ref:`sphx_glr_chapters_gallery_07_gradient_checks.py` shows how.
# 2. Look at the first loss. For ten classes it should be of the size of :math:`\log 10 = 2.3`, not of 100.
# 3. Choose an optimizer, and find a learning rate for it.
# 4. Train with a schedule that falls. Look at the curves.
# 5. If the validation loss turns upwards: more images, L2, dropout, or an earlier end.
# 6. Look at the test images once, at the very end. Images that helped you choose cannot tell any more how good the
#    choice is on new ones.
#
# Exercises
# ---------
# The answers are in ``tests/chapters/test_06_training.py``, each with a test that shows that it is right.
#
# 1. **Nesterov's momentum** updates the velocity as above, and then takes the step ``0.9 * velocity + gradient``. Write
#    it as a rule, ``nesterov(gradient, memory)``. ``Momentum(rate, nesterov=True)`` has to take the same path through
#    the valley.
# 2. **A schedule of your own.** Write ``straight(epochs)``, which returns a function of the epoch: it rises in a
#    straight line from 0 to 1 in the first tenth of the epochs, and falls in a straight line to 0 in the rest.
# 3. **A callback of your own.** A subclass of :class:`convnet.Callback` with a method ``on_epoch_end(self, solver)`` is
#    called after every epoch; the accuracy of this epoch is then the last one of ``solver.train_accuracy_history``.
#    Write ``UntilLearned(accuracy)``, which ends the training with ``solver.stop()`` when the training accuracy has
#    reached a given value. How many epochs of ``Adam(1e-3)`` does the network need to learn ten images by heart?
# 4. **What L2 adds.** Write ``l2_gradients(model)``, which returns what L2 adds to the gradient of each parameter, by
#    name. :math:`\lambda` is ``model.l2``, ``model.layers`` are the layers by name, and ``layer.params`` a layer's
#    parameters by name. ``layer.regularised`` has the names of those that L2 applies to; biases are not among them. A
#    name in ``model.params`` joins both names, such as ``"conv1.weight"`` or ``"affine2.bias"``.
# 5. **A calm start.** The first loss of our network on its training images is 3.7, that of equal scores is 2.3. Write
#    ``calm_start(model)``, which changes a new model with ``l2=0`` so that its first loss is within 0.01 of log(10).
#    Leave the layers before the last one as they are.
# 6. **How far SGD can go.** In the valley SGD multiplies the coordinate :math:`b` by the same number in each step.
#    Write ``factor_of_sgd(rate, steepness)``, which returns it for a valley with another steepness than 100, and
#    ``largest_rate(steepness)``: with a larger one, SGD diverges.
#
# Where this lies in the library
# ------------------------------
# - ``convnet/models/convnet1.py``: :class:`convnet.ConvNet1` with all its options.
# - ``convnet/training/solver.py``: :class:`convnet.Solver`; what it warns of is in ``convnet/training/surprises.py``.
# - ``convnet/training/optimizers.py``: :class:`convnet.SGD`, :class:`convnet.Momentum`, :class:`convnet.RMSProp`,
#   :class:`convnet.Adam` and others.
# - ``convnet/training/schedules.py``: the schedules, such as :class:`convnet.OneCycle`.
# - ``convnet/training/callbacks.py``: :class:`convnet.EarlyStopping`.
# - ``examples/train.py``: the whole job with all of MNIST. ``examples/overfit_small_data.py``: the first test.
#   ``examples/compare_options.py``: all options of ConvNet1, one by one.
#
# Next: :ref:`sphx_glr_chapters_gallery_07_gradient_checks.py`.

plt.show()
