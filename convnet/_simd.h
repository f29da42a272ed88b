/* Float32 tiles for named instruction sets: products of matrices, convolutions without columns, and convolution + bias
 * + ReLU + 2x2 max pooling.
 *
 * One source, _simd_level.h, is compiled for each level: 0 with vectors of 16 bytes, which every processor has or the
 * compiler emulates; 1 for AVX2 with FMA; 2 for AVX-512. simd_highest() tells the highest that this processor runs.
 * Compilers without GNU C build none of this, and simd_highest() is -1: callers then take the
 * general path in typed Cython.
 *
 * What a level has computes a block of a result on one thread; _simd_jobs.h deals the blocks out.
 */
#ifndef CONVNET_SIMD_H
#define CONVNET_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_pool.h"

/* Codes of a pooled cell: 0 to 3, where in its 2x2 window the maximum is, row by row; CLOSED where ReLU closed it. */
#define SIMD_CLOSED 4
/* Floats, of 0, that a padded image has behind the last pixel: what the widest tile reads too far. */
#define SIMD_SLACK 40
/* Widest filter that the weight gradient handles: one vector of 8 holds a row of it. */
#define SIMD_MAX_KERNEL_W 8

/* C = beta * C + alpha * A B; beta = 0 means that C is not read. */
typedef struct {
    ptrdiff_t m, n, k;      /* C is (m, n), A (m, k), B (k, n) */
    const float *a, *b;
    float *c;
    ptrdiff_t a_step, b_step, c_step;      /* floats from one row in memory to the next */
    int a_is_transposed, b_is_transposed;  /* A lies in memory as (k, m), B as (n, k) */
    int b_is_packed;        /* B was copied by product_pack */
    float alpha, beta;
    uint8_t *scratch;       /* simd_multiply_scratch(m, k, n) bytes, or NULL: the common axis stays whole, and zeros */
    const float *stream;    /* what is needed after this product, to be fetched meanwhile; may be NULL */
    ptrdiff_t stream_size;
} simd_product;

/* dx = dy weight^T and then out = decay * out - rate * x^T dy, for x (n, d) and dy (n, m); weight and out are (d, m).
 * out is the weight, which is updated then, or decay is 0 and out not read.
 */
typedef struct {
    ptrdiff_t n, d, m;
    const float *x, *dy, *weight;
    float *out, *dx;        /* dx may be NULL */
    float decay, rate;
    uint8_t *scratch;       /* simd_affine_scratch(n, d, m) bytes, at a multiple of 8 */
} simd_affine;

/* Images padded (n, c * hp * wp + SIMD_SLACK), filters weight (f, c, kh, kw), pooled output (n, f, ph, pw). */
typedef struct {
    ptrdiff_t n, c, h, w, padding_h, padding_w, hp, wp, f, kh, kw, ph, pw;
    const float *x, *weight, *bias, *dy;
    float *padded, *y, *dweight, *dbias;
    uint8_t *codes;
} simd_convolution;

/* y[f][row][column] = bias[f] + sum over taps of weight[f][tap] * x[pixels[tap] + row * x_step + column]: a convolution
 * of one image, whose taps are (channels, kernel_h, kernel_w). Row i of the kernel lies in the padding where
 * row * stride_h + i - padding_h is below 0, or height or more.
 */
typedef struct {
    ptrdiff_t filters, channels, kernel_h, kernel_w, rows, columns, stride_h, padding_h, height;
    const float *weight;    /* as simd_direct_weights packs them */
    const float *x;
    ptrdiff_t x_step;
    const ptrdiff_t *pixels;
    const float *bias;      /* may be NULL: zeros */
    float *y;
    const float *dy;        /* like y */
    ptrdiff_t y_step;       /* floats from one filter's cells to the next's */
    float *dweight, *dbias; /* (taps, filters) and (filters,) */
} simd_direct;

#if defined(__clang__)
#define SIMD_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define SIMD_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define SIMD_COMPILER "Visual C++"
#else
#define SIMD_COMPILER "unknown"
#endif

#ifdef GNU_C

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define SIMD_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SIMD_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

