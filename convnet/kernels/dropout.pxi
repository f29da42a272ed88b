"""Dropout: which elements are kept, drawn from a counter-based generator, and what becomes of them.

Philox4x32-10 makes four random words of 32 bits of a key and a counter. Word i % 4 of counter i // 4 belongs to element
i, so that any part of the elements can be drawn alone, and the bits do not depend on how the work is divided. J. K.
Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

cdef enum:
    PHILOX_ROUNDS = 10


cdef inline void philox(uint64_t key, uint64_t counter, uint32_t* words) noexcept nogil:
    """Write the four words of a counter, whose upper 64 bits are 0."""
    cdef uint32_t c0 = <uint32_t>counter, c1 = <uint32_t>(counter >> 32), c2 = 0, c3 = 0
    cdef uint32_t k0 = <uint32_t>key, k1 = <uint32_t>(key >> 32)
    cdef uint64_t p0, p1
    cdef int i
    for i in range(PHILOX_ROUNDS):
        p0, p1 = <uint64_t>c0 * <uint32_t>0xD2511F53, <uint64_t>c2 * <uint32_t>0xCD9E8D57
        c0, c1 = <uint32_t>(p1 >> 32) ^ c1 ^ k0, <uint32_t>p1
        c2, c3 = <uint32_t>(p0 >> 32) ^ c3 ^ k1, <uint32_t>p0
        k0, k1 = k0 + <uint32_t>0x9E3779B9, k1 + <uint32_t>0xBB67AE85
    words[0], words[1], words[2], words[3] = c0, c1, c2, c3


def dropout_mask(
    uint64_t key,
    uint64_t first,                      # counter of the first four elements
    uint32_t threshold,                  # rate * 2 ** 32
    uint8_t[::1] kept not None,          # OUT (M,)
):
    """kept[i] = whether word i % 4 of counter first + i // 4 is at least the threshold."""
    cdef Py_ssize_t i, j, size = kept.shape[0], whole = size // 4
    cdef uint32_t words[4]
    with nogil:
        for i in range(whole):
            philox(key, first + <uint64_t>i, words)
            for j in range(4):
                kept[4 * i + j] = words[j] >= threshold
        if size % 4:
            philox(key, first + <uint64_t>whole, words)
            for j in range(size % 4):
                kept[4 * whole + j] = words[j] >= threshold


def dropout_scale(
    double keep_divisor,                 # 1 - rate
    const floating[::1] x not None,      # IN (M,)
    const uint8_t[::1] kept not None,    # IN (M,), 0 or 1
    floating[::1] y not None,            # OUT (M,)
):
    """y = x / keep_divisor where kept, 0 elsewhere, even where x is not finite."""
    cdef Py_ssize_t i
    cdef floating divisor = <floating>keep_divisor, quotient
    with nogil:
        for i in range(x.shape[0]):
            quotient = x[i] / divisor
            y[i] = quotient if kept[i] else 0
