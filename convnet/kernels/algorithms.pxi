"""Which algorithm computes a convolution, by its shape: the one place that decides.

`im2col` is the loops in Cython with a product of matrices; it alone takes float64, the instruction set "none", and what
the others do not. The others are native/tiles/direct.h, native/tiles/planar.h, native/tiles/winograd.h, and, where each
filter sees a channel of its own, native/tiles/depthwise.h.
"""

# An algorithm; a Winograd algorithm is the number of outputs along an edge of its tiles.
cdef enum:
    IM2COL = -1
    DIRECT = 0
    POOLED = 1
    WINOGRAD_2 = 2
    DEPTHWISE = 3
    WINOGRAD_4 = 4
    PLANAR = 5

ALGORITHMS = {
    "im2col": IM2COL, "direct": DIRECT, "planar": PLANAR, "pooled": POOLED, "depthwise": DEPTHWISE,
    "winograd-2": WINOGRAD_2, "winograd-4": WINOGRAD_4,
}

# A cost is a number of multiplications for each channel and filter, as fast as those of the direct algorithm.
# benchmarks/algorithms.py shows what each choice costs.
cdef enum:
    LEAST_FILTERS = 8                        # fewer leave vectors empty; so do fewer channels of an input
    MOST_PLANAR = 15                         # filters, or channels of an input, for vectors of columns
    PLANAR_COLUMNS = 8                       # columns of such a vector, about
    FILTERS_OF_A_CHANNEL = 4                 # most filters for each channel, for such a gradient of the input
    MOST_SUMS = 1 << 13                      # most weights, for such a gradient of the weights
    LEAST_TAPS = 27                          # with fewer, the output is by im2col
    WEIGHTS_OF_AN_OUTPUT = 250               # more of them are too many for winograd-4 to transform
    MOST_TRANSFORMED = 1 << 21               # floats of a row of Winograd's tiles, which is transformed at a time
    MOST_APART = 1 << 16                     # columns under a row of outputs, where the stride is above the width
    COLUMNS_PIXELS = 20                      # an image by im2col takes as long as if it had so many outputs more
    INPUT_COLUMNS_PIXELS = 17                # the same for the gradient of the input
    DIRECT_PIXELS = 8                        # the same for an image's direct gradient of the weights
cdef double COLUMNS_COST = 2                 # of a multiplication by im2col
cdef double INPUT_COLUMNS_COST = 1.3         # the same for the gradient of the input
cdef double PLANAR_COST = 0.5                # of a multiplication by vectors of columns, where channels are few
cdef double PLANAR_GRADIENT_COST = 0.8       # the same for the gradient of the weights
cdef double POOLED_COST = 1.75               # of a multiplication by the gradient that visits a pooling's maxima
cdef double ACTIVE = 0.75                    # the part of a pooling's maxima that ReLU lets through
cdef double TRANSFORMS_COST = 8              # of Winograd's transforms, divided by the channels, and by the filters
cdef double GRADIENT_TRANSFORMS_COST = 14    # the same for the gradient of the weights


cdef inline windows adjoint_of(windows s) noexcept nogil:
    """Return the convolution of the output's gradient that gives the input's, where the stride is 1."""
    return windows_of(
        s.out_h, s.out_w, s.kernel_h, s.kernel_w, 1, 1, s.extent_h - 1 - s.padding_h, s.extent_w - 1 - s.padding_w,
        s.height, s.width, s.dilation_h, s.dilation_w,
    )


cdef inline windows phase_of(windows s) noexcept nogil:
    """Return the windows of the largest phase of a dilated convolution of stride 1, without dilation and padding."""
    cdef Py_ssize_t out_h = (s.out_h + s.dilation_h - 1) // s.dilation_h
    cdef Py_ssize_t out_w = (s.out_w + s.dilation_w - 1) // s.dilation_w
    return windows_of(
        out_h + s.kernel_h - 1, out_w + s.kernel_w - 1, s.kernel_h, s.kernel_w, 1, 1, 0, 0, out_h, out_w
    )


cdef inline bint is_winograd_possible(windows s) noexcept nogil:
    """Return whether Winograd's algorithm takes these windows."""
    return (
        s.kernel_h == s.kernel_w == 3 and s.stride_h == s.stride_w == 1 and 0 <= s.padding_h <= 2
        and 0 <= s.padding_w <= 2
    )


