/* What all tiles are made of, for one level: vectors, shuffles, transposition, and the search for what is not 0. */

/* ---------------------------------------------------------------------------- the same for all levels, read once */

#ifndef SIMD_SHUFFLE

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define SIMD_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SIMD_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

#define FLOATS SIMD_NAME(floats)
#define INTS SIMD_NAME(ints)
#define BYTES SIMD_NAME(bytes)

typedef int32_t simd_offset __attribute__((may_alias));
typedef float simd_four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t simd_four_ints __attribute__((vector_size(16)));
typedef int32_t simd_eight_ints __attribute__((vector_size(32)));
typedef float simd_eight __attribute__((vector_size(32), aligned(4), may_alias));

/* do(1) do(2) ... do(count), for a constant of at most 16. */
#define SIMD_UP_TO(count, do) SIMD_PASTE(SIMD_UP_TO, count)(do)
#define SIMD_UP_TO_1(do) do(1)
#define SIMD_UP_TO_2(do) SIMD_UP_TO_1(do) do(2)
#define SIMD_UP_TO_3(do) SIMD_UP_TO_2(do) do(3)
#define SIMD_UP_TO_4(do) SIMD_UP_TO_3(do) do(4)
#define SIMD_UP_TO_5(do) SIMD_UP_TO_4(do) do(5)
#define SIMD_UP_TO_6(do) SIMD_UP_TO_5(do) do(6)
#define SIMD_UP_TO_7(do) SIMD_UP_TO_6(do) do(7)
#define SIMD_UP_TO_8(do) SIMD_UP_TO_7(do) do(8)
#define SIMD_UP_TO_9(do) SIMD_UP_TO_8(do) do(9)
#define SIMD_UP_TO_10(do) SIMD_UP_TO_9(do) do(10)
#define SIMD_UP_TO_11(do) SIMD_UP_TO_10(do) do(11)
#define SIMD_UP_TO_12(do) SIMD_UP_TO_11(do) do(12)
#define SIMD_UP_TO_13(do) SIMD_UP_TO_12(do) do(13)
#define SIMD_UP_TO_14(do) SIMD_UP_TO_13(do) do(14)
#define SIMD_UP_TO_15(do) SIMD_UP_TO_14(do) do(15)
#define SIMD_UP_TO_16(do) SIMD_UP_TO_15(do) do(16)

/* Most elements whose numbers `gather` writes at a time: a number is a byte. */
#define GATHER_SIZE 192

#endif

/* --------------------------------------------------------------------------------------------------- the vectors */

typedef float FLOATS __attribute__((vector_size(4 * SIMD_LANES), aligned(4), may_alias));
typedef int32_t INTS __attribute__((vector_size(4 * SIMD_LANES)));
typedef uint8_t BYTES __attribute__((vector_size(SIMD_LANES)));

/* ------------------------------------------------------------------------------------------------- transposition */

