"""The instruction sets of native/levels.h, by name, and the one in use."""

cdef extern from "simd.h" nogil:
    ctypedef enum simd_rule_kind:
        SIMD_SGD, SIMD_MOMENTUM, SIMD_NESTEROV, SIMD_RMSPROP, SIMD_ADADELTA, SIMD_ADAM
    ctypedef struct simd_rule:               # how an optimizer updates a parameter
        simd_rule_kind kind
        double rate, decay1, decay2, epsilon, correction, shrink, l2
    ctypedef enum simd_smooth_kind:
        SIMD_NORMAL_GATE, SIMD_SIGMOID_GATE, SIMD_SIGMOID, SIMD_TANH
    ctypedef struct simd_smooth:         # a smooth activation function
        simd_smooth_kind kind
        double linear, cubic
    ctypedef struct simd_norm:               # the factors of a batch normalization
        Py_ssize_t channels
        float slope
        const float* scale
        const float* mean
        const float* bias
        const float* of_x
        const float* constant
    ctypedef struct simd_level:              # an instruction set, and what was compiled for it
        const char* name
        int (*runs)() noexcept nogil
        Py_ssize_t lanes
        void (*update)(const simd_rule* rule, Py_ssize_t size, const float* grad, float* param, float* first,
                       float* second) noexcept nogil
        void (*smooth_forward)(const simd_smooth* s, Py_ssize_t size, const float* x, float* y) noexcept nogil
        void (*smooth_backward)(const simd_smooth* s, Py_ssize_t size, const float* dy, const float* x,
                                float* dx) noexcept nogil
        void (*norm_moments)(const float* x, Py_ssize_t rows, Py_ssize_t channels, float* mean,
                             float* squares) noexcept nogil
        void (*norm_write)(const simd_norm* s, const float* x, Py_ssize_t rows, float* y) noexcept nogil
        void (*norm_sums)(const simd_norm* s, const float* x, const float* dy, Py_ssize_t rows, float* sums,
                          float* products) noexcept nogil
        void (*norm_write_dx)(const simd_norm* s, const float* x, const float* dy, Py_ssize_t rows,
                              float* dx) noexcept nogil
        void (*pool_image)(const float* x, Py_ssize_t pixels, Py_ssize_t channels, float* y,
                           int32_t* pixel) noexcept nogil
        void (*transpose)(const float* x, Py_ssize_t x_step, Py_ssize_t rows, Py_ssize_t columns, float* y,
                          Py_ssize_t y_step) noexcept nogil
        void (*copy_rows)(const float* x, Py_ssize_t x_step, float* y, Py_ssize_t rows,
                          Py_ssize_t columns) noexcept nogil
        void (*accumulate)(const float* x, Py_ssize_t x_step, Py_ssize_t shifts, float* y, Py_ssize_t y_step,
                           Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    ctypedef enum simd_pooling:
        SIMD_POOL_NONE, SIMD_POOL_MAX, SIMD_POOL_AVERAGE
    const int POOLED_WINDOWS, DEPTHWISE_TAPS
    const simd_level* simd_level_for(const simd_level* level, Py_ssize_t floats) noexcept
    ctypedef struct simd_outputs:
        Py_ssize_t filters, height, width, groups
        int channels_last
        float slope
        simd_pooling pool
        const float* bias
        float* y
        const float* dy
        uint8_t* codes
    ctypedef struct simd_convolution:
        Py_ssize_t n, channels, height, width, filters, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w
        Py_ssize_t dilation_h, dilation_w, phases_h, phases_w, whole_h, whole_w, out_h, out_w, groups
        int tile, is_adjoint, x_channels_last
        float* x
        const float* weight
        float* packed
        float* dweight
        float* dbias
        simd_outputs outputs
        uint8_t* scratch
    Py_ssize_t simd_forward_scratch(const simd_level* level, const simd_convolution* s, int threads) noexcept
    Py_ssize_t simd_gradients_scratch(const simd_level* level, const simd_convolution* s, int threads) noexcept
    Py_ssize_t simd_packed_size(const simd_level* level, const simd_convolution* s) noexcept
    void simd_convolution_pack(const simd_level* level, const simd_convolution* s, int threads) noexcept
    void simd_convolution_forward(const simd_level* level, const simd_convolution* s, int threads) noexcept
    void simd_convolution_gradients(const simd_level* level, const simd_convolution* s, int threads) noexcept
    const simd_level* const* simd_levels
    double simd_peak(const simd_level* level, Py_ssize_t repeats, int threads) noexcept
    const int SIMD_BUILT, SIMD_ALONE, SIMD_GROUPS, SIMD_GROUPS_BYTES
    const char* SIMD_COMPILER

# What built this module.
COMPILER = SIMD_COMPILER.decode()
# The instruction sets that were built, and those that this processor runs, the slowest first: "none" is the loops in
# Cython alone, which float64 always takes.
BUILT = tuple([simd_levels[i].name.decode() for i in range(SIMD_BUILT)])
INSTRUCTION_SETS = ("none", *[simd_levels[i].name.decode() for i in range(SIMD_BUILT) if simd_levels[i].runs()])

# NULL for "none". A kernel reads it once. Nothing may compute while it is set: scratch memory is made for one set.
cdef const simd_level* level_in_use = NULL


def use_instruction_set(str name not None):
    """Take an instruction set, one of INSTRUCTION_SETS, for the whole process."""
    global level_in_use
    cdef const simd_level* level = NULL
    cdef int i
    if name not in INSTRUCTION_SETS:
        raise ValueError(f"expected one of {', '.join(INSTRUCTION_SETS)} on this machine, got {name!r}")
    for i in range(SIMD_BUILT):
        if simd_levels[i].name.decode() == name:
            level = simd_levels[i]
    level_in_use = level


def instruction_set():
    """Return the name of the instruction set in use."""
    cdef const simd_level* level = level_in_use
    return "none" if level == NULL else level.name.decode()


use_instruction_set(INSTRUCTION_SETS[len(INSTRUCTION_SETS) - 1])


def multiply_adds(Py_ssize_t repeats, int threads):
    """Do independent multiply-adds in registers, at the instruction set in use, and return how many operations.

    With the time that they take, they tell the peak of so many threads; 0 with the instruction set none.
    """
    cdef const simd_level* level = level_in_use
    cdef double done = 0
    if level != NULL:
        with nogil:
            done = simd_peak(level, repeats, threads)
    return done