typedef float simd_four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t simd_four_ints __attribute__((vector_size(16)));
typedef float simd_eight __attribute__((vector_size(32), aligned(4), may_alias));

/* Length of the common axis of a product that is walked at a time; see _simd_product.h. */
#define PRODUCT_DEPTH 128
static const float simd_zeros[PRODUCT_DEPTH];

/* Columns of the widest panel. */
#define SIMD_COLUMNS 32
/* Floats of a cache line. */
#define SIMD_LINE 16

/* What a tile of a product is computed from. For every row of b that it reads, one or two lines from `fetch` on are
 * fetched, which are needed later, if it is not NULL.
 */
typedef struct {
    ptrdiff_t depth;
    const float *a;
    ptrdiff_t a_step;
    const float *b;
    ptrdiff_t b_step;
    const float *fetch;
    ptrdiff_t fetch_step;
    int lines;
    float *c;
    ptrdiff_t c_step;
    float alpha, beta;
} product_tile;

typedef void product_function(const product_tile *);

/* Rows of an Affine layer's weight that a task takes; they stay in the second-level cache for all that is done with
 * them. 32 to 128 measured alike.
 */
#define AFFINE_ROWS 64
/* Examples of which a task has the input gradient in hand. */
#define AFFINE_EXAMPLES 128
/* Columns of a matrix whose places count from the same one; of 32 to 128 the fastest, by up to a fifth. */
#define SPARSE_DEPTH 64
/* A multiple of the columns of all levels' panels, to which rows of sums are filled up. */
#define SPARSE_COLUMNS 128
/* Most elements whose places are written at a time, as numbers of a byte. */
#define GATHER_SIZE 192
/* A product with a single row of A takes so many rows of B at a time, so many vectors of their columns at a time, and
 * fetches the rows that are so many further on into the first-level cache. ConvNet1's first layer takes 118 us on one
 * core where a third of A is 0, and 122 with 8 rows, 1 vector and 8 rows ahead; on two cores 59 and 62 to 69; with AVX2
 * 115 and 127, and with vectors of 16 bytes 153 and 200 on one. 8 vectors take 3 % longer than 4.
 */
#define ROW_COUNT 4
#define ROW_VECTORS 4
#define ROW_AHEAD 4

/* Most output cells of which a convolution without columns has the sums in hand before it writes them, a multiple of
 * four. 72 measured alike, but for 7 x 7 pixels, 64 channels, 3x3, a tenth longer, and 3 channels, 32 x 32 pixels, a
 * twelfth shorter.
 */
#define DIRECT_CELLS 48
_Static_assert(DIRECT_CELLS % 4 == 0, "cells are transposed four at a time");

/* What is not 0 in a matrix (m, k): in each row, for each block of SPARSE_DEPTH columns, the numbers of the columns
 * within the block, in order, and the values. Block * m + row is the number of their slot, and they begin at its start:
 * close together, so that they take little of a cache, and are read from end to end.
 */
typedef struct {
    ptrdiff_t m, k;
    float *values;          /* room for (slots, SPARSE_DEPTH) */
    ptrdiff_t *starts;      /* (slots,) */
    uint8_t *places;        /* like values */
    uint8_t *counts;        /* (slots,) */
} simd_sparse;

/* Floats of a padded image. */
static inline ptrdiff_t simd_padded_size(const simd_convolution *s) { return s->c * s->hp * s->wp + SIMD_SLACK; }

static inline ptrdiff_t simd_parts(ptrdiff_t size, ptrdiff_t part) { return (size + part - 1) / part; }
static inline ptrdiff_t simd_least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t simd_within(ptrdiff_t a, ptrdiff_t most) { return a < 0 ? 0 : simd_least(a, most); }

/* Lay a sparse matrix into memory, if there is any; return how many bytes it takes, a multiple of 8. */
static inline ptrdiff_t simd_sparse_place(simd_sparse *s, ptrdiff_t m, ptrdiff_t k, uint8_t *memory) {
    const ptrdiff_t slots = m * simd_parts(k, SPARSE_DEPTH), size = slots * SPARSE_DEPTH;
    const ptrdiff_t values = size * (ptrdiff_t)sizeof(float), starts = slots * (ptrdiff_t)sizeof(ptrdiff_t);
    if (memory)
        *s = (simd_sparse){m, k, (float *)memory, (ptrdiff_t *)(memory + values), memory + values + starts,
                           memory + values + starts + size};
    return values + starts + size + simd_parts(slots, 8) * 8;
}

