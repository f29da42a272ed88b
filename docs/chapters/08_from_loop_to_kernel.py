r"""
8. From the loop to the kernel
==============================

One convolution, computed in seven steps, from the plain loop to the library's fastest kernel. A *kernel* is here a
small compiled loop that does most of the work, not the filter of chapter 3. Each step gives the same numbers. You time
all of them on your own machine, and see which idea makes how much of a difference: whole arrays, large products,
compiled loops, registers, threads, and less arithmetic.

You need chapter 3 (:ref:`the convolution as loops <sphx_glr_chapters_gallery_03_convolution.py>`) and chapter 4
(:ref:`im2col <sphx_glr_chapters_gallery_04_im2col.py>`). You need no knowledge of C.
"""

# %%
# The convolution to time
# -----------------------
#
# We take a layer as it stands in the middle of a network: 16 images of 64 channels and 28x28 pixels, and 64 filters of
# 3x3. The stride is 1. One zero is padded on each side, so that the output has 28x28 pixels, too. To keep the loops
# simple, we pad once, at the beginning.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, ORANGE, PADDING

import convnet
from convnet import Affine, Conv2D, GlobalAveragePool, ReLU, Sequential, _kernels
from convnet.functional import conv2d_forward

N, C, F, H, W, K = 16, 64, 64, 28, 28, 3
rng = np.random.default_rng(0)
x = rng.standard_normal((N, C, H, W), dtype=np.float32)
weight = rng.standard_normal((F, C, K, K), dtype=np.float32)
bias = np.zeros(F, np.float32)
padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))

outputs = N * F * H * W
operations = 2 * outputs * C * K * K  # a multiplication and an addition for each weight of a filter
print(f"{outputs:,} outputs, {operations / 1e6:,.0f} million operations")

# %%
# The work is fixed: so many multiplications and additions. A way to compute is fast if it does many of them in a
# second.
#
# The peak of the processor
# -------------------------
#
# How many operations can the processor do at best? Some words first. An *instruction* is one command to the processor,
# such as a multiplication. A *core* is a part of the processor that carries out instructions, beside the other cores. A
# *thread* is a part of a program that runs beside others, on a core of its own. *Registers* are the places inside a
# core that hold the numbers it computes with. The *instruction set* says how many numbers one instruction handles: 4 in
# the one that the library calls portable, 8 in AVX2, 16 in AVX-512. (The last two are sets of newer processors by Intel
# and AMD.)
#
# To measure the peak, the library lets every thread do nothing but multiply and add numbers that stay in registers, and
# counts the operations of a moment. A *plan* says how each layer of a model is computed, and its *profile* tells the
# times and this peak. We ask for all threads, and for one.
# GFLOP/s means 10\ :sup:`9` floating-point operations a second, that is operations with numbers of float32 or float64.


def peak_of(threads):
    """Return the most operations a second that so many threads reach."""
    convnet.set_num_threads(threads)
    model = Sequential([Affine(2, 2, rng=rng)], (2,))  # any model: the peak does not depend on it
    return model.plan().profile(np.ones((1, 2)), seconds=0).peak


threads, best_set = convnet.get_num_threads(), _kernels.instruction_set()
peak_of_one, peak = peak_of(1), peak_of(threads)
print(f"instruction set {best_set}")
print(f"peak of 1 thread: {peak_of_one / 1e9:.0f} GFLOP/s, of {threads}: {peak / 1e9:.0f} GFLOP/s")

# %%
# The operations of our convolution, divided by the time and by the peak of all threads, are the *share of the peak*. It
# says how far a program is from the best that this machine allows. A program that uses one of two threads can reach
# 50 % at most.
#
# Other programs on the machine can only lengthen a time. So we repeat a call for a second and keep the shortest time.
# (Steps 1 and 2 are too slow for that.) The numbers on this page are those of the machine that built it; look at yours.
# If other programs ran all the while, a time is too long all the same. You see it where a step gains more than its idea
# can give, such as two threads more than a factor of two: run it again.

