"""Convolution of stride 1 + bias + ReLU + 2x2 max pooling in one pass, in float32 and with an instruction set."""

cdef extern from "simd.h" nogil:
    ctypedef struct simd_conv_relu_pool:
        Py_ssize_t n, c, h, w, f, kernel_h, kernel_w, padding_h, padding_w, padded_h, padded_w, out_h, out_w
        const float* x
        const float* weight
        const float* bias
        const float* dy
        float* padded
        float* y
        float* dweight
        float* dbias
        uint8_t* argmax
    Py_ssize_t simd_padded_size(const simd_conv_relu_pool* s) noexcept
    void simd_conv_relu_pool_forward(const simd_level* level, const simd_conv_relu_pool* s, int threads) noexcept
    void simd_conv_relu_pool_backward(const simd_level* level, const simd_conv_relu_pool* s, int threads) noexcept
    const int SIMD_MAX_KERNEL_W, SIMD_INACTIVE

# The widest filter of the fused convolution.
MAX_KERNEL_W = SIMD_MAX_KERNEL_W
# The argmax of a pooled unit where ReLU is inactive.
INACTIVE = SIMD_INACTIVE

cdef enum:
    ROW = 8                                  # floats of a row of a filter's gradient, KW of which have a meaning


cdef class ConvReLUPool:
    """The geometry of a fused convolution, for the instruction set in use when it is made, which must not be "none".

    `out_h` and `out_w` are the pooled output's.
    """

    cdef simd_conv_relu_pool s
    cdef const simd_level* level

    def __cinit__(
        self, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, Py_ssize_t filters,
        Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    ):
        if level_in_use == NULL:
            raise ValueError("ConvReLUPool: expected an instruction set in use, got 'none'")
        if kernel_w > SIMD_MAX_KERNEL_W:
            raise ValueError(f"ConvReLUPool: expected filters at most {MAX_KERNEL_W} wide, got {kernel_w}")
        memset(&self.s, 0, sizeof(self.s))
        self.level = level_in_use
        self.s.c, self.s.h, self.s.w, self.s.f = channels, height, width, filters
        self.s.kernel_h, self.s.kernel_w, self.s.padding_h, self.s.padding_w = kernel_h, kernel_w, padding_h, padding_w
        self.s.padded_h, self.s.padded_w = height + 2 * padding_h, width + 2 * padding_w
        self.s.out_h, self.s.out_w = (self.s.padded_h - kernel_h + 1) // 2, (self.s.padded_w - kernel_w + 1) // 2

    @property
    def out_h(self):
        """Rows of the output."""
        return self.s.out_h

    @property
    def out_w(self):
        """Columns of the output."""
        return self.s.out_w

    @property
    def filled(self):
        """Which part of its vectors a row of the output fills."""
        cdef Py_ssize_t lanes = self.level.lanes, vectors = (self.s.out_w + lanes - 1) // lanes
        return self.s.out_w / <double>(vectors * lanes) if vectors else 1.0

    def scratch(self, Py_ssize_t n):
        """Return how many bytes of scratch memory either pass needs for n images."""
        return LINE + padded_bytes(&self.s, n) + self.s.f * self.s.c * self.s.kernel_h * ROW * <Py_ssize_t>sizeof(float)


cdef inline Py_ssize_t padded_bytes(const simd_conv_relu_pool* s, Py_ssize_t n) noexcept nogil:
    return n * simd_padded_size(s) * <Py_ssize_t>sizeof(float)


def conv_relu_pool_forward(
    ConvReLUPool s not None,
    const float[:, :, :, ::1] x not None,        # IN (N, C, H, W)
    const float[:, :, :, ::1] weight not None,   # IN (F, C, KH, KW)
    const float[::1] bias not None,              # IN (F,)
    float[:, :, :, ::1] y not None,              # OUT (N, F, OH, OW)
    uint8_t[:, :, :, ::1] argmax not None,       # OUT (N, F, OH, OW)
    uint8_t[::1] scratch not None,               # SCRATCH (s.scratch(N),)
):
    """y = max pooling 2x2 of max(convolution of stride 1 + bias, 0); nothing else is written to memory.

    argmax: 0 to 3, the index of the first maximum in its window, row by row; INACTIVE where the maximum is at most 0.
    """
    cdef simd_conv_relu_pool job = s.s
    cdef const simd_level* level = s.level
    cdef int threads = threads_in_use
    if x.shape[0] == 0:
        return
    job.n, job.x, job.weight, job.bias = x.shape[0], &x[0, 0, 0, 0], &weight[0, 0, 0, 0], &bias[0]
    job.y, job.argmax, job.padded = &y[0, 0, 0, 0], &argmax[0, 0, 0, 0], <float*>at_line(&scratch[0])
    with nogil:
        simd_conv_relu_pool_forward(level, &job, threads)


