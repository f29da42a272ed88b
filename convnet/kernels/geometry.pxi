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

cdef struct windows:
    Py_ssize_t height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, out_h, out_w
    Py_ssize_t phases_h, phases_w, rows, columns     # how many phases along each axis, and the size of each
    bint is_plain                                    # the only phase is rows of the channel itself


cdef inline windows windows_of(
    Py_ssize_t height, Py_ssize_t width, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
) noexcept nogil:
    cdef windows s
    s.height, s.width, s.kernel_h, s.kernel_w = height, width, kernel_h, kernel_w
    s.stride_h, s.stride_w, s.padding_h, s.padding_w = stride_h, stride_w, padding_h, padding_w
    s.out_h = (height + 2 * padding_h - kernel_h) // stride_h + 1
    s.out_w = (width + 2 * padding_w - kernel_w) // stride_w + 1
    s.phases_h, s.phases_w = min(kernel_h, stride_h), min(kernel_w, stride_w)
    s.rows, s.columns = s.out_h + (kernel_h - 1) // stride_h, s.out_w + (kernel_w - 1) // stride_w
    s.is_plain = stride_h == stride_w == 1 and padding_h == padding_w == 0
    return s


cdef inline windows block_of(windows s, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Return the windows of the output rows from first to end - 1 alone; their padding above may be negative."""
    s.out_h, s.rows = end - first, end - first + (s.kernel_h - 1) // s.stride_h
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
    return ((i % s.stride_h * s.rows + i // s.stride_h) * s.phases_w + j % s.stride_w) * s.columns + j // s.stride_w


cdef class Pooling:
    """The geometry of a pooling."""

    cdef windows w

    def __cinit__(
        self, Py_ssize_t height, Py_ssize_t width, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
        Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    ):
        self.w = windows_of(height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w)

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
# A convolution goes through its output a block of rows at a time, as so many convolutions of fewer output rows. `cols`
# then stays in the second-level cache, however large the images are. A block has as many rows as give `cols` at most
# BLOCK_SIZE elements, but at least BLOCK_COLUMNS columns, which count where windows are large. Direct convolutions go
# by the same blocks, which bound their memory too.
#
# The weight gradient is summed in groups of images, each on a thread, and the groups are added in order: the bits are
# the same for any number of threads. There are at most GROUPS, and at most as many as take GROUPS_BYTES together.

cdef enum:
    BLOCK_SIZE = 1 << 18
    BLOCK_COLUMNS = 192
    GROUPS = 8
    GROUPS_BYTES = 1 << 24
    LINE = 64                                # bytes of a cache line


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
    windows w
    Py_ssize_t block, adjoint_block          # output rows at a time, and rows of the input's gradient
    bint forward_is_direct, weight_is_direct, input_is_direct


cdef struct memory_plan:                     # bytes, each of whole cache lines
    Py_ssize_t packed                        # weights; all threads'
    Py_ssize_t phases, cols, offsets         # of each thread
    Py_ssize_t dweight, dbias                # of each group: (C * KH * KW, F) and (F,)


cdef memory_plan plan_of(const convolution* s, bint is_backward, bint need_dx) noexcept nogil:
    """Return how the scratch memory of a pass is divided."""
    cdef memory_plan plan
    cdef bint direct = s.weight_is_direct if is_backward else s.forward_is_direct
    cdef bint adjoint = is_backward and need_dx and s.input_is_direct
    cdef Py_ssize_t area = s.w.kernel_h * s.w.kernel_w, phases = phases_total(block_of(s.w, 0, s.block))
    plan.packed = 0
    if direct:
        phases *= s.channels
        if not is_backward:
            plan.packed = packed_size(s.level, s.filters, s.channels * area)
    if adjoint:
        plan.packed = packed_size(s.level, s.channels, s.filters * area)
        phases = max(phases, s.filters * phases_total(block_of(adjoint_of(s.w), 0, s.adjoint_block)))
    plan.packed = in_lines(plan.packed * s.itemsize)
    plan.phases = in_lines(phases * s.itemsize)
    plan.cols = 0
    if not direct or need_dx and not adjoint:
        plan.cols = in_lines(s.channels * area * s.block * s.w.out_w * s.itemsize)
    plan.offsets = 0
    if direct or adjoint:
        plan.offsets = in_lines(max(s.channels, s.filters) * area * <Py_ssize_t>sizeof(Py_ssize_t))
    plan.dweight = in_lines(s.channels * area * s.filters * s.itemsize) if is_backward else 0
    plan.dbias = in_lines(s.filters * s.itemsize) if is_backward else 0
    return plan


cdef inline Py_ssize_t groups_of(const convolution* s, Py_ssize_t n) noexcept nogil:
    """Return in how many groups of images the weight gradient is summed."""
    cdef Py_ssize_t size = s.filters * s.channels * s.w.kernel_h * s.w.kernel_w * s.itemsize
    return max(1, min(GROUPS, n, GROUPS_BYTES // size))


cdef class Convolution:
    """The geometry of a convolution, for the instruction set in use when it is made.

    `block_rows` forces how many output rows are done at a time, for tests; 0 leaves the choice here. The algorithms are
    "direct" or "im2col".
    """

    cdef convolution s

    def __cinit__(
        self, bint is_float, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, Py_ssize_t filters,
        Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
        Py_ssize_t padding_h, Py_ssize_t padding_w, Py_ssize_t block_rows=0,
    ):
        cdef const simd_level* level = level_in_use if is_float else NULL
        cdef Py_ssize_t area = kernel_h * kernel_w
        self.s.level, self.s.itemsize = level, sizeof(float) if is_float else sizeof(double)
        self.s.channels, self.s.filters = channels, filters
        self.s.w = windows_of(height, width, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w)
        if block_rows:
            self.s.block, self.s.adjoint_block = min(block_rows, self.s.w.out_h), min(block_rows, height)
        else:
            self.s.block = even_block(channels * area, self.s.w.out_h, self.s.w.out_w)
            self.s.adjoint_block = even_block(filters * area, height, width)
        self.s.weight_is_direct = is_worth_it(level, self.s.w)
        self.s.forward_is_direct = self.s.weight_is_direct and filters >= LEAST_FILTERS
        self.s.input_is_direct = is_adjoint_worth_it(level, self.s.w, channels)

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
        """Output rows that are done at a time."""
        return self.s.block

    @property
    def forward_algorithm(self):
        """How the output is computed."""
        return "direct" if self.s.forward_is_direct else "im2col"

    @property
    def weight_gradient_algorithm(self):
        """How the gradients of weight and bias are computed."""
        return "direct" if self.s.weight_is_direct else "im2col"

    @property
    def input_gradient_algorithm(self):
        """How the gradient of the input is computed."""
        return "direct" if self.s.input_is_direct else "im2col"

    def im2col_scratch(self):
        """Return how many bytes of scratch memory `im2col` and `col2im` need."""
        return LINE + phases_total(self.s.w) * self.s.itemsize

    def forward_scratch(self, Py_ssize_t threads):
        """Return how many bytes of scratch memory `conv2d_forward` needs."""
        cdef memory_plan plan = plan_of(&self.s, False, False)
        return LINE + plan.packed + threads * (plan.phases + plan.cols + plan.offsets)

    def backward_scratch(self, Py_ssize_t n, Py_ssize_t threads, bint need_dx):
        """Return how many bytes of scratch memory `conv2d_backward` needs for n images."""
        cdef memory_plan plan = plan_of(&self.s, True, need_dx)
        cdef Py_ssize_t groups = groups_of(&self.s, n)
        return LINE + plan.packed + groups * (plan.dweight + plan.dbias) + min(threads, groups) * (
            plan.phases + plan.cols + plan.offsets
        )