seconds_of = {}


def best_time(call, seconds=1.0):
    """Return the shortest time of repeated calls."""
    times, end = [], perf_counter() + seconds
    while not times or perf_counter() < end:
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def report(name, seconds):
    """Keep the time of a way, and print it with its share of the peak."""
    seconds_of[name] = seconds
    print(f"{name}: {seconds:,.3f} s, {100 * operations / seconds / peak:.3g} % of the peak")


# %%
# Step 1: loops in Python
# -----------------------
#
# The formula of chapter 3: an output is the sum of the products of the filter's weights and the pixels in its window.
# Whoever reads this loop understands the convolution. Python, however, spends most of its time on other things than
# the product: it looks up each number, checks its type, and makes an object for each result.
#
# The whole convolution would take minutes. We compute 200 of the outputs and scale the time up: **the time of this step
# is an estimate**. The outputs all take the same work.


def one_output(n, f, oh, ow):
    """Return one number of the output."""
    total = 0.0
    for c in range(C):
        for i in range(K):
            for j in range(K):
                total += weight[f, c, i, j] * padded[n, c, oh + i, ow + j]
    return total


places = [tuple(rng.integers(0, (N, F, H, W))) for _ in range(200)]
start = perf_counter()
few = [one_output(*place) for place in places]
report("1. Python loops", (perf_counter() - start) * outputs / len(places))

# %%
# Before a time counts, the results have to be right. All other ways have to agree with these 200 outputs. They add the
# same products in another order, so the last digits may differ.


def check(y):
    """Raise an error unless y has the outputs of the loops, but for rounding."""
    np.testing.assert_allclose([y[place] for place in places], few, rtol=1e-4, atol=1e-3)


# %%
# Step 2: whole arrays
# --------------------
#
# NumPy does the same operation on a whole array in one call, in compiled code. So we turn the loops inside out. Take
# one weight, ``weight[f, c, i, j]``. In every image, all outputs of filter f need it times channel c, moved by i rows
# and j columns.


def by_whole_arrays():
    """Return the output, one weight at a time for all images."""
    y = np.zeros((N, F, H, W), np.float32)
    for f in range(F):
        for c in range(C):
            for i in range(K):
                for j in range(K):
                    y[:, f] += weight[f, c, i, j] * padded[:, c, i : i + H, j : j + W]
    return y


start = perf_counter()
y = by_whole_arrays()
seconds = perf_counter() - start
check(y)
report("2. NumPy, whole arrays", seconds)

# %%
# Python now makes one decision for 16 * 28 * 28 = 12,544 products instead of one for each. But every call reads an
# array from memory and writes one back, for only two operations a number. Moving the numbers takes longer than
# computing them.
#
# Step 3: im2col and one product
# ------------------------------
#
# Chapter 4 wrote the pixels of every window into a column. The convolution is then one product of matrices for each
# image: filters times columns. NumPy does all 16 in one call. It hands them to a library for such products (usually
# OpenBLAS), which people have tuned for decades.


def by_im2col():
    """Return the output, and the seconds that the columns and the products take."""
    start = perf_counter()
    windows = np.lib.stride_tricks.sliding_window_view(padded, (K, K), axis=(2, 3))  # (N, C, H, W, K, K)
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, C * K * K, H * W)
    written = perf_counter()
    y = (weight.reshape(F, -1) @ columns).reshape(N, F, H, W)
    return y, written - start, perf_counter() - written


check(by_im2col()[0])
writing, products = min((by_im2col()[1:] for _ in range(6)), key=sum)
report("3. NumPy, im2col", writing + products)
share = 100 * operations / products / peak
print(f"the columns take {writing:.3f} s; the products {products:.3f} s, {share:.3g} % of the peak")