/* The transposition of four rows of 4 floats. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(transpose_4)(
    const float *row0, const float *row1, const float *row2, const float *row3, float *to, ptrdiff_t to_step) {
    const simd_four r0 = *(const simd_four *)row0, r1 = *(const simd_four *)row1;
    const simd_four r2 = *(const simd_four *)row2, r3 = *(const simd_four *)row3;
    const simd_four t0 = SIMD_SHUFFLE(simd_four_ints, r0, r1, 0, 4, 1, 5);
    const simd_four t1 = SIMD_SHUFFLE(simd_four_ints, r0, r1, 2, 6, 3, 7);
    const simd_four t2 = SIMD_SHUFFLE(simd_four_ints, r2, r3, 0, 4, 1, 5);
    const simd_four t3 = SIMD_SHUFFLE(simd_four_ints, r2, r3, 2, 6, 3, 7);
    *(simd_four *)to = SIMD_SHUFFLE(simd_four_ints, t0, t2, 0, 1, 4, 5);
    *(simd_four *)(to + to_step) = SIMD_SHUFFLE(simd_four_ints, t0, t2, 2, 3, 6, 7);
    *(simd_four *)(to + 2 * to_step) = SIMD_SHUFFLE(simd_four_ints, t1, t3, 0, 1, 4, 5);
    *(simd_four *)(to + 3 * to_step) = SIMD_SHUFFLE(simd_four_ints, t1, t3, 2, 3, 6, 7);
}

#if SIMD_LANES == 4
#define TRANSPOSE_EDGE 4
#define TRANSPOSE_BLOCK(from, from_step, to, to_step)                                                                  \
    SIMD_NAME(transpose_4)(from, (from) + from_step, (from) + 2 * from_step, (from) + 3 * from_step, to, to_step)
#else
#define TRANSPOSE_EDGE 8
#define TRANSPOSE_BLOCK(from, from_step, to, to_step) SIMD_NAME(transpose_8)(from, from_step, to, to_step)

/* The transposition of eight rows of 8 floats: pairs, then fours, then eights change places. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(transpose_8)(
    const float *from, ptrdiff_t from_step, float *to, ptrdiff_t to_step) {
    simd_eight r[8], t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = *(const simd_eight *)(from + i * from_step);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = SIMD_SHUFFLE(simd_eight_ints, r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        t[i + 1] = SIMD_SHUFFLE(simd_eight_ints, r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = SIMD_SHUFFLE(simd_eight_ints, t[i + j], t[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + 2 * j + 1] = SIMD_SHUFFLE(simd_eight_ints, t[i + j], t[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        *(simd_eight *)(to + i * to_step) = SIMD_SHUFFLE(simd_eight_ints, r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(simd_eight *)(to + (i + 4) * to_step) =
            SIMD_SHUFFLE(simd_eight_ints, r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
#endif

/* to[j][i] = from[i][j] for i < rows and j < columns, in blocks. Walks along the longer rows of the two. */
SIMD_TARGET static void SIMD_NAME(transpose)(const float *from, ptrdiff_t from_step, ptrdiff_t rows, ptrdiff_t columns,
                                             float *to, ptrdiff_t to_step) {
    enum { EDGE = TRANSPOSE_EDGE };
    const ptrdiff_t whole_rows = rows / EDGE * EDGE, whole_columns = columns / EDGE * EDGE;
    const int by_columns = to_step > from_step;
    for (ptrdiff_t outer = 0; outer < (by_columns ? whole_columns : whole_rows); outer += EDGE) {
        for (ptrdiff_t inner = 0; inner < (by_columns ? whole_rows : whole_columns); inner += EDGE) {
            const ptrdiff_t i = by_columns ? inner : outer, j = by_columns ? outer : inner;
            TRANSPOSE_BLOCK(from + i * from_step + j, from_step, to + j * to_step + i, to_step);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = i < whole_rows ? whole_columns : 0; j < columns; j++)
            to[j * to_step + i] = from[i * from_step + j];
}

#undef TRANSPOSE_EDGE
#undef TRANSPOSE_BLOCK

/* -------------------------------------------------------------------------------------------------- what is not 0 */

/* Write the numbers of the flags, `size` bytes of 0 or 1, that are 1; return how many. 64 flags become the bits of a
 * word, and these are taken one by one: a loop that writes each number and steps on by the flag is several times slower
 * where few flags are 1.
 */
SIMD_TARGET static inline int SIMD_NAME(find)(const uint8_t *flags, ptrdiff_t size, uint8_t *numbers) {
    int count = 0;
    for (ptrdiff_t first = 0; first < size; first += 64) {
        uint64_t mask = 0;
        for (ptrdiff_t i = first; i < simd_least(first + 64, size); i += 8) {
            uint64_t eight = 0;
            memcpy(&eight, flags + i, (size_t)simd_least(size - i, 8));
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            eight = __builtin_bswap64(eight);
#endif
            mask |= (eight * UINT64_C(0x0102040810204080) >> 56) << (i - first);
        }
        for (; mask; mask &= mask - 1) numbers[count++] = (uint8_t)(first + __builtin_ctzll(mask));
    }
    return count;
}

/* Write the numbers of the elements of x that are not 0, and their values; return how many. `size` is at most
 * GATHER_SIZE, and both outputs have room for it as a multiple of 16. AVX-512 has an instruction for it; with AVX2 a
 * table tells how the nonzeros of four elements move together.
 */
SIMD_TARGET static int SIMD_NAME(gather)(const float *x, ptrdiff_t size, uint8_t *numbers, float *values) {
    int count = 0;
#if defined(SIMD_AVX512)
    __m512i sixteen = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (ptrdiff_t i = 0; i < size; i += 16, sixteen = _mm512_add_epi32(sixteen, _mm512_set1_epi32(16))) {
        const __mmask16 inside = (__mmask16)(size - i < 16 ? (1 << (size - i)) - 1 : 0xffff);
        const __m512 some = _mm512_maskz_loadu_ps(inside, x + i);
        const __mmask16 wanted = _mm512_cmp_ps_mask(some, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        /* GCC 12 may keep the 16 bits of a mask in memory and count the ones of 32; this makes it take a copy. */
        unsigned bits = wanted;
        __asm__("" : "+r"(bits));
        _mm512_storeu_ps(values + count, _mm512_maskz_compress_ps(wanted, some));
        _mm_storeu_si128((__m128i *)(numbers + count),
                         _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(wanted, sixteen)));
        count += __builtin_popcount(bits);
    }
#elif defined(SIMD_AVX2)
    /* The numbers of the bits that are 1, in order, a byte each. */
    static const uint32_t bits[16] = {0,       0,       0x1,     0x100,     0x2,     0x200,     0x201,     0x20100,
                                      0x3,     0x300,   0x301,   0x30100,   0x302,   0x30200,   0x30201,   0x3020100};
    ptrdiff_t i = 0;
    for (; i + 4 <= size; i += 4) {
        const __m128 some = _mm_loadu_ps(x + i);
        const int wanted = _mm_movemask_ps(_mm_cmpneq_ps(some, _mm_setzero_ps()));
        const __m128i from = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)bits[wanted]));
        const uint32_t four = bits[wanted] + 0x01010101 * (uint32_t)i;
        _mm_storeu_ps(values + count, _mm_permutevar_ps(some, from));
        memcpy(numbers + count, &four, sizeof four);
        count += __builtin_popcount((unsigned)wanted);
    }
    for (; i < size; i++)
        if (x[i] != 0) values[count] = x[i], numbers[count++] = (uint8_t)i;
#else
    uint8_t flags[GATHER_SIZE];
    for (ptrdiff_t i = 0; i < size; i++) flags[i] = x[i] != 0;
    count = SIMD_NAME(find)(flags, size, numbers);
    for (int i = 0; i < count; i++) values[i] = x[numbers[i]];
#endif
    return count;
}
