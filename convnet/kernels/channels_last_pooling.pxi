"""Pooling alone, of images channels last, in float32 with an instruction set: of 2x2 windows, or of whole images."""

cdef extern from "simd.h" nogil:
    Py_ssize_t simd_pooling_size(const simd_outputs* outputs) noexcept
    void simd_pooling_forward(
        const simd_level* level, const simd_outputs* outputs, const float* x, Py_ssize_t n, float* memory, int threads
    ) noexcept
    void simd_pooling_backward(
        const simd_level* level, const simd_outputs* outputs, float* dx, Py_ssize_t n, float* memory, int threads
    ) noexcept


cdef class ChannelsLastPooling:
    """The geometry of a pooling of 2x2 windows of images (H, W, C), "max" or "average".

    What is pooled is (N, H // 2, W // 2, C) with `y_channels_last`, else (N, C, H // 2, W // 2). `codes` say which way
    the gradients take: (N, H // 2, W // 2, C).
    """

    cdef simd_outputs o

    def __cinit__(
        self, str pool, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, bint y_channels_last,
    ):
        memset(&self.o, 0, sizeof(self.o))
        self.o.filters, self.o.height, self.o.width, self.o.slope = channels, height, width, 1
        self.o.channels_last, self.o.groups, self.o.pool = y_channels_last, 1, POOLS[pool]

    def scratch(self, int threads):
        """Return how many float32 the functions below need as scratch memory."""
        return self.o.filters + threads * simd_pooling_size(&self.o)


def pool_channels_last_forward(
    ChannelsLastPooling s not None,
    const float[:, :, :, ::1] x not None,        # IN (N, H, W, C)
    float[:, :, :, ::1] y not None,              # OUT
    uint8_t[:, :, :, ::1] codes,                 # OUT, or None
    float[::1] scratch not None,                 # SCRATCH (s.scratch(threads),)
    int threads,
):
    """y = the largest element or the mean of each window."""
    cdef simd_outputs o = s.o
    cdef const simd_level* level = level_in_use
    if y.shape[0] == 0 or y.shape[1] == 0 or y.shape[2] == 0 or y.shape[3] == 0:
        return
    o.bias, o.y, o.codes = &scratch[0], &y[0, 0, 0, 0], NULL if codes is None else &codes[0, 0, 0, 0]
    with nogil:
        memset(&scratch[0], 0, o.filters * sizeof(float))
        simd_pooling_forward(level, &o, &x[0, 0, 0, 0], x.shape[0], &scratch[0] + o.filters, threads)


def pool_channels_last_backward(
    ChannelsLastPooling s not None,
    const float[:, :, :, ::1] dy not None,       # IN, like y
    const uint8_t[:, :, :, ::1] codes not None,  # IN, from the forward pass
    float[:, :, :, ::1] dx not None,             # OUT (N, H, W, C)
    float[::1] scratch not None,                 # SCRATCH (s.scratch(threads),)
    int threads,
):
    """dx = the gradient of the window that a pixel lies in, where it is the maximum, or a quarter of it."""
    cdef simd_outputs o = s.o
    cdef const simd_level* level = level_in_use
    if dy.shape[0] == 0 or dy.shape[1] == 0 or dy.shape[2] == 0 or dy.shape[3] == 0:
        dx[:, :, :, :] = 0
        return
    o.dy, o.codes = &dy[0, 0, 0, 0], <uint8_t*>&codes[0, 0, 0, 0]
    with nogil:
        simd_pooling_backward(level, &o, &dx[0, 0, 0, 0], dx.shape[0], &scratch[0] + o.filters, threads)


cdef struct image_pooling_job:
    const simd_level* level
    const float* x
    const float* dy
    float* y
    float* dx
    int32_t* pixel                           # NULL if nobody asks
    Py_ssize_t pixels, channels


cdef void pool_image_task(void* job, Py_ssize_t n, int slot) noexcept nogil:
    cdef image_pooling_job* j = <image_pooling_job*>job
    j.level.pool_image(
        j.x + n * j.pixels * j.channels, j.pixels, j.channels, j.y + n * j.channels,
        NULL if j.pixel == NULL else j.pixel + n * j.channels,
    )


cdef void pool_image_gradient_task(void* job, Py_ssize_t n, int slot) noexcept nogil:
    cdef image_pooling_job* j = <image_pooling_job*>job
    cdef float* image = j.dx + n * j.pixels * j.channels
    cdef Py_ssize_t c, first = n * j.channels
    memset(image, 0, j.pixels * j.channels * sizeof(float))
    for c in range(j.channels):
        image[j.pixel[first + c] * j.channels + c] = j.dy[first + c]


def max_pool_images_forward(
    const float[:, :, ::1] x not None,           # IN (N, P, C), the pixels of each image
    float[:, ::1] y not None,                    # OUT (N, C)
    int32_t[:, ::1] pixel,                       # OUT (N, C), the first that has the maximum, or None
    int threads,
):
    """y[n, c] = the largest of image n's elements of channel c; a NaN wins over every number."""
    cdef image_pooling_job job
    if x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0:
        return
    job.level, job.x, job.y, job.pixels, job.channels = level_in_use, &x[0, 0, 0], &y[0, 0], x.shape[1], x.shape[2]
    job.pixel = NULL if pixel is None else &pixel[0, 0]
    if x.shape[0] * x.shape[1] * x.shape[2] < SIMD_ALONE:
        threads = 1
    with nogil:
        pool_run(<pool_function>pool_image_task, &job, x.shape[0], threads)


def max_pool_images_backward(
    const float[:, ::1] dy not None,             # IN (N, C)
    const int32_t[:, ::1] pixel not None,        # IN (N, C), from the forward pass
    float[:, :, ::1] dx not None,                # OUT (N, P, C)
    int threads,
):
    """dx[n, pixel[n, c], c] = dy[n, c], 0 elsewhere."""
    cdef image_pooling_job job
    if dx.shape[0] == 0 or dx.shape[1] == 0 or dx.shape[2] == 0:
        return
    job.dy, job.dx, job.pixels, job.channels = &dy[0, 0], &dx[0, 0, 0], dx.shape[1], dx.shape[2]
    job.pixel = <int32_t*>&pixel[0, 0]
    if dx.shape[0] * dx.shape[1] * dx.shape[2] < SIMD_ALONE:
        threads = 1
    with nogil:
        pool_run(<pool_function>pool_image_gradient_task, &job, dx.shape[0], threads)