# %%
# Writing the columns takes its part of the time: they have nine times as many numbers as the images. For the products,
# the library behind NumPy uses all ideas of the steps 4 to 6 at once: compiled loops, registers and threads. The next
# steps take them apart, in the code of convnet.
#
# Step 4: typed loops
# -------------------
#
# Cython is Python with types. Where it knows that ``a`` and ``b`` point to floats, ``a[i] * b[i]`` becomes two loads
# and one multiplication in C, and no Python object is left. Here is the innermost loop of the library's product of two
# matrices :math:`A` and :math:`B`, for im2col. ``c`` points to a row of the result. Four rows of :math:`B`, ``b0`` to
# ``b3``, are added to it at a time, each times a number of :math:`A`, so that ``c`` is loaded and stored a quarter as
# often. (``while`` is as in Python: ``p`` grows in steps of 4.)
#
# .. literalinclude:: ../../convnet/kernels/products.pxi
#    :language: cython
#    :start-at: while p + 4 <= end:
#    :end-at: p += 4
#    :dedent:
#
# Nothing here names an instruction set. The C compiler may choose: gcc turns the loop over ``j`` into instructions for
# 4 numbers each, as in the portable set. The environment variable ``CONVNET_SIMD=none`` chooses these loops for a whole
# program. Here we switch while the program runs, with the function that the library itself uses for that. We use one
# thread, and not yet Winograd's algorithm, which is step 7.


def convolve(instruction_set, threads, winograd):
    """Return the library's output, computed in one of its ways."""
    _kernels.use_instruction_set(instruction_set)
    convnet.set_num_threads(threads)
    return conv2d_forward(x, weight, bias, padding=1, winograd=winograd)


def report_library(name, *way):
    """Check one of the library's ways, and time it."""
    check(convolve(*way))
    report(name, best_time(lambda: convolve(*way)))


report_library("4. Cython, typed loops", "none", 1, False)

# %%
# This may well be slower than step 3, whose product used all threads and, inside, the ideas of the next steps. Here one
# thread works alone, and its share is that of the peak of all threads.
#
# Step 5: the register tile
# -------------------------
#
# A core has 16 or 32 registers. A register holds a *vector* of 4, 8 or 16 floats, and one instruction multiplies or
# adds all of them. The typed loops load five vectors, ``c`` and ``b0`` to ``b3``, for four multiply-adds. In the time
# of a multiply-add the processor can do only about one load. So the loads decide how long the loops take.
#
# So a kernel keeps a small block of the result :math:`C = A B`, a *tile*, in registers. The sum of each result goes
# over the columns of :math:`A` and the rows of :math:`B`. For one step of this sum the tile needs a piece of a column
# of :math:`A` and a piece of a row of :math:`B`. Every number of the one is multiplied with every number of the other.
# For that a number of :math:`A` is copied into all places of one register, which is then multiplied with each vector of
# :math:`B`. (In the picture a vector ends at the black line.)

rows, vectors, lanes = 4, 2, 4  # lanes: the floats of a vector
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")


def draw_block(left, top, height, width, colour, text):
    """Draw a block of numbers as a grid with a text below."""
    for row in range(height):
        for column in range(width):
            axes.add_patch(plt.Rectangle((left + column, top + row), 1, 1, facecolor=colour, edgecolor="white"))
    axes.text(left + width / 2, top + height + 0.7, text, ha="center", va="center")


draw_block(0, 2, rows, 1, ORANGE, "4 numbers of A")
draw_block(3, 0, 1, vectors * lanes, BLUE, "2 vectors of B")
draw_block(3, 2, rows, vectors * lanes, PADDING, "the tile of C: 4 x 2 vectors, all in registers")
for middle in range(1, vectors):
    axes.plot([3 + middle * lanes] * 2, [0, 1], color="black")
    axes.plot([3 + middle * lanes] * 2, [2, 2 + rows], color="black")
