/* Float32 tiles for named instruction sets: products of matrices, and convolution + bias + ReLU + 2x2 max pooling.
 *
 * One source, _simd_level.h, is compiled for each level: 0 with vectors of 16 bytes, which every processor has or the
 * compiler emulates; 1 for AVX2 with FMA; 2 for AVX-512. simd_highest() tells the highest that this processor runs.
 * Compilers without GNU C's vector extensions build none of this, and simd_highest() is -1: callers then take the
 * general path in typed Cython.
 *
 * The work of a call is divided into tasks for the pool by the shapes alone, and each sum is formed within one task:
 * the results have the same bits for any number of threads.
 */
#ifndef CONVNET_SIMD_H
#define CONVNET_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_pool.h"

/* Codes of a pooled cell: 0 to 3, where in its 2x2 window the maximum is, row by row, or CLOSED where ReLU closed it. */
#define SIMD_CLOSED 4
/* Floats that the padded images must have behind the last pixel: what the widest tile reads too far. */
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
    uint8_t *scratch;       /* simd_multiply_scratch(m, k) bytes, if zeros of A may be left out; or NULL */
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

/* Images padded (n, c, hp, wp), filters weight (f, c, kh, kw), pooled output (n, f, ph, pw). */
typedef struct {
    ptrdiff_t n, c, h, w, padding_h, padding_w, hp, wp, f, kh, kw, ph, pw;
    const float *x, *weight, *bias, *dy;
    float *padded, *y, *dweight, *dbias;
    uint8_t *codes;
} simd_convolution;

#if defined(__clang__)
#define SIMD_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define SIMD_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define SIMD_COMPILER "Visual C++"
#else
#define SIMD_COMPILER "unknown"
#endif

#if defined(__GNUC__) || defined(__clang__)

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

/* What a tile of a product is computed from; `fetch` are floats that are needed later, two lines for every row of b. */
typedef struct {
    ptrdiff_t depth;
    const float *a;
    ptrdiff_t a_step;
    const float *b;
    ptrdiff_t b_step;
    const float *fetch;
    ptrdiff_t fetch_step;
    float *c;
    ptrdiff_t c_step;
    float alpha, beta;
} product_tile;

typedef void product_function(const product_tile *);

/* Rows of an Affine layer's weight that a task takes; they stay in the second-level cache for all that is done with
 * them. 32 to 128 measured alike.
 */
#define AFFINE_ROWS 64
/* Columns of a matrix whose places count from the same one; of 32 to 128 the fastest, by up to a fifth. */
#define SPARSE_DEPTH 64
/* Columns of C for which rows of B are copied at a time; with 64 the product takes a tenth longer. */
#define SPARSE_COLUMNS 128

/* What is not 0 in a matrix (m, k): in each row, for each block of SPARSE_DEPTH columns, the numbers of the columns within
 * the block, in order, and the values. Block * m + row is the number of their slot.
 */
typedef struct {
    ptrdiff_t m, k;
    float *values;          /* (slots, SPARSE_DEPTH) */
    uint8_t *places;        /* (slots, SPARSE_DEPTH) */
    uint8_t *counts;        /* (slots,) */
} simd_sparse;

static inline ptrdiff_t simd_parts(ptrdiff_t size, ptrdiff_t part) { return (size + part - 1) / part; }
static inline ptrdiff_t simd_least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Lay a sparse matrix into memory, if there is any; return how many bytes it takes, a multiple of 8. */
static inline ptrdiff_t simd_sparse_place(simd_sparse *s, ptrdiff_t m, ptrdiff_t k, uint8_t *memory) {
    const ptrdiff_t slots = m * simd_parts(k, SPARSE_DEPTH), size = slots * SPARSE_DEPTH;
    if (memory) *s = (simd_sparse){m, k, (float *)memory, memory + 4 * size, memory + 5 * size};
    return 5 * size + simd_parts(slots, 8) * 8;
}

