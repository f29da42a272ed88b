"""The weight of a convolution as its algorithm reads it, to be kept for several calls."""


def conv2d_pack(
    Convolution s not None,
    Py_ssize_t n,
    const float[:, :, :, ::1] weight not None,       # IN (F, C / groups, KH, KW)
    uint8_t[::1] packed not None,                    # OUT (s.packed_size(n),), which must not be 0
    uint8_t[::1] scratch not None,                   # SCRATCH (s.forward_scratch(n, threads),)
    int threads,
):
    """Write the weight as `conv2d_forward` reads it for n images, transformed where that is by Winograd's algorithm."""
    cdef simd_convolution native = native_of(&s.s, n, FORWARD), of_group
    cdef Py_ssize_t group
    native.weight, native.packed, native.scratch = &weight[0, 0, 0, 0], <float*>at_line(&packed[0]), &scratch[0]
    with nogil:
        for group in range(groups_of(&s.s)):
            of_group = group_of(&s.s, native, group)
            simd_convolution_pack(s.s.level, &of_group, threads)


def are_equal(
    const uint8_t[::1] a not None,                   # IN (M,)
    const uint8_t[::1] b not None,                   # IN (M,)
):
    """Return whether two arrays have the same bytes."""
    cdef Py_ssize_t size = a.shape[0]
    cdef bint found
    with nogil:
        found = size == 0 or memcmp(&a[0], &b[0], size) == 0
    return found