axes.set(xlim=(-1.5, 12.5), ylim=(7.3, -0.5), aspect="equal", title="One step: 6 loads, 8 multiply-adds of vectors")
axes.set_axis_off()

# %%
# A tile of :math:`r` rows and :math:`v` vectors needs :math:`r + v` loads for :math:`r v` multiply-adds. The larger the
# tile, the fewer loads for each multiply-add, until the registers are full:

for r, v in ((1, 1), (4, 1), (4, 2), (6, 2), (12, 2), (14, 2)):
    print(f"{r:2} x {v}: {r * v + v + 1:2} registers, {(r + v) / (r * v):.2f} loads for each multiply-add")
assert (12 + 2) / (12 * 2) < (6 + 2) / (6 * 2) < (1 + 1) / (1 * 1)

# %%
# The registers are those of the tile, of the row of B, and one for a number of A. AVX2 has 16 registers, so the library
# takes 6 x 2 there. AVX-512 has 32, and the library takes 12 x 2; 14 x 2 would fit, too, and saves hardly more loads.
# This is the heart of the kernel. ``p`` counts the steps of the sum, ``b0`` and ``b1`` are the two vectors of row ``p``
# of B, and ``r`` is a row of the tile. The compiler writes the loop over ``r`` out, so that every ``sums[r][0]`` is a
# register. In C, ``condition ? a : b`` is Python's ``a if condition else b``:
#
# .. literalinclude:: ../../convnet/native/tiles/product.h
#    :language: c
#    :start-at: const float factor = a_is_transposed ? a[p * a_step + r]
#    :end-at: if (vectors == 2) sums[r][1] += factor * b1;
#    :dedent:
#
# For a convolution the kernel does not even need the columns of im2col. It reads the pixels where they lie in the
# padded image. The library calls this the *direct* algorithm. We time each instruction set that your processor has.

for name in _kernels.INSTRUCTION_SETS[1:]:
    report_library(f"5. register tile, {name}", name, 1, False)

# %%
# Two ideas are in these lines. From the typed loops to *portable*, the vectors stay as wide, but the tile saves loads,
# and no columns are written. From *portable* to *avx2*, if your processor has it, the vectors are twice as wide, and
# one instruction multiplies and adds.
#
# Step 6: threads
# ---------------
#
# The images do not depend on each other. So each thread can take some of them. Python has a lock that lets only one
# thread at a time run Python code. The library's kernels release it while they compute, so that two calls can run side
# by side:

from concurrent.futures import ThreadPoolExecutor


def on_two_threads():
    """Return the output of two halves of the images, each computed on a thread of its own."""
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda half: conv2d_forward(half, weight, bias, padding=1, winograd=False), (x[:8], x[8:]))
        return np.concatenate(list(halves))


convnet.set_num_threads(1)
check(on_two_threads())
report("6. two Python threads", best_time(on_two_threads))

# %%
# The library has its own threads, in C. They are started once and then wait for work, because starting a thread takes
# longer than a small layer. Every output is still computed by one thread, in the same order. So the number of threads
# changes no bit of the result:

assert np.array_equal(convolve(best_set, threads, False), convolve(best_set, 1, False))
report_library("6. register tile, all threads", best_set, threads, False)

# %%
# Step 7: fewer multiplications
# -----------------------------
#
# So far every way did the same multiplications. Winograd's algorithm does fewer. Take two outputs of a row, from four
# pixels :math:`d_0 \dots d_3` and three weights :math:`g_0, g_1, g_2`:
#
# .. math::
#
#    y_0 = d_0 g_0 + d_1 g_1 + d_2 g_2, \qquad y_1 = d_1 g_0 + d_2 g_1 + d_3 g_2
#
# These are six multiplications. The same two numbers can be had with four, which we call :math:`m_0 \dots m_3`:
#
# .. math:: m_0 = (d_0 - d_2)\, g_0, \qquad m_1 = (d_1 + d_2) \frac{g_0 + g_1 + g_2}{2}
#
# .. math:: m_2 = (d_2 - d_1) \frac{g_0 - g_1 + g_2}{2}, \qquad m_3 = (d_1 - d_3)\, g_2
#
# .. math:: y_0 = m_0 + m_1 + m_2, \qquad y_1 = m_1 - m_2 - m_3
#
# Write the products out, and you will find that all but the six wanted ones cancel. The sums of weights are computed
# once for a filter and used for all images. The sums of pixels are computed once for an image and used by all filters.
# What remains for each pair of outputs, and for each channel and filter, are four multiplications.