#define SIMD_LANES 4
#define SIMD_FILTERS 2
#define SIMD_ROWS 5
#define SIMD_EACH_ROWS(do) do(1) do(2) do(3) do(4) do(5)
#define SIMD_EVEN 0, 2, 4, 6
#define SIMD_ODD 1, 3, 5, 7
#define SIMD_TARGET
#define SIMD_NAME(name) name##_portable
#include "_simd_level.h"

#if defined(__x86_64__)

#define SIMD_LANES 8
#define SIMD_FILTERS 2
#define SIMD_ROWS 6
#define SIMD_EACH_ROWS(do) do(1) do(2) do(3) do(4) do(5) do(6)
#define SIMD_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define SIMD_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define SIMD_TARGET __attribute__((target("avx2,fma,bmi,popcnt")))
#define SIMD_NAME(name) name##_avx2
#include "_simd_level.h"

#define SIMD_LANES 16
#define SIMD_FILTERS 4
#define SIMD_ROWS 12
#define SIMD_EACH_ROWS(do) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12)
#define SIMD_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define SIMD_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SIMD_TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,popcnt")))
#define SIMD_NAME(name) name##_avx512
#include "_simd_level.h"

#endif

typedef struct {
    void (*product_block)(const simd_product *, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0, ptrdiff_t n1);
    void (*product_pack)(const float *b, ptrdiff_t k, ptrdiff_t n, float *panels);
    double (*squares)(const float *x, ptrdiff_t size);
    void (*transpose)(const float *from, ptrdiff_t from_step, ptrdiff_t rows, ptrdiff_t columns, float *to, ptrdiff_t to_step);
    void (*find_rows)(const float *a, const simd_sparse *, ptrdiff_t first, ptrdiff_t end);
    void (*sparse_block)(const simd_product *, const simd_sparse *a, ptrdiff_t m0, ptrdiff_t n0);
    void (*sparse_affine)(const simd_affine *, const simd_sparse *by_n, const simd_sparse *by_m, ptrdiff_t d0);
    void (*convolution_forward)(const simd_convolution *, ptrdiff_t n, ptrdiff_t first, ptrdiff_t end);
    void (*convolution_backward)(const simd_convolution *, ptrdiff_t f);
} simd_functions;

