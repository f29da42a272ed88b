"""Which algorithm computes a convolution, by its shape: the one place that decides.

`im2col` is the loops in Cython with a product of matrices; it alone takes float64, the instruction set "none", and what
the others do not. The others are native/tiles/direct.h and native/tiles/winograd.h.
"""

# An algorithm; a Winograd algorithm is the number of outputs along an edge of its tiles.
cdef enum:
    IM2COL = -1
    DIRECT = 0
    WINOGRAD_2 = 2
    WINOGRAD_4 = 4

ALGORITHMS = {"im2col": IM2COL, "direct": DIRECT, "winograd-2": WINOGRAD_2, "winograd-4": WINOGRAD_4}

# By columns go fewer filters than LEAST_FILTERS, and input gradients of so few channels. A window of one pixel is as
# fast by columns, as are outputs of fewer pixels than LEAST_PIXELS. Input gradients whose pixels are more than
# MOST_PERCENT of the output's are by columns too: most pixels are next to padding then.
cdef enum:
    LEAST_FILTERS = 8
    LEAST_PIXELS = 16
    MOST_PERCENT = 200
    TRANSFORM_COST = 12


cdef inline windows adjoint_of(windows s) noexcept nogil:
    """Return the convolution of the output's gradient that gives the input's, where the stride is 1."""
    return windows_of(
        s.out_h, s.out_w, s.kernel_h, s.kernel_w, 1, 1, s.kernel_h - 1 - s.padding_h, s.kernel_w - 1 - s.padding_w
    )


cdef inline bint is_winograd_possible(windows s) noexcept nogil:
    """Return whether Winograd's algorithm takes these windows."""
    return (
        s.kernel_h == s.kernel_w == 3 and s.stride_h == s.stride_w == 1 and 0 <= s.padding_h <= 2
        and 0 <= s.padding_w <= 2
    )


cdef inline Py_ssize_t covered(Py_ssize_t size, Py_ssize_t tile) noexcept nogil:
    """Return how many outputs the tiles along an axis have."""
    return (size + tile - 1) // tile * tile


cdef inline double winograd_cost(windows s, Py_ssize_t channels, Py_ssize_t filters, Py_ssize_t tile) noexcept nogil:
    """Return about how many multiplications of a direct convolution take as long, for each channel and filter.

    A tile takes (tile + 2) ** 2 products, and transforms whose share falls with the channels and filters.
    """
    cdef double edge = tile + 2, tiles = <double>covered(s.out_h, tile) * covered(s.out_w, tile) / (tile * tile)
    return tiles * edge * edge * (1 + TRANSFORM_COST / channels + TRANSFORM_COST / filters)


cdef inline int possible(const simd_level* level, windows s, int algorithm) noexcept nogil:
    """Return the algorithm if there is an instruction set and it takes these windows; else im2col."""
    if level == NULL or algorithm > DIRECT and not is_winograd_possible(s):
        return IM2COL
    return algorithm


cdef inline int possible_input(const simd_level* level, windows s, int algorithm) noexcept nogil:
    """Return the algorithm for the input's gradient if it takes these windows; else im2col."""
    if s.stride_h != 1 or s.stride_w != 1:
        return IM2COL
    return possible(level, adjoint_of(s), algorithm)


cdef inline int best_of(windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd) noexcept nogil:
    """Return the fastest algorithm without columns."""
    cdef int best = DIRECT, tile
    cdef double cost, least = <double>s.out_h * s.out_w * s.kernel_h * s.kernel_w
    if winograd and is_winograd_possible(s) and channels >= LEAST_FILTERS and filters >= LEAST_FILTERS:
        for tile in range(WINOGRAD_2, WINOGRAD_4 + 1, 2):
            cost = winograd_cost(s, channels, filters, tile)
            if cost < least:
                best, least = tile, cost
    return best


cdef inline int forward_algorithm(
    const simd_level* level, windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd,
) noexcept nogil:
    """Return the algorithm for the output."""
    if level == NULL or s.kernel_h * s.kernel_w == 1 or s.out_h * s.out_w < LEAST_PIXELS or filters < LEAST_FILTERS:
        return IM2COL
    return best_of(s, channels, filters, winograd)


cdef inline int weight_algorithm(
    const simd_level* level, windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd,
) noexcept nogil:
    """Return the algorithm for the gradients of weight and bias."""
    if level == NULL or s.kernel_h * s.kernel_w == 1 or s.out_h * s.out_w < LEAST_PIXELS:
        return IM2COL
    return best_of(s, channels, filters, winograd)


cdef inline int input_algorithm(
    const simd_level* level, windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd,
) noexcept nogil:
    """Return the algorithm for the gradient of the input."""
    if possible_input(level, s, DIRECT) == IM2COL:
        return IM2COL
    if 100.0 * s.height * s.width > <double>MOST_PERCENT * s.out_h * s.out_w:
        return IM2COL
    return forward_algorithm(level, adjoint_of(s), filters, channels, winograd)