def winograd_pair(d, g):
    """Return two outputs of a row with four multiplications."""
    m0, m3 = (d[0] - d[2]) * g[0], (d[1] - d[3]) * g[2]
    m1 = (d[1] + d[2]) * ((g[0] + g[1] + g[2]) / 2)
    m2 = (d[2] - d[1]) * ((g[0] - g[1] + g[2]) / 2)
    return np.array([m0 + m1 + m2, m1 - m2 - m3])


d, g = rng.standard_normal(4), rng.standard_normal(3)
expected = np.array([d[:3] @ g, d[1:] @ g])
print(winograd_pair(d, g), expected)
assert np.allclose(winograd_pair(d, g), expected)

# %%
# In two dimensions one does this along the rows and along the columns. First each row of the 4x4 pixels is turned into
# 4 sums, then each column of the result. The 3x3 weights are turned into 4x4 sums in the same way, and each of the 16
# sums of pixels is multiplied by its sum of weights. These 4x4 products are added up over the channels. Then the
# formulas of :math:`y_0` and :math:`y_1` make two numbers of each row, and two of each column of the result: 2x2
# outputs. So a tile of 2x2 outputs takes 16 multiplications instead of 4 * 9 = 36: 2.25 times fewer.
#
# The library uses tiles of 4x4 outputs as well. A similar set of formulas takes six multiplications for four outputs of
# a row, and so 6 * 6 = 36 for a tile, instead of 16 * 9 = 144: 4 times fewer. The sums before and after are work, too,
# so that the gain in time is smaller. The price is rounding. The formulas of the larger tile have factors such as 4, 5
# and 8. So large numbers are added that nearly cancel, and their rounding errors stay.
#
# Winograd's share of the peak still counts the operations of the definition, although fewer are done. So it may exceed
# 100 %.

assert (36 / 16, 144 / 36) == (2.25, 4)
exact = conv2d_forward(x.astype(np.float64), weight.astype(np.float64), padding=1)
for name, winograd in (("direct", False), ("Winograd", True)):
    error = np.linalg.norm(convolve(best_set, threads, winograd) - exact) / np.linalg.norm(exact)
    print(f"{name}: error {error:.1e} of the result")
    assert error < 2e-5
report_library("7. Winograd, all threads", best_set, threads, True)

# %%
# The library chooses the algorithm for each layer by the sizes. The table of a plan says which one; ``winograd-4`` is
# Winograd's with tiles of 4x4, ``loops`` are typed loops. A *stage* is a layer, together with what is *fused*, done in
# the same pass over the memory: here the bias and the ReLU behind it. The *layout* is the order of the axes in memory:
# NCHW is that of this course, images, channels, rows, columns. In NHWC the channels come last. The numbers of a pixel
# then lie side by side, so that one load takes those of several channels.

layers = [Conv2D(C, F, K, padding=1, rng=rng), ReLU(), GlobalAveragePool()]
print(Sequential(layers, (C, H, W)).plan().table(batch_size=N))

# %%
# All steps in one figure
# -----------------------
#
# The axis is logarithmic: each line of the grid is ten times the one before.


def in_words(seconds):
    """Return a time in seconds or, below one, in milliseconds."""
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


