"""The geometry of convolutions and poolings: made once by Python, used for memory and for work alike."""

# ------------------------------------------------------------------------------------------------- windows
#
# The windows of a convolution or pooling on one channel of height x width pixels.
#
# For im2col a channel is split into its phases: the pixels whose row and column, counted from the padding, leave the
# same remainders when divided by the strides. In a phase pixels that are a stride apart are neighbours: the KH * KW
# rows of `cols` are then copies of contiguous rows, whatever the stride. Phases beyond the kernel are left out, so that
# they take no more memory than a channel's part of `cols`. Without padding and with stride 1 a channel is its only
# phase, where it lies.
#
# The padding is that above and to the left. How much there is below and to the right follows from the output's size.

cdef struct windows:
    Py_ssize_t height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, out_h, out_w
    Py_ssize_t dilation_h, dilation_w                # pixels from one row or column of the kernel to the next
    Py_ssize_t extent_h, extent_w                    # pixels from the first to the last, both counted
    Py_ssize_t phases_h, phases_w, rows, columns     # how many phases along each axis, and the size of each
    bint is_plain                                    # the only phase is rows of the channel itself


cdef inline windows windows_of(
    Py_ssize_t height, Py_ssize_t width, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t out_h, Py_ssize_t out_w, Py_ssize_t dilation_h=1, Py_ssize_t dilation_w=1,
) noexcept nogil:
    cdef windows s
    s.dilation_h, s.dilation_w = dilation_h, dilation_w
    s.extent_h, s.extent_w = (kernel_h - 1) * dilation_h + 1, (kernel_w - 1) * dilation_w + 1
    s.height, s.width, s.kernel_h, s.kernel_w = height, width, kernel_h, kernel_w
    s.stride_h, s.stride_w, s.padding_h, s.padding_w = stride_h, stride_w, padding_h, padding_w
    s.out_h, s.out_w = out_h, out_w
    s.phases_h, s.phases_w = min(s.extent_h, stride_h), min(s.extent_w, stride_w)
    s.rows, s.columns = s.out_h + (s.extent_h - 1) // stride_h, s.out_w + (s.extent_w - 1) // stride_w
    s.is_plain = (
        stride_h == stride_w == 1 and padding_h == padding_w == 0 and s.rows == height and s.columns == width
    )
    return s


