"""The instruction sets of native/levels.h, by name, and the one in use."""

cdef extern from "simd.h" nogil:
    ctypedef struct simd_direct:
        Py_ssize_t filters, channels, kernel_h, kernel_w, rows, columns, stride_h, padding_h, height
        Py_ssize_t x_step, y_step
        const float* weight
        const float* x
        const Py_ssize_t* offsets
        const float* bias
        float* y
        const float* dy
        float* dweight
        float* dbias
    ctypedef struct simd_level:              # an instruction set, and what was compiled for it
        const char* name
        int (*runs)() noexcept nogil
        Py_ssize_t lanes
        const simd_level* narrower
        void (*transpose)(const float* x, Py_ssize_t x_step, Py_ssize_t rows, Py_ssize_t columns, float* y,
                          Py_ssize_t y_step) noexcept nogil
        void (*direct)(const simd_direct*) noexcept nogil
        void (*direct_gradients)(const simd_direct*) noexcept nogil
        void (*copy_rows)(const float* x, Py_ssize_t x_step, float* y, Py_ssize_t rows,
                          Py_ssize_t columns) noexcept nogil
        void (*accumulate)(const float* x, Py_ssize_t x_step, Py_ssize_t shifts, float* y, Py_ssize_t y_step,
                           Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    const simd_level* const* simd_levels
    const int SIMD_BUILT, SIMD_ALONE
    const char* SIMD_COMPILER

# What built this module.
COMPILER = SIMD_COMPILER.decode()
# The instruction sets that were built, and those that this processor runs, the slowest first: "none" is the loops in
# Cython alone, which float64 always takes.
BUILT = tuple([simd_levels[i].name.decode() for i in range(SIMD_BUILT)])
INSTRUCTION_SETS = ("none", *[simd_levels[i].name.decode() for i in range(SIMD_BUILT) if simd_levels[i].runs()])

# NULL for "none"; read while the GIL is held.
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
    return "none" if level_in_use == NULL else level_in_use.name.decode()


use_instruction_set(INSTRUCTION_SETS[len(INSTRUCTION_SETS) - 1])