names = [f"{name}: {in_words(seconds)}" for name, seconds in seconds_of.items()]
shares = [100 * operations / seconds / peak for seconds in seconds_of.values()]
figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
axes.plot(shares, names, "o", color=BLUE)
axes.axvline(100, color="black", linewidth=1)
axes.axvline(100 * peak_of_one / peak, color="black", linewidth=1, linestyle=":")
axes.set(xscale="log", xlim=(min(shares) / 3, 1.5 * max(100, *shares)), xlabel="share of the peak (%)")
axes.xaxis.set_major_formatter("{x:g}")
figure.suptitle("One convolution; solid line: peak of all threads, dotted: of one")
axes.invert_yaxis()
axes.grid(alpha=0.3)

# %%
# All of them compute the same numbers. How many times faster than the loops is the fastest?

factor = seconds_of["1. Python loops"] / min(seconds_of.values())
print(f"about {float(f'{factor:.2g}'):,.0f} times")
assert factor > 100

# %%
# The result is the same, but for rounding. What changes is how much work there is around each product: the decisions of
# Python first, then the moving of numbers between memory and registers, and at last some of the products themselves.

_kernels.use_instruction_set(best_set)  # the chapter leaves the library as it found it
convnet.set_num_threads(threads)

# %%
# Exercises
# ---------
#
# The answers are in ``tests/chapters/test_08_from_loop_to_kernel.py``, each with a test.
#
# 1. Write ``tiled_product(a, b, rows, columns)``: the product of two matrices, computed tile by tile. For each tile of
#    ``rows`` x ``columns`` results (smaller at the edges), walk along the columns of ``a`` and the rows of ``b`` once,
#    and add every number of a piece of a column of ``a`` times every number of a piece of a row of ``b``. (All these
#    products together are called an *outer product*, ``np.outer``.)
# 2. Write ``best_tile(registers, most_vectors)``: which tile ``(rows, vectors)`` of at most ``most_vectors`` vectors
#    needs the fewest loads for each multiply-add, if the tile, its vectors of B and one number of A have to fit into
#    the registers? (Two tiles may need as few, such as 6 x 2 and 3 x 3: take either.) What does it give for 16 and for
#    32 registers and two vectors?
# 3. Write ``operations_per_byte(n, c, f, size, k, columns)``: the operations of a convolution of stride 1 whose output
#    is as large as its input, divided by the bytes that have to move at least once: input, weights and output, 4 bytes
#    for each number of float32. With ``columns=True``, the columns of im2col are written and read, too. How much
#    smaller is it then for the convolution of this chapter?
# 4. Write ``winograd_row(row, g)``: all outputs of a row of any even number of outputs, by pairs, as above.
# 5. Write ``winograd_tile(d, g)``: the 2x2 outputs of a 4x4 tile, as :math:`A^T [(G g G^T) * (B^T d B)] A`, where
#    :math:`*` multiplies element by element. Find the matrices :math:`A, B, G` in the formulas of one row above. (They
#    are not the matrices of step 5.)
#
# Where this lies in the library
# ------------------------------
#
# - The loops of step 1: :func:`convnet.naive.conv2d_forward`.
# - The typed loops: ``convnet/kernels/products.pxi``, and im2col in ``convnet/_kernels.pyx``.
# - The register tile: ``convnet/native/tiles/product.h``, compiled once for each row of ``convnet/native/levels.h``;
#   the direct convolution on it is in ``convnet/native/tiles/direct.h``.
# - The threads: ``convnet/native/pool.h``; how a call is divided: ``convnet/native/jobs/``.
# - Winograd's algorithm: ``convnet/native/tiles/winograd.h``, after A. Lavin, S. Gray, "Fast algorithms for
#   convolutional neural networks", 2016. The choice among the algorithms: ``convnet/kernels/algorithms.pxi``.
# - The peak, measured: ``benchmarks/peak.c``, and ``model.plan().profile(x)`` for every layer of a network.
#
# Next: :ref:`sphx_glr_chapters_gallery_09_what_filters_learned.py`.

plt.show()