cdef inline int possible(
    const simd_level* level, windows s, int algorithm, bint is_planar, bint is_pooled,
) noexcept nogil:
    """Return the algorithm if there is an instruction set and it takes these windows; else im2col.

    The direct one takes the place of `planar` and of `pooled` where these are ruled out.
    """
    if level == NULL or algorithm == DEPTHWISE:
        return IM2COL
    if algorithm == PLANAR and not is_planar or algorithm == POOLED and not is_pooled:
        return DIRECT
    if (algorithm == WINOGRAD_2 or algorithm == WINOGRAD_4) and not is_winograd_possible(s):
        return IM2COL
    return algorithm


cdef inline int possible_input(const simd_level* level, windows s, int algorithm, bint is_planar) noexcept nogil:
    """Return the algorithm for the input's gradient if it takes these windows; else im2col."""
    if s.stride_h != 1 or s.stride_w != 1:
        return IM2COL
    return possible(level, adjoint_of(s), algorithm, is_planar, False)


cdef inline double pixels_of(Py_ssize_t height, Py_ssize_t width, Py_ssize_t tile) noexcept nogil:
    """Return how many pixels the tiles that cover an image have."""
    return <double>((height + tile - 1) // tile * tile) * ((width + tile - 1) // tile * tile)


cdef inline int best_of(
    windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd, double transforms, double columns,
    double direct,
) noexcept nogil:
    """Return the fastest algorithm; the costs of im2col and of the direct one are given, infinite for not at all."""
    cdef int best = DIRECT if direct < columns else IM2COL, tile
    cdef double cost, least = min(direct, columns)
    if winograd and is_winograd_possible(s) and channels >= LEAST_FILTERS and filters >= LEAST_FILTERS:
        for tile in range(WINOGRAD_2, WINOGRAD_4 + 1, 2):
            if pixels_of(1, s.out_w, tile) / (tile * tile) * (tile + 2) * (tile + 2) * (channels + filters) > (
                MOST_TRANSFORMED
            ):
                continue
            cost = pixels_of(s.out_h, s.out_w, tile) * (tile + 2) * (tile + 2) / (tile * tile)
            cost *= 1 + transforms / channels + transforms / filters
            if cost < least:
                best, least = tile, cost
    return best


cdef inline double columns_cost(windows s, bint is_fused, double cost, double more) noexcept nogil:
    """Return the cost of im2col with `more` outputs than there are: infinite with what it cannot be fused with."""
    return INFINITY if is_fused else cost * (s.out_h * s.out_w + more) * s.kernel_h * s.kernel_w


cdef inline double direct_cost(windows s, Py_ssize_t more) noexcept nogil:
    """Return the cost of the direct algorithm, for so many outputs more than there are.

    It leaves out the rows of the kernel that lie above or below the image.
    """
    cdef Py_ssize_t i, first, rows = 0
    for i in range(s.kernel_h):
        first = first_inside(i - s.padding_h, s.stride_h, s.out_h)
        rows += end_inside(i - s.padding_h, s.stride_h, s.height, first, s.out_h) - first
    return (<double>rows * s.out_w + <double>more * s.kernel_h) * s.kernel_w


cdef inline double planar_cost(windows s, Py_ssize_t outputs, double cost) noexcept nogil:
    """Return the cost of vectors of columns, for so many channels of the output: infinite if there are many."""
    if outputs > MOST_PLANAR:
        return INFINITY
    s.out_w = (s.out_w + PLANAR_COLUMNS - 1) // PLANAR_COLUMNS * PLANAR_COLUMNS
    return cost * direct_cost(s, 0)


cdef inline bint is_for_columns(const simd_level* level, windows s, bint is_fused) noexcept nogil:
    """Return whether nothing but im2col comes into question, whatever the channels and filters.

    The others copy all columns under a row of outputs, which are mostly padding where a stride is far above the width.
    """
    return (
        level == NULL or s.height * s.width == 0 or s.kernel_h * s.kernel_w == 1 and not is_fused
        or s.stride_w > s.width and s.out_w * s.stride_w > MOST_APART
    )


cdef inline int with_planar(int best, double direct, double planar) noexcept nogil:
    """Return the fastest algorithm: `best` was found with the lesser of the two costs as the direct one's."""
    return PLANAR if best == DIRECT and planar < direct else best


cdef inline int forward_algorithm(
    const simd_level* level, windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd, bint is_fused,
    bint is_planar,
) noexcept nogil:
    """Return the algorithm for the output."""
    cdef bint is_small = filters < LEAST_FILTERS or channels * s.kernel_h * s.kernel_w < LEAST_TAPS
    cdef double columns = columns_cost(s, is_fused, COLUMNS_COST, COLUMNS_PIXELS)
    cdef double planar = planar_cost(s, filters, PLANAR_COST) if is_planar and not is_fused else INFINITY
    cdef double direct = INFINITY if is_small and not is_fused else direct_cost(s, 0)
    if is_for_columns(level, s, is_fused):
        return IM2COL
    return with_planar(
        best_of(s, channels, filters, winograd, TRANSFORMS_COST, columns, min(direct, planar)), direct, planar,
    )


cdef inline double pooled_cost(
    const simd_level* level, windows s, Py_ssize_t channels, float slope,
) noexcept nogil:
    """Return the cost of the gradient of the weights that visits the maxima of a pooling."""
    cdef Py_ssize_t row = s.kernel_w * channels, lanes = simd_level_for(level, row).lanes
    cdef double maxima = <double>(s.out_h // 2) * (s.out_w // 2) * (1 if slope else ACTIVE)
    row = (row + lanes - 1) // lanes * lanes
    return POOLED_COST * maxima * s.kernel_h * row / channels


cdef inline bint is_pooled_possible(windows s, simd_pooling pool) noexcept nogil:
    """Return whether there are maxima of a pooling to visit."""
    cdef Py_ssize_t rows = s.out_h // 2, columns = s.out_w // 2
    return pool == SIMD_POOL_MAX and s.stride_h == s.stride_w == 1 and rows > 0 and 0 < columns <= POOLED_WINDOWS


cdef inline int weight_algorithm(
    const simd_level* level, windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd, bint is_fused,
    simd_pooling pool, float slope, bint is_planar,
) noexcept nogil:
    """Return the algorithm for the gradients of weight and bias."""
    cdef double direct = direct_cost(s, DIRECT_PIXELS), pooled = INFINITY
    # Each weight has a vector of sums, and a thread's sums have to stay in its cache.
    cdef bint is_small = <double>filters * channels * s.kernel_h * s.kernel_w <= MOST_SUMS
    cdef double planar = planar_cost(s, filters, PLANAR_GRADIENT_COST) if is_planar and is_small else INFINITY
    cdef int best
    if is_for_columns(level, s, is_fused):
        return IM2COL
    if is_pooled_possible(s, pool):
        pooled = pooled_cost(level, s, channels, slope)
    best = best_of(
        s, channels, filters, winograd, GRADIENT_TRANSFORMS_COST,
        columns_cost(s, is_fused, COLUMNS_COST, COLUMNS_PIXELS), min(direct, min(pooled, planar)),
    )
    if best == DIRECT and pooled < min(direct, planar):
        return POOLED
    return with_planar(best, direct, planar)


cdef inline int input_algorithm(
    const simd_level* level, windows s, Py_ssize_t channels, Py_ssize_t filters, bint winograd, bint is_fused,
    bint is_planar,
) noexcept nogil:
    """Return the algorithm for the gradient of the input."""
    cdef windows adjoint = adjoint_of(s)
    cdef bint is_small = channels < LEAST_FILTERS
    cdef double columns = columns_cost(s, is_fused, INPUT_COLUMNS_COST, INPUT_COLUMNS_PIXELS)
    # What im2col adds back to the image does not grow with the filters: with many of them it is faster.
    cdef bint is_short = filters <= FILTERS_OF_A_CHANNEL * channels
    cdef double planar = planar_cost(adjoint, channels, PLANAR_COST) if is_planar and is_short else INFINITY
    cdef double direct = INFINITY if is_small and not is_fused else direct_cost(adjoint, 0)
    if is_for_columns(level, s, is_fused) or s.stride_h != 1 or s.stride_w != 1:
        return IM2COL
    return with_planar(
        best_of(adjoint, filters, channels, winograd, TRANSFORMS_COST, columns, min(direct, planar)), direct, planar,
    )


cdef inline int for_images(int algorithm, Py_ssize_t n, windows s, Py_ssize_t weights) noexcept nogil:
    """Return the algorithm of an output or input for n images; `weights` is the number of channels times filters."""
    if algorithm == WINOGRAD_4 and <double>n * s.out_h * s.out_w * WEIGHTS_OF_AN_OUTPUT < weights:
        return WINOGRAD_2
    return algorithm