#define SIMD_FUNCTIONS(set)                                                                                             \
    {product_block_##set, product_pack_##set,  squares_##set, transpose_##set, find_rows_##set, \
     sparse_block_##set, sparse_affine_##set, convolution_forward_##set, convolution_backward_##set}
#if defined(__x86_64__)
#define SIMD_BUILT 3
static const simd_functions simd_levels[] = {SIMD_FUNCTIONS(portable), SIMD_FUNCTIONS(avx2), SIMD_FUNCTIONS(avx512)};
#else
#define SIMD_BUILT 1
static const simd_functions simd_levels[] = {SIMD_FUNCTIONS(portable)};
#endif

static int simd_highest(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") ? 1 : 0;
#else
    return 0;
#endif
}

/* Less work than this, in multiplications, is not worth waking a thread for. */
#define SIMD_ALONE 200000

/* ------------------------------------------------------------------------------------------------ product */

/* Blocks of C: rows and columns for which A and B are read from the second-level cache. Fewer columns where there
 * would be less than four blocks otherwise.
 */
#define PRODUCT_ROWS 96
#define PRODUCT_COLUMNS 128

typedef struct {
    const simd_product *product;
    const simd_functions *functions;
    ptrdiff_t row_blocks, columns;
} simd_product_job;

static void simd_product_task(void *job, ptrdiff_t index, int slot) {
    const simd_product_job *j = job;
    const simd_product *s = j->product;
    const ptrdiff_t m = index % j->row_blocks, n = index / j->row_blocks * j->columns;
    (void)slot;
    j->functions->product_block(s, s->m * m / j->row_blocks, s->m * (m + 1) / j->row_blocks, n,
                                simd_least(n + j->columns, s->n));
}

/* A product that leaves out zeros: rows of C that are computed while rows of B lie in the cache. */
#define SPARSE_ROWS 256

typedef struct {
    const simd_product *product;
    const simd_functions *functions;
    simd_sparse a;
    ptrdiff_t first;        /* row of the product */
} simd_sparse_job;

static void simd_sparse_find_task(void *job, ptrdiff_t index, int slot) {
    const simd_sparse_job *j = job;
    (void)slot;
    j->functions->find_rows(j->product->a + j->first * j->a.k, &j->a, index * 8, simd_least(index * 8 + 8, j->a.m));
}

static void simd_sparse_task(void *job, ptrdiff_t index, int slot) {
    const simd_sparse_job *j = job;
    (void)slot;
    j->functions->sparse_block(j->product, &j->a, j->first, index * SPARSE_COLUMNS);
}

static void simd_sparse_multiply(const simd_functions *functions, const simd_product *s, int threads) {
    simd_sparse_job job = {.product = s, .functions = functions};
    for (; job.first < s->m; job.first += SPARSE_ROWS) {
        simd_sparse_place(&job.a, simd_least(s->m - job.first, SPARSE_ROWS), s->k, s->scratch);
        pool_run(simd_sparse_find_task, &job, simd_parts(job.a.m, 8), threads);
        pool_run(simd_sparse_task, &job, simd_parts(s->n, SPARSE_COLUMNS), threads);
    }
}

static ptrdiff_t simd_multiply_scratch(ptrdiff_t m, ptrdiff_t k) {
    return simd_sparse_place(NULL, simd_least(m, SPARSE_ROWS), k, NULL);
}

/* Whether leaving out the zeros of A is faster: where they are nine in twenty of a sample, in a product of rows enough
 * and columns enough for every thread.
 */
static int simd_is_sparse(const simd_product *s) {
    enum { SAMPLE = 1021 };
    const ptrdiff_t size = s->m * s->k;
    if (!s->scratch || s->a_is_transposed || s->b_is_transposed || s->b_is_packed || s->a_step != s->k || s->m < 16 ||
        s->n <= 3 * SPARSE_COLUMNS || size < SAMPLE)
        return 0;
    int count = 0;
    for (ptrdiff_t i = 0; i < SAMPLE; i++) count += s->a[size / SAMPLE * i + size % SAMPLE * i / SAMPLE] != 0;
    return count < SAMPLE * 11 / 20;
}

static void simd_multiply(int level, const simd_product *s, int threads) {
    if (simd_is_sparse(s)) {
        simd_sparse_multiply(&simd_levels[level], s, threads);
        return;
    }
    const ptrdiff_t row_blocks = simd_parts(s->m, PRODUCT_ROWS);
    const ptrdiff_t quarter = simd_parts(simd_parts(s->n * row_blocks, 4), SIMD_COLUMNS) * SIMD_COLUMNS;
    simd_product_job job = {s, &simd_levels[level], row_blocks, simd_least(PRODUCT_COLUMNS, quarter)};
    const ptrdiff_t tasks = row_blocks * simd_parts(s->n, job.columns);
    const double work = (double)s->m * (double)s->n * (double)s->k;
    pool_run(simd_product_task, &job, tasks, work < SIMD_ALONE ? 1 : threads);
}

/* ------------------------------------------------------------------- Affine layer: both gradients */

typedef struct {
    const simd_affine *affine;
    const simd_functions *functions;
    int threads, is_sparse;
    float *panels;          /* dy, packed for products */
    double *squares;        /* of the blocks of rows: sums of weight ** 2 */
    simd_sparse by_n, by_m; /* dy, and its transpose, which is in `panels` then */
} simd_affine_job;

/* Divide the scratch memory, if there is any, and return how much is needed. */
static ptrdiff_t simd_affine_divide(simd_affine_job *j, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, uint8_t *scratch) {
    const ptrdiff_t panels = n * simd_parts(m, SIMD_COLUMNS) * SIMD_COLUMNS * (ptrdiff_t)sizeof(float);
    const ptrdiff_t squares = simd_parts(d, AFFINE_ROWS) * (ptrdiff_t)sizeof(double);
    const ptrdiff_t by_n = simd_sparse_place(NULL, n, m, NULL);
    if (scratch) {
        j->panels = (float *)scratch, j->squares = (double *)(scratch + panels);
        simd_sparse_place(&j->by_n, n, m, scratch + panels + squares);
        simd_sparse_place(&j->by_m, m, n, scratch + panels + squares + by_n);
    }
    return panels + squares + by_n + simd_sparse_place(NULL, m, n, NULL);
}

static ptrdiff_t simd_affine_scratch(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m) {
    return simd_affine_divide(NULL, n, d, m, NULL);
}

/* What is not 0 in a block of rows of dy, or in one of columns, which are transposed before. */
static void simd_affine_find_task(void *job, ptrdiff_t index, int slot) {
    const simd_affine_job *j = job;
    const simd_affine *s = j->affine;
    const ptrdiff_t n_blocks = simd_parts(s->n, SPARSE_DEPTH);
    (void)slot;
    if (index < n_blocks) {
        j->functions->find_rows(s->dy, &j->by_n, index * SPARSE_DEPTH, simd_least((index + 1) * SPARSE_DEPTH, s->n));
    } else {
        const ptrdiff_t m0 = (index - n_blocks) * SPARSE_DEPTH, m1 = simd_least(m0 + SPARSE_DEPTH, s->m);
        j->functions->transpose(s->dy + m0, s->m, s->n, m1 - m0, j->panels + m0 * s->n, s->n);
        j->functions->find_rows(j->panels, &j->by_m, m0, m1);
    }
}

/* Find what is not 0 in dy, and return whether it is so little that leaving out the zeros is faster. */
static int simd_affine_is_sparse(simd_affine_job *j) {
    const simd_affine *s = j->affine;
    const ptrdiff_t n_blocks = simd_parts(s->n, SPARSE_DEPTH), m_blocks = simd_parts(s->m, SPARSE_DEPTH);
    if (s->n < 4) return 0;
    pool_run(simd_affine_find_task, j, n_blocks + m_blocks, s->n * s->m < SIMD_ALONE ? 1 : j->threads);
    ptrdiff_t total = 0;
    for (ptrdiff_t i = 0; i < s->n * m_blocks; i++) total += j->by_n.counts[i];
    return (double)total < 0.4 * (double)s->n * (double)s->m;
}

static void simd_affine_task(void *job, ptrdiff_t index, int slot) {
    const simd_affine_job *j = job;
    const simd_affine *s = j->affine;
    const simd_functions *functions = j->functions;
    const ptrdiff_t d0 = index * AFFINE_ROWS, d1 = simd_least(d0 + AFFINE_ROWS, s->d);
    (void)slot;
    /* This brings the rows into the second-level cache as well. */
    j->squares[index] = functions->squares(s->weight + d0 * s->m, (d1 - d0) * s->m);
    if (j->is_sparse) {
        functions->sparse_affine(s, &j->by_n, &j->by_m, d0);
        return;
    }
    if (s->dx) {
        const simd_product product = {
            .m = s->n, .n = s->d, .k = s->m, .a = s->dy, .b = s->weight, .c = s->dx, .a_step = s->m, .b_step = s->m,
            .c_step = s->d, .b_is_transposed = 1, .alpha = 1, .beta = 0};
        functions->product_block(&product, 0, s->n, d0, d1);
    }
    /* The block that this thread is likely to take next. */
    const ptrdiff_t d2 = simd_least(d0 + j->threads * AFFINE_ROWS, s->d), d3 = simd_least(d2 + AFFINE_ROWS, s->d);
    const simd_product product = {
        .m = s->d, .n = s->m, .k = s->n, .a = s->x, .b = j->panels, .c = s->out, .a_step = s->d,
        .c_step = s->m, .a_is_transposed = 1, .b_is_packed = 1, .alpha = -s->rate, .beta = s->decay,
        .stream = s->weight + d2 * s->m, .stream_size = (d3 - d2) * s->m};
    functions->product_block(&product, d0, d1, 0, s->m);
}

/* Returns the sum of weight ** 2, before. */
static double simd_affine_backward(int level, const simd_affine *s, int threads) {
    const double work = (double)s->n * (double)s->d * (double)s->m;
    const ptrdiff_t blocks = simd_parts(s->d, AFFINE_ROWS);
    if (work < SIMD_ALONE) threads = 1;
    simd_affine_job job = {.affine = s, .functions = &simd_levels[level], .threads = threads};
    simd_affine_divide(&job, s->n, s->d, s->m, s->scratch);
    job.is_sparse = simd_affine_is_sparse(&job);
    if (!job.is_sparse) job.functions->product_pack(s->dy, s->n, s->m, job.panels);
    pool_run(simd_affine_task, &job, blocks, threads);
    double squares = 0;
    for (ptrdiff_t i = 0; i < blocks; i++) squares += job.squares[i];
    return squares;
}

/* -------------------------------------------------------------------------------------------- convolution */

typedef struct {
    const simd_convolution *convolution;
    const simd_functions *functions;
    ptrdiff_t groups;
} simd_convolution_job;

/* Copy image n into the middle of zeros. */
static void simd_pad(const simd_convolution *s, ptrdiff_t n) {
    const float *x = s->x + n * s->c * s->h * s->w;
    float *padded = s->padded + n * s->c * s->hp * s->wp;
    memset(padded, 0, (size_t)(s->c * s->hp * s->wp) * sizeof *padded);
    for (ptrdiff_t c = 0; c < s->c; c++)
        for (ptrdiff_t h = 0; h < s->h; h++)
            memcpy(padded + (c * s->hp + h + s->padding_h) * s->wp + s->padding_w, x + (c * s->h + h) * s->w,
                   (size_t)s->w * sizeof *x);
}

static void simd_pad_task(void *job, ptrdiff_t index, int slot) {
    (void)slot;
    simd_pad(((const simd_convolution_job *)job)->convolution, index);
}

static void simd_forward_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t n = index / j->groups, group = index % j->groups;
    (void)slot;
    if (j->groups == 1) simd_pad(s, n);
    j->functions->convolution_forward(s, n, s->f * group / j->groups, s->f * (group + 1) / j->groups);
}