#define SIMD_LANES 4
#define SIMD_FILTERS 2
#define SIMD_ROWS 5
#define SIMD_EACH_ROWS(do) do(1) do(2) do(3) do(4) do(5)
#define SIMD_SUMS SIMD_ROWS
#define SIMD_EACH_SUMS SIMD_EACH_ROWS
#define SIMD_EVEN 0, 2, 4, 6
#define SIMD_ODD 1, 3, 5, 7
#define SIMD_TARGET
#define SIMD_NAME(name) name##_portable
#include "_simd_level.h"

#if defined(__x86_64__)

#define SIMD_LANES 8
#define SIMD_FILTERS 3
#define SIMD_ROWS 6
#define SIMD_EACH_ROWS(do) do(1) do(2) do(3) do(4) do(5) do(6)
#define SIMD_SUMS SIMD_ROWS
#define SIMD_EACH_SUMS SIMD_EACH_ROWS
#define SIMD_EVEN 0, 2, 8, 10, 4, 6, 12, 14
#define SIMD_ODD 1, 3, 9, 11, 5, 7, 13, 15
#define SIMD_ORDER 0, 1, 4, 5, 2, 3, 6, 7
#define SIMD_TARGET __attribute__((target("avx2,fma,bmi")))
#define SIMD_NAME(name) name##_avx2
#include "_simd_level.h"

#define SIMD_LANES 16
#define SIMD_FILTERS 4
#define SIMD_ROWS 12
#define SIMD_EACH_ROWS(do) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12)
#define SIMD_SUMS 9
#define SIMD_EACH_SUMS(do) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9)
#define SIMD_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define SIMD_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SIMD_TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi")))
#define SIMD_NAME(name) name##_avx512
#include "_simd_level.h"

#endif

/* What each level has; the comments are where the functions are. */
typedef struct {
    ptrdiff_t lanes;
    /* The part of a factor of very many rows that may be other than 0 where leaving out the zeros is as fast. */
    double sparse_limit;
    void (*product_block)(const simd_product *, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0, ptrdiff_t n1);
    void (*product_pack)(const float *b, ptrdiff_t k, ptrdiff_t n, float *panels);
    double (*squares)(const float *x, ptrdiff_t size);
    void (*transpose)(const float *from, ptrdiff_t from_step, ptrdiff_t rows, ptrdiff_t columns, float *to,
                      ptrdiff_t to_step);
    void (*find_rows)(const float *a, const simd_sparse *, ptrdiff_t first, ptrdiff_t end);
    void (*product_row)(const float *a, const float *b, ptrdiff_t first, ptrdiff_t end, ptrdiff_t n, float *sums);
    void (*sparse_block)(const simd_product *, const simd_sparse *a, ptrdiff_t p0, ptrdiff_t p1);
    void (*sparse_affine)(const simd_affine *, const simd_sparse *by_n, const simd_sparse *by_m, ptrdiff_t d0);
    void (*convolution_forward)(const simd_convolution *, ptrdiff_t n, ptrdiff_t first, ptrdiff_t end);
    void (*convolution_backward)(const simd_convolution *, ptrdiff_t f);
    void (*direct)(const simd_direct *);
    void (*direct_gradients)(const simd_direct *);
    void (*copy_rows)(const float *x, ptrdiff_t x_step, float *y, ptrdiff_t rows, ptrdiff_t columns);
    void (*accumulate)(const float *x, ptrdiff_t x_step, ptrdiff_t shifts, float *y, ptrdiff_t y_step, ptrdiff_t rows,
                       ptrdiff_t columns);
} simd_functions;