def conv_relu_pool_backward(
    ConvReLUPool s not None,
    const float[:, :, :, ::1] dy not None,       # IN (N, F, OH, OW)
    const uint8_t[:, :, :, ::1] argmax not None,     # IN (N, F, OH, OW), from the forward pass
    const float[:, :, :, ::1] x not None,        # IN (N, C, H, W)
    float[:, :, :, ::1] dweight not None,        # OUT (F, C, KH, KW)
    float[::1] dbias not None,                   # OUT (F,)
    uint8_t[::1] scratch not None,               # SCRATCH (s.scratch(N),)
):
    """Gradients of conv_relu_pool_forward with respect to weight and bias.

    Only the maximum of each window has a gradient: dweight += dy * the patch of x under it, one of four at most that a
    dense product would multiply with.
    """
    cdef simd_conv_relu_pool job = s.s
    cdef const simd_level* level = s.level
    cdef int threads = threads_in_use
    cdef Py_ssize_t row, j, width = dweight.shape[3]
    cdef float* to
    if x.shape[0] == 0:
        dweight[:] = 0
        dbias[:] = 0
        return
    job.n, job.x, job.dy, job.argmax = x.shape[0], &x[0, 0, 0, 0], &dy[0, 0, 0, 0], <uint8_t*>&argmax[0, 0, 0, 0]
    job.padded = <float*>at_line(&scratch[0])
    job.dweight, job.dbias = job.padded + job.n * simd_padded_size(&job), &dbias[0]
    to = &dweight[0, 0, 0, 0]
    with nogil:
        simd_conv_relu_pool_backward(level, &job, threads)
        for row in range(job.f * job.c * job.kernel_h):
            for j in range(width):
                to[row * width + j] = job.dweight[row * ROW + j]


def relu_pool_forward(
    ConvReLUPool s not None,
    const float[:, :, ::1] conv not None,        # IN (P, rows, columns), P = N * F planes
    float[:, :, ::1] y not None,                 # OUT (P, OH, OW)
    uint8_t[:, :, ::1] argmax not None,          # OUT (P, OH, OW)
):
    """y = max pooling 2x2 of max(conv, 0), and argmax as conv_relu_pool_forward writes it."""
    cdef const simd_level* level = s.level
    cdef Py_ssize_t p
    if y.shape[1] == 0 or y.shape[2] == 0:
        return
    with nogil:
        for p in range(conv.shape[0]):
            level.relu_pool(&conv[p, 0, 0], conv.shape[2], y.shape[1], y.shape[2], &y[p, 0, 0], &argmax[p, 0, 0])


def relu_pool_backward(
    const float[:, :, ::1] dy not None,          # IN (P, OH, OW), P = N * F planes
    const uint8_t[:, :, ::1] argmax not None,    # IN (P, OH, OW), from conv_relu_pool_forward
    float[:, :, ::1] dconv not None,             # OUT (P, rows, columns) of the convolution's output
):
    """dconv = dy at the maximum of each window where ReLU is active, 0 elsewhere."""
    cdef Py_ssize_t p, oh, ow, index
    with nogil:
        for p in range(dy.shape[0]):
            for oh in range(dconv.shape[1]):
                for ow in range(dconv.shape[2]):
                    dconv[p, oh, ow] = 0
            for oh in range(dy.shape[1]):
                for ow in range(dy.shape[2]):
                    index = argmax[p, oh, ow]
                    if index != SIMD_INACTIVE:
                        dconv[p, 2 * oh + index // 2, 2 * ow + index % 2] = dy[p, oh, ow]