cdef inline Py_ssize_t outputs_along(
    Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation=1,
) noexcept nogil:
    """Return how many windows fit along an axis with as much padding on both sides."""
    return (size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1


cdef inline windows block_of(windows s, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Return the windows of the output rows from first to end - 1 alone; their padding above may be negative."""
    s.out_h, s.rows = end - first, end - first + (s.extent_h - 1) // s.stride_h
    s.padding_h -= first * s.stride_h
    return s


cdef inline Py_ssize_t first_inside(Py_ssize_t offset, Py_ssize_t stride, Py_ssize_t count) noexcept nogil:
    """Return the first output index o in [0, count] with o * stride + offset >= 0."""
    if offset >= 0:
        return 0
    return min((stride - 1 - offset) // stride, count)


cdef inline Py_ssize_t end_inside(Py_ssize_t offset, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t first,
                                  Py_ssize_t count) noexcept nogil:
    """Return the end of the output indices o >= first with o * stride + offset < size, at most count."""
    if (count - 1) * stride + offset < size:    # nearly always, and then without a division
        return count
    if offset >= size:
        return first
    return max(first, min((size - 1 - offset) // stride + 1, count))


cdef inline Py_ssize_t phases_total(windows s) noexcept nogil:
    """Return how many elements all phases of a channel have."""
    return s.phases_h * s.rows * s.phases_w * s.columns


cdef inline Py_ssize_t first_pixel(windows s, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Return the offset in the phases of the pixel that row i, column j of the first window's kernel lies on."""
    i, j = i * s.dilation_h, j * s.dilation_w
    return ((i % s.stride_h * s.rows + i // s.stride_h) * s.phases_w + j % s.stride_w) * s.columns + j // s.stride_w


cdef inline windows of_narrow_strides(windows s) noexcept nogil:
    """Return windows of a pooling that hold the same pixels, with a stride of at most the image's width.

    With a larger one, only the first window may end inside a row of the image, and only the last one begin there. The
    kernels walk along the columns of a window: these are no more than the outputs and pixels of a row then.
    """
    cdef Py_ssize_t end = min(s.kernel_w - s.padding_w, s.width)                 # of the first
    cdef Py_ssize_t begin = max((s.out_w - 1) * s.stride_w - s.padding_w, 0)     # of the last
    cdef Py_ssize_t padding = (s.out_w - 1) * s.width - begin
    if s.stride_w <= s.width:
        return s
    return windows_of(
        s.height, s.width, s.kernel_h, padding + end, s.stride_h, s.width, s.padding_h, padding, s.out_h, s.out_w
    )


cdef class Pooling:
    """The geometry of a pooling.

    The padding is that above and to the left. `out_h` and `out_w` are the size of the output; 0 stands for the size
    that it has with as much padding below and to the right. Every window must hold a pixel.
    """

    cdef windows w

    def __cinit__(
        self, Py_ssize_t height, Py_ssize_t width, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
        Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
        *, Py_ssize_t out_h=0, Py_ssize_t out_w=0,
    ):
        self.w = of_narrow_strides(windows_of(
            height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w,
            out_h or outputs_along(height, kernel_h, stride_h, padding_h),
            out_w or outputs_along(width, kernel_w, stride_w, padding_w),
        ))

    @property
    def out_h(self):
        """Rows of the output."""
        return self.w.out_h

    @property
    def out_w(self):
        """Columns of the output."""
        return self.w.out_w


# --------------------------------------------------------------------------------------------- convolution
#
# A depthwise convolution is one convolution, of any dilation. Any other convolution of groups of channels is as many
# convolutions side by side. A dilated one of these goes by im2col alone if it has a stride; without one it is a
# convolution of the phases of its images, and a phase is the pixels that lie a dilation apart.
#
# By im2col, a convolution goes through its output a block of rows at a time, as so many convolutions of fewer output
# rows. `cols` then stays in the second-level cache, however large the images are. A block has as many rows as give
# `cols` at most BLOCK_SIZE elements, but at least BLOCK_COLUMNS columns, which count where windows are large.
#
# The weight gradient is summed in batches of images, each on a thread, and the batches are added in order: the bits are
# the same for any number of threads. There are at most SIMD_GROUPS, and at most as many as take SIMD_GROUPS_BYTES
# together.

cdef enum:
    BLOCK_SIZE = 1 << 18
    BLOCK_COLUMNS = 192
    LINE = 64                                # bytes of a cache line
    DEPTHWISE_FLOATS = 1 << 20               # under a row of outputs of a depthwise convolution, at most


cdef inline Py_ssize_t even_block(Py_ssize_t size, Py_ssize_t out_h, Py_ssize_t out_w) noexcept nogil:
    """Return how many output rows a block has, spread evenly, for windows of `size` elements, C * KH * KW."""
    cdef Py_ssize_t pixels = out_h * out_w
    cdef Py_ssize_t blocks = max(1, min((size * pixels + BLOCK_SIZE - 1) // BLOCK_SIZE, pixels // BLOCK_COLUMNS, out_h))
    return (out_h + blocks - 1) // blocks


cdef inline Py_ssize_t in_lines(Py_ssize_t size) noexcept nogil:
    """Return a number of bytes as that of whole cache lines."""
    return (size + LINE - 1) // LINE * LINE


cdef inline uint8_t* at_line(uint8_t* memory) noexcept nogil:
    """Return the first cache line within the memory."""
    return <uint8_t*>((<size_t>memory + LINE - 1) // LINE * LINE)


cdef struct convolution:
    const simd_level* level                  # NULL: the loops in Cython
    Py_ssize_t itemsize, channels, filters
    Py_ssize_t groups                        # of channels and of filters: each filter sees one group of channels
    windows w
    Py_ssize_t block                         # output rows at a time, by im2col
    int forward, weight, input               # the algorithms of the passes
    bint is_forced                           # whether they do not depend on the number of images
    bint x_channels_last, y_channels_last                # layouts: channels last, or NCHW
    float slope                              # what follows the outputs, as simd_outputs has it
    simd_pooling pool


cdef struct memory_plan:                     # of im2col: bytes, each of whole cache lines
    Py_ssize_t phases, cols                  # of each thread
    Py_ssize_t dweight, dbias                # of each batch: (groups, taps, F / groups) and (F,)


cdef inline Py_ssize_t taps_of(const convolution* s) noexcept nogil:
    """Return how many weights a filter has: C / groups * KH * KW."""
    return s.channels // s.groups * s.w.kernel_h * s.w.kernel_w


cdef inline bint is_depthwise(const convolution* s) noexcept nogil:
    """Return whether each filter sees a channel of its own, and native/tiles/depthwise.h takes the convolution.

    It copies all rows under a row of outputs, which are many where the dilation is large.
    """
    return (
        s.level != NULL and s.groups == s.channels == s.filters > 1 and s.w.kernel_h * s.w.kernel_w <= DEPTHWISE_TAPS
        and s.w.height * s.w.width > 0
        and <double>s.w.extent_h * (<double>s.w.out_w * s.w.stride_w + s.w.extent_w) * s.channels <= DEPTHWISE_FLOATS
    )


cdef memory_plan plan_of(const convolution* s, bint need_dweight) noexcept nogil:
    """Return how the scratch memory of im2col is divided, with sums of the weights' gradient or without."""
    cdef memory_plan plan
    cdef Py_ssize_t size = s.channels * s.w.kernel_h * s.w.kernel_w
    plan.phases = in_lines(phases_total(block_of(s.w, 0, s.block)) * s.itemsize)
    plan.cols = in_lines(size * s.block * s.w.out_w * s.itemsize)
    plan.dweight = plan.dbias = 0
    if need_dweight:
        plan.dweight = in_lines(taps_of(s) * s.filters * s.itemsize)
        plan.dbias = in_lines(s.filters * s.itemsize)
    return plan


cdef inline Py_ssize_t batches_of(const convolution* s, Py_ssize_t n, bint need_dweight) noexcept nogil:
    """Return in how many batches of images im2col sums the weight gradient; without it, an image is a batch."""
    cdef Py_ssize_t size = s.filters * taps_of(s) * s.itemsize
    return max(1, min(SIMD_GROUPS, n, SIMD_GROUPS_BYTES // size)) if need_dweight else n


cdef Py_ssize_t columns_scratch(const convolution* s, Py_ssize_t n, int threads, bint need_dweight) noexcept nogil:
    """Return how many bytes of scratch memory the gradients by im2col need."""
    cdef memory_plan plan = plan_of(s, need_dweight)
    cdef Py_ssize_t batches = batches_of(s, n, need_dweight)
    return LINE + batches * (plan.dweight + plan.dbias) + min(threads, batches) * (plan.phases + plan.cols)


# What is computed: the output, the gradients of weight and bias, or the gradient of the input.
cdef enum:
    FORWARD, WEIGHT, INPUT


cdef inline Py_ssize_t groups_of(const convolution* s) noexcept nogil:
    """Return how many convolutions of native/ compute it: one, or one for each group."""
    return 1 if s.forward == DEPTHWISE else s.groups


cdef simd_convolution native_of(const convolution* s, Py_ssize_t n, int what) noexcept nogil:
    """Return a group's convolution of n images as native/ takes it, or the one that gives the input's gradient."""
    cdef simd_convolution c
    cdef Py_ssize_t groups = groups_of(s), channels = s.channels // groups, filters = s.filters // groups
    cdef bint is_adjoint = what == INPUT
    cdef windows w = s.w, phase
    memset(&c, 0, sizeof(c))
    c.is_adjoint = is_adjoint
    c.tile = s.forward if what == FORWARD else s.weight if what == WEIGHT else s.input
    if is_adjoint and c.tile == DEPTHWISE:
        w.height, w.width, w.out_h, w.out_w = w.out_h, w.out_w, w.height, w.width
    elif is_adjoint:
        w = adjoint_of(s.w)
    if what != WEIGHT and not s.is_forced:
        c.tile = for_images(c.tile, n, w, channels * filters)
    c.groups = c.outputs.groups = groups
    c.channels = filters if is_adjoint else channels
    c.filters = channels if is_adjoint else filters
    c.n, c.height, c.width, c.out_h, c.out_w = n, w.height, w.width, w.out_h, w.out_w
    c.dilation_h = c.dilation_w = c.phases_h = c.phases_w = 1
    if c.tile == DEPTHWISE:
        c.dilation_h, c.dilation_w = w.dilation_h, w.dilation_w
    elif w.dilation_h > 1 or w.dilation_w > 1:
        phase = phase_of(w)
        c.phases_h, c.phases_w, c.whole_h, c.whole_w = w.dilation_h, w.dilation_w, w.out_h, w.out_w
        c.n, c.out_h, c.out_w = n * w.dilation_h * w.dilation_w, phase.out_h, phase.out_w
    c.kernel_h, c.kernel_w, c.stride_h, c.stride_w = w.kernel_h, w.kernel_w, w.stride_h, w.stride_w
    c.padding_h, c.padding_w, c.x_channels_last = w.padding_h, w.padding_w, s.x_channels_last
    c.outputs.filters, c.outputs.height, c.outputs.width = filters, s.w.out_h, s.w.out_w
    c.outputs.channels_last, c.outputs.slope, c.outputs.pool = s.y_channels_last, s.slope, s.pool
    return c


POOLS = {None: SIMD_POOL_NONE, "max": SIMD_POOL_MAX, "average": SIMD_POOL_AVERAGE}


cdef class Convolution:
    """The geometry of a convolution, for the instruction set in use when it is made.

    One whose filters see a channel each is computed as such, and another one that is dilated by im2col if it has a
    stride or more dilation than pixels. Otherwise the algorithms are chosen by kernels/algorithms.pxi, for the shape of
    a group and of a phase, without Winograd's if `winograd` is False. For tests and benchmarks `algorithm` forces one
    where it is possible, and `block_rows` how many output rows im2col does at a time.

    A fused convolution computes more in the same pass. What is not positive is multiplied by `slope`, so that 0 is
    ReLU, and then windows of 2x2 are pooled: `pool` is "max" or "average". x and dx are (N, H, W, C) with
    `x_channels_last`, y and dy are (N, OH, OW, F) with `y_channels_last`. It needs float32, an instruction set, images
    of at least one pixel and, if it is not depthwise, one group, no dilation and, for dx, a stride of 1.

    The padding is that above and to the left. `out_h` and `out_w` are the size of the convolution's output, before any
    pooling; 0 stands for the size that it has with as much padding below and to the right.
    """

    cdef convolution s

    def __cinit__(
        self, bint is_float, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, Py_ssize_t filters,
        Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
        Py_ssize_t padding_h, Py_ssize_t padding_w, *, Py_ssize_t out_h=0, Py_ssize_t out_w=0,
        Py_ssize_t dilation_h=1, Py_ssize_t dilation_w=1, Py_ssize_t groups=1, bint winograd=True,
        str algorithm=None, Py_ssize_t block_rows=0, bint x_channels_last=False, bint y_channels_last=False,
        double slope=1, str pool=None,
    ):
        cdef const simd_level* level = level_in_use if is_float else NULL
        cdef windows w = windows_of(
            height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w,
            out_h or outputs_along(height, kernel_h, stride_h, padding_h, dilation_h),
            out_w or outputs_along(width, kernel_w, stride_w, padding_w, dilation_w), dilation_h, dilation_w,
        )
        cdef bint is_dilated = dilation_h != 1 or dilation_w != 1
        cdef Py_ssize_t of_group = channels // groups, filters_of_group = filters // groups
        self.s.groups = groups
        self.s.level, self.s.itemsize = level, sizeof(float) if is_float else sizeof(double)
        self.s.channels, self.s.filters, self.s.w = channels, filters, w
        self.s.block = min(block_rows, w.out_h) if block_rows else even_block(
            channels * kernel_h * kernel_w, w.out_h, w.out_w
        )
        cdef bint is_fused = x_channels_last or y_channels_last or slope != 1 or pool is not None
        self.s.x_channels_last, self.s.y_channels_last = x_channels_last, y_channels_last
        self.s.slope, self.s.pool = slope, POOLS[pool]
        cdef bint as_depthwise = algorithm in (None, "depthwise") and is_depthwise(&self.s)
        cdef bint is_plain = groups == 1 and not is_dilated
        if is_fused and (level == NULL or height * width == 0 or not is_plain and not as_depthwise):
            raise ValueError(
                "Convolution: expected float32, an instruction set, images of at least one pixel, and one group "
                "without dilation or as many as channels and filters for a fused convolution, got "
                f"{'float32' if is_float else 'float64'}, {instruction_set()}, "
                f"{height}x{width} pixels, {groups} groups and the dilation ({dilation_h}, {dilation_w}); compute "
                "activation and pooling by their own functions"
            )
        # Whether vectors may hold columns. By im2col all groups are one piece of work, which is less for small ones.
        cdef bint is_planar = level != NULL and not is_dilated and stride_h == stride_w == 1 and not x_channels_last
        cdef bint planar_outputs = is_planar and (groups == 1 or filters_of_group >= LEAST_FILTERS)
        cdef bint planar_inputs = is_planar and (groups == 1 or of_group >= LEAST_FILTERS)
        cdef int wanted
        cdef bint has_phases = (
            stride_h == stride_w == 1 and dilation_h <= min(w.out_h, height) and dilation_w <= min(w.out_w, width)
        )
        if is_dilated and has_phases:
            w = phase_of(w)                      # its shape decides the algorithms
        if as_depthwise:
            self.s.forward = self.s.weight = self.s.input = DEPTHWISE
        elif is_dilated and not has_phases:
            self.s.forward = self.s.weight = self.s.input = IM2COL
        elif algorithm is None:
            self.s.forward = forward_algorithm(level, w, of_group, filters_of_group, winograd, is_fused, planar_outputs)
            self.s.weight = weight_algorithm(
                level, w, of_group, filters_of_group, winograd, is_fused, self.s.pool, slope, planar_outputs
            )
            self.s.input = input_algorithm(level, w, of_group, filters_of_group, winograd, is_fused, planar_inputs)
        else:
            self.s.is_forced = True
            wanted = ALGORITHMS[algorithm]
            self.s.forward = possible(level, w, wanted, is_planar and not is_fused, False)
            self.s.weight = possible(level, w, wanted, is_planar, is_pooled_possible(w, self.s.pool))
            self.s.input = possible_input(level, w, wanted, is_planar)
            if is_fused and (self.s.forward == IM2COL or self.s.weight == IM2COL):
                raise ValueError(f"Convolution: expected an algorithm that can be fused, got {algorithm!r}")

    @property
    def out_h(self):
        """Rows of the output."""
        return self.s.w.out_h

    @property
    def out_w(self):
        """Columns of the output."""
        return self.s.w.out_w

    @property
    def block_rows(self):
        """Output rows that im2col does at a time."""
        return self.s.block

    def algorithms(self, n=None):
        """Return how the output, the weight's gradient and the input's are computed: of n images, None for many."""
        cdef Py_ssize_t count = 1 << 30 if n is None else max(n, 1)
        return tuple([name_of(native_of(&self.s, count, what).tile) for what in (FORWARD, WEIGHT, INPUT)])

    def im2col_scratch(self):
        """Return how many bytes of scratch memory `im2col` and `col2im` need."""
        return LINE + phases_total(self.s.w) * self.s.itemsize

    def forward_scratch(self, Py_ssize_t n, int threads, bint is_packed=False):
        """Return how many bytes of scratch memory `conv2d_forward` needs for exactly n images.

        If `is_packed`, it is given the packed weight; `conv2d_pack` needs as much.
        """
        cdef memory_plan plan = plan_of(&self.s, False)
        cdef simd_convolution c
        if self.s.forward == IM2COL:
            return LINE + threads * (plan.phases + plan.cols)
        c = native_of(&self.s, max(n, 1), FORWARD)
        if is_packed:
            c.packed = <float*>&c                # not NULL; it is not read
        return simd_forward_scratch(self.s.level, &c, threads)

    def packed_size(self, Py_ssize_t n):
        """Return how many bytes `conv2d_pack` writes for the forward pass of exactly n images; none by im2col."""
        cdef simd_convolution c
        if self.s.forward == IM2COL:
            return 0
        return LINE + groups_of(&self.s) * packed_of_group(&self.s, n)

    def backward_scratch(self, Py_ssize_t n, int threads, bint need_dx):
        """Return how many bytes of scratch memory `conv2d_backward` needs for exactly n images."""
        cdef simd_convolution c
        cdef Py_ssize_t size = LINE
        if self.s.weight == IM2COL:
            size = columns_scratch(&self.s, n, threads, True)
        if need_dx and self.s.input == IM2COL:
            size = max(size, columns_scratch(&self.s, n, threads, False))
        if self.s.weight != IM2COL:
            c = native_of(&self.s, max(n, 1), WEIGHT)
            size = max(size, simd_gradients_scratch(self.s.level, &c, threads))
        if need_dx and self.s.input != IM2COL:
            c = native_of(&self.s, max(n, 1), INPUT)
            size = max(size, simd_forward_scratch(self.s.level, &c, threads))
        return size


cdef inline Py_ssize_t packed_of_group(const convolution* s, Py_ssize_t n) noexcept nogil:
    """Return how many bytes the packed weight of a group has, for n images."""
    cdef simd_convolution c = native_of(s, max(n, 1), FORWARD)
    return in_lines(simd_packed_size(s.level, &c) * <Py_ssize_t>sizeof(float))


cdef simd_convolution group_of(const convolution* s, simd_convolution c, Py_ssize_t group) noexcept nogil:
    """Return the convolution of a group, from one whose arrays are those of the first group."""
    cdef Py_ssize_t filters = s.filters // s.groups, outputs = group * filters * s.w.out_h * s.w.out_w
    cdef Py_ssize_t weights = group * filters * taps_of(s)
    c.x += group * (s.channels // s.groups) * s.w.height * s.w.width
    if c.weight != NULL:
        c.weight += weights
    if c.packed != NULL:
        c.packed += group * packed_of_group(s, c.n // (c.phases_h * c.phases_w)) // <Py_ssize_t>sizeof(float)
    if c.dweight != NULL:
        c.dweight, c.dbias = c.dweight + weights, c.dbias + group * filters
    if c.outputs.bias != NULL:
        c.outputs.bias, c.outputs.y = c.outputs.bias + group * filters, c.outputs.y + outputs
    if c.outputs.dy != NULL:
        c.outputs.dy += outputs
    return c


cdef name_of(int algorithm):
    """Return the name of an algorithm."""
    return {number: name for name, number in ALGORITHMS.items()}[algorithm]