#define SIMD_FUNCTIONS(set, lanes, sparse_limit)                                                                       \
    {lanes, sparse_limit, product_block_##set, product_pack_##set, squares_##set, transpose_##set,                     \
     find_rows_##set, product_row_##set, sparse_block_##set, sparse_affine_##set, convolution_forward_##set,           \
     convolution_backward_##set, direct_##set, direct_gradients_##set, copy_rows_##set, accumulate_##set}
#if defined(__x86_64__)
#define SIMD_BUILT 3
static const simd_functions simd_levels[] = {SIMD_FUNCTIONS(portable, 4, 1.05), SIMD_FUNCTIONS(avx2, 8, 0.95),
                                             SIMD_FUNCTIONS(avx512, 16, 0.85)};
#else
#define SIMD_BUILT 1
static const simd_functions simd_levels[] = {SIMD_FUNCTIONS(portable, 4, 1.05)};
#endif

static int simd_highest(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? 2 : 1;
#else
    return 0;
#endif
}

#include "_simd_jobs.h"

static ptrdiff_t simd_lanes(int level) { return simd_levels[level].lanes; }

/* Pack weights (filters, channels, area) as (parts of two vectors of filters, channels * area, two vectors), with zeros
 * behind the last filter; if is_adjoint, weights (channels, filters, area), each area from its end.
 */
static void simd_direct_weights(int level, const float *weight, ptrdiff_t filters, ptrdiff_t channels, ptrdiff_t area,
                                int is_adjoint, float *packed) {
    const ptrdiff_t width = 2 * simd_levels[level].lanes, taps = channels * area;
    for (ptrdiff_t f = 0; f < filters; f += width, packed += taps * width) {
        const ptrdiff_t count = simd_least(filters - f, width);
        if (count < width) memset(packed, 0, (size_t)(taps * width) * sizeof *packed);
        if (is_adjoint) {
            for (ptrdiff_t c = 0; c < channels; c++)
                simd_levels[level].transpose(weight + (c * filters + f) * area, area, count, area,
                                             packed + ((c + 1) * area - 1) * width, -width);
        } else {
            simd_levels[level].transpose(weight + f * taps, taps, count, taps, packed, width);
        }
    }
}
static void simd_direct_convolution(int level, const simd_direct *s) { simd_levels[level].direct(s); }
static void simd_direct_gradients(int level, const simd_direct *s) { simd_levels[level].direct_gradients(s); }
static void simd_copy_rows(int level, const float *x, ptrdiff_t x_step, float *y, ptrdiff_t rows, ptrdiff_t columns) {
    simd_levels[level].copy_rows(x, x_step, y, rows, columns);
}
static void simd_accumulate(int level, const float *x, ptrdiff_t x_step, ptrdiff_t shifts, float *y, ptrdiff_t y_step,
                            ptrdiff_t rows, ptrdiff_t columns) {
    simd_levels[level].accumulate(x, x_step, shifts, y, y_step, rows, columns);
}

#else /* another compiler: only the sizes of scratch memory are ever asked for */

#define SIMD_BUILT 0
static int simd_highest(void) { return -1; }
static void simd_multiply(int level, const simd_product *s, int threads) {}
static ptrdiff_t simd_multiply_scratch(ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) { return 0; }
static ptrdiff_t simd_affine_scratch(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m) { return 0; }
static double simd_affine_backward(int level, const simd_affine *s, int threads) { return 0; }
static void simd_convolution_forward(int level, const simd_convolution *s, int threads) {}
static void simd_convolution_backward(int level, const simd_convolution *s, int threads) {}
static ptrdiff_t simd_lanes(int level) { return 1; }
static void simd_direct_weights(int level, const float *weight, ptrdiff_t filters, ptrdiff_t channels, ptrdiff_t area,
                                int is_adjoint, float *packed) {}
static void simd_direct_convolution(int level, const simd_direct *s) {}
static void simd_direct_gradients(int level, const simd_direct *s) {}
static void simd_copy_rows(int level, const float *x, ptrdiff_t x_step, float *y, ptrdiff_t rows, ptrdiff_t columns) {}
static void simd_accumulate(int level, const float *x, ptrdiff_t x_step, ptrdiff_t shifts, float *y, ptrdiff_t y_step,
                            ptrdiff_t rows, ptrdiff_t columns) {}

#endif
#endif