/* A task is an image; where there are few, its filters are dealt out in groups. */
static void simd_convolution_forward(int level, const simd_convolution *s, int threads) {
    simd_convolution_job job = {s, &simd_levels[level], s->n < 8 ? simd_parts(s->f, 8) : 1};
    if (job.groups > 1)
        for (ptrdiff_t n = 0; n < s->n; n++) simd_pad(s, n);
    const double work = (double)s->n * s->f * s->ph * s->pw * 4 * s->c * s->kh * s->kw;
    pool_run(simd_forward_task, &job, s->n * job.groups, work < SIMD_ALONE ? 1 : threads);
}

static void simd_backward_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    (void)slot;
    j->functions->convolution_backward(j->convolution, index);
}

static void simd_convolution_backward(int level, const simd_convolution *s, int threads) {
    simd_convolution_job job = {s, &simd_levels[level], 1};
    const double work = (double)s->n * s->f * s->ph * s->pw * s->c * s->kh * s->kw;
    if (work < SIMD_ALONE) threads = 1;
    pool_run(simd_pad_task, &job, s->n, threads);
    pool_run(simd_backward_task, &job, s->f, threads);
}

#else /* another compiler: never called */

#define SIMD_BUILT 0
static int simd_highest(void) { return -1; }
static void simd_multiply(int level, const simd_product *s, int threads) {}
static ptrdiff_t simd_multiply_scratch(ptrdiff_t m, ptrdiff_t k) { return 0; }
static ptrdiff_t simd_affine_scratch(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m) { return 0; }
static double simd_affine_backward(int level, const simd_affine *s, int threads) { return 0; }
static void simd_convolution_forward(int level, const simd_convolution *s, int threads) {}
static void simd_convolution_backward(int level, const simd_convolution *s, int threads) {}

#endif
#endif
