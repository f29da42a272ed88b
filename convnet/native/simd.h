/* Float32 kernels for several instruction sets: products of matrices, and convolutions, direct and by Winograd's
 * algorithm, together with the activation and pooling that follow.
 *
 * A level is one instruction set with everything that was compiled for it. levels.h is the table of them, level.h what
 * each one gets, tiles/ the code that is compiled once a level, and jobs.h deals the work out to the threads. Callers
 * hold a pointer to a level; NULL stands for none, and then the loops in typed Cython do the work.
 *
 * Compilers without GNU C build no level: SIMD_BUILT is 0 then.
 */
#ifndef CONVNET_SIMD_H
#define CONVNET_SIMD_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pool.h"

/* Fewer multiplications than this are not worth waking a thread for. */
#define SIMD_ALONE 200000
/* Groups of images whose gradients of the weights are summed apart, at most, and the bytes that they may take. */
#define SIMD_GROUPS 8
#define SIMD_GROUPS_BYTES (1 << 24)

/* ----------------------------------------------------------------------------- what a caller asks a level for */

/* C = beta * C + alpha * A B; C is not read where beta is 0. */
typedef struct {
    ptrdiff_t m, n, k;      /* C is (m, n), A (m, k), B (k, n) */
    const float *a, *b;
    float *c;
    ptrdiff_t a_step, b_step, c_step;      /* floats from one row in memory to the next */
    int a_is_transposed, b_is_transposed;  /* A lies in memory as (k, m), B as (n, k) */
    int b_is_packed;        /* B is packed panels, from product_pack */
    float alpha, beta;
    uint8_t *scratch;       /* simd_multiply_scratch(m, k, n) bytes, or NULL: no split-K, and zeros are multiplied */
    const float *stream;    /* what is needed after this product, to be fetched meanwhile; may be NULL */
    ptrdiff_t stream_size;
} simd_product;

/* How an optimizer updates a parameter; see tiles/updates.h. */
typedef enum { SIMD_SGD, SIMD_MOMENTUM, SIMD_NESTEROV, SIMD_RMSPROP, SIMD_ADADELTA, SIMD_ADAM } simd_rule_kind;

typedef struct {
    simd_rule_kind kind;
    double rate, decay1, decay2, epsilon, correction, shrink, l2;
} simd_rule;

/* A smooth activation function: x times a gate, which is the distribution function of the standard normal distribution
 * or the logistic sigmoid of linear * x + cubic * x**3; the logistic sigmoid; or tanh.
 */
typedef enum { SIMD_NORMAL_GATE, SIMD_SIGMOID_GATE, SIMD_SIGMOID, SIMD_TANH } simd_smooth_kind;

typedef struct {
    simd_smooth_kind kind;
    double linear, cubic;
} simd_smooth;

/* dx = dy weight^T and then out = decay * out - rate * x^T dy, for x (n, d) and dy (n, m); weight and out are (d, m).
 * Either out is the weight, which is updated then, or decay is 0 and out is not read. With a rule the gradient, for
 * which decay is 0 and rate -1, updates the weight, and out is scratch memory.
 */
typedef struct {
    ptrdiff_t n, d, m;
    const float *x, *dy;
    float *weight;          /* written only with a rule */
    float *out, *dx;        /* dx may be NULL */
    float decay, rate;
    const simd_rule *rule;  /* may be NULL */
    float *first, *second;  /* the rule's arrays, which may be NULL */
    uint8_t *scratch;       /* simd_affine_scratch(n, d, m) bytes */
} simd_affine;

typedef enum { SIMD_POOL_NONE, SIMD_POOL_MAX, SIMD_POOL_AVERAGE } simd_pooling;

/* What follows a convolution, and its results: tiles/outputs.h. */
typedef struct {
    ptrdiff_t filters, height, width;       /* of the convolution's outputs, before pooling */
    ptrdiff_t groups;       /* y and dy are one of so many groups of filters of each image, as NCHW; else 1 */
    int channels_last;            /* y and dy are (n, rows, columns, filters); else (n, filters, rows, columns) */
    float slope;            /* factor of what is not positive: 0 for ReLU, 1 for no activation */
    simd_pooling pool;      /* of windows of 2x2 */
    const float *bias;
    float *y;               /* written forward; read backward where there is an activation without pooling */
    const float *dy;
    uint8_t *codes;         /* (n, rows, columns, filters), with pooling; forward it may be NULL */
} simd_outputs;

/* A row of outputs of a depthwise convolution, channels last: y[q * y_step + c] is the sum over the taps t of
 * weight[weights[t] + c] * x[offsets[t] + q * x_step + c].
 */
typedef struct {
    ptrdiff_t count;        /* of taps */
    const ptrdiff_t *offsets, *weights;
    ptrdiff_t channels, columns, x_step, y_step;
    const float *x, *weight;
    float *y;
} simd_taps;

/* A batch normalization of rows of channels: its factors, of each channel. */
typedef struct {
    ptrdiff_t channels;
    float slope;            /* as above */
    const float *scale, *mean, *bias, *of_x, *constant;
} simd_norm;

/* In the place of the edge of Winograd's tiles: a direct convolution, and the gradients of weights behind max pooling,
 * which visit the maxima alone.
 */
#define SIMD_DIRECT 0
#define SIMD_POOLED 1
/* Most windows of the pooling in a strip, and so in a row, of the latter. */
#define POOLED_WINDOWS 192
/* A depthwise convolution: each filter sees one channel. It has any stride and dilation. */
#define SIMD_DEPTHWISE 3
/* Most taps of its filters. */
#define DEPTHWISE_TAPS 64
/* A direct convolution of stride 1 in NCHW, with vectors of columns: for few channels. */
#define SIMD_PLANAR 5

/* A convolution of images x, or one of its gradients. */
typedef struct {
    ptrdiff_t n, channels, height, width, filters, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    ptrdiff_t out_h, out_w;
    ptrdiff_t dilation_h, dilation_w;       /* above 1 with SIMD_DEPTHWISE alone */
    /* Another dilated convolution, of stride 1, is computed by the phases of its images. A phase is the pixels whose rows
     * and columns leave the same remainders when they are divided by the dilation, and is convolved as an image of its
     * own. n counts phases, and out_h and out_w are the size of the first one's outputs, which is the largest. Padding
     * and the sizes of x and of the outputs are those of whole images; whole_h and whole_w are the size of the images
     * that are written. x and y are NCHW, and nothing follows the outputs.
     */
    ptrdiff_t phases_h, phases_w, whole_h, whole_w;
    ptrdiff_t groups;       /* x is one of so many groups of channels of each image, as NCHW; else 1 */
    int tile;               /* outputs along an edge of Winograd's tiles, 4 or 2; or one of the four above */
    /* Whether it is the gradient of the input of the convolution that `outputs` belongs to: channels and filters have
     * changed places, it is computed from the outputs' gradients, and x is written.
     */
    int is_adjoint;
    int x_channels_last;          /* x is (n, height, width, channels); else (n, channels, height, width) */
    float *x;
    const float *weight;
    float *packed;          /* the weights from simd_convolution_pack; NULL: they are packed each time */
    float *dweight, *dbias;
    simd_outputs outputs;
    uint8_t *scratch;
} simd_convolution;

/* A strip: some rows of the outputs of one image, and the rows of the padded input under them, both channels last. */
typedef struct {
    ptrdiff_t channels, filters, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, rows, columns;
    ptrdiff_t top, bottom;  /* the strip's input rows from top to bottom - 1 lie in the image, the others in padding */
    const float *x;
    ptrdiff_t x_step;       /* floats from one input row to the next */
    const float *weight;    /* packed panels; of filters, for all taps (kernel_h, kernel_w, channels) */
    float *y;               /* (rows, columns, filters) */
    /* Of SIMD_PLANAR: floats from one filter's outputs to the next in y, and from one row to the next in dy. */
    ptrdiff_t y_step;
    const float *dy;        /* like y */
    const uint8_t *codes;   /* like y */
    float *dweight, *dbias; /* (kernel_h, kernel_w, channels of a filter, filters) and (filters,) */
} simd_strip;

/* Where the transformed tiles of Winograd's algorithm lie: floats from one tile to the next, and from a position. */
typedef struct {
    ptrdiff_t channels, filters, v_step, m_step, v_position, m_position;
} simd_winograd;

/* The transforms for one size of tile; see tiles/winograd.h. */
typedef struct {
    void (*inputs)(const simd_winograd *, const float *x, ptrdiff_t x_step, ptrdiff_t tiles, float *v);
    void (*output_gradients)(const simd_winograd *, const float *dy, ptrdiff_t dy_step, ptrdiff_t tiles, float *to);
    void (*outputs)(const simd_winograd *, const float *from, ptrdiff_t f0, ptrdiff_t f1, ptrdiff_t rows,
                    ptrdiff_t columns, float *y, ptrdiff_t y_step);
    void (*weights)(const float *taps, ptrdiff_t step, ptrdiff_t filters, ptrdiff_t channels, float *u);
    void (*weight_gradients)(const float *du, ptrdiff_t du_step, ptrdiff_t filters, float *taps, ptrdiff_t step);
} simd_winograd_functions;

/* The nonzeros of a matrix (m, k): of each row and each block of SPARSE_DEPTH columns, the columns' numbers within the
 * block, in order, and the values. Their slot is block * m + row, and they begin at its start: close together, so that
 * they take little of a cache and are read from end to end.
 */
typedef struct {
    ptrdiff_t m, k;
    float *values;          /* room for (slots, SPARSE_DEPTH) */
    ptrdiff_t *starts;      /* (slots,) */
    uint8_t *columns;       /* like values */
    uint8_t *counts;        /* (slots,) */
} simd_sparse;

/* A level; the comments are where the functions are. */
typedef struct simd_level {
    const char *name;
    int (*runs)(void);      /* whether this processor has the instructions */
    ptrdiff_t lanes;
    /* The part of a factor of very many rows that may be nonzero where leaving out the zeros is as fast. */
    double sparse_limit;
    const struct simd_level *narrower;      /* the level that takes filters which fill half a vector; may be NULL */
    void (*product_block)(const simd_product *, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0, ptrdiff_t n1);
    void (*product_pack)(const float *b, ptrdiff_t k, ptrdiff_t n, float *panels);
    double (*squares)(const float *x, ptrdiff_t size);
    void (*transpose)(const float *from, ptrdiff_t from_step, ptrdiff_t rows, ptrdiff_t columns, float *to,
                      ptrdiff_t to_step);
    void (*find_rows)(const float *a, const simd_sparse *, ptrdiff_t first, ptrdiff_t end);
    void (*product_row)(const float *a, const float *b, ptrdiff_t first, ptrdiff_t end, ptrdiff_t n, float *sums);
    void (*sparse_block)(const simd_product *, const simd_sparse *a, ptrdiff_t p0, ptrdiff_t p1);
    void (*sparse_affine)(const simd_affine *, const simd_sparse *by_n, const simd_sparse *by_m, ptrdiff_t d0,
                          float *out);
    void (*update)(const simd_rule *, ptrdiff_t size, const float *grad, float *param, float *first, float *second);
    void (*smooth_forward)(const simd_smooth *, ptrdiff_t size, const float *x, float *y);
    void (*smooth_backward)(const simd_smooth *, ptrdiff_t size, const float *dy, const float *x, float *dx);
    void (*norm_moments)(const float *x, ptrdiff_t rows, ptrdiff_t channels, float *mean, float *squares);
    void (*norm_write)(const simd_norm *, const float *x, ptrdiff_t rows, float *y);
    void (*norm_sums)(const simd_norm *, const float *x, const float *dy, ptrdiff_t rows, float *sums, float *products);
    void (*norm_write_dx)(const simd_norm *, const float *x, const float *dy, ptrdiff_t rows, float *dx);
    void (*pool_image)(const float *x, ptrdiff_t pixels, ptrdiff_t channels, float *y, int32_t *pixel);
    void (*activate)(const simd_outputs *, float *y, ptrdiff_t pixels, ptrdiff_t f0, ptrdiff_t f1);
    void (*pool_outputs)(const simd_outputs *, const float *rows, ptrdiff_t step, ptrdiff_t units, ptrdiff_t f0,
                         ptrdiff_t f1, float *y, uint8_t *codes);
    void (*output_gradients)(const simd_outputs *, const float *dy, const float *y, const uint8_t *codes, int below,
                             ptrdiff_t first, ptrdiff_t end, float *to);
    void (*pooled_gradients)(const simd_strip *, const simd_outputs *, ptrdiff_t f0, ptrdiff_t f1, ptrdiff_t step,
                             float *scratch);
    void (*direct)(const simd_strip *);
    void (*direct_gradients)(const simd_strip *, ptrdiff_t first, ptrdiff_t end);
    void (*planar)(const simd_strip *);
    void (*planar_gradients)(const simd_strip *);
    const simd_winograd_functions *winograd[2];     /* for tiles of 2 and of 4 outputs along an edge */
    void (*depthwise)(const simd_taps *);
    void (*depthwise_gradients)(const simd_strip *, ptrdiff_t first, ptrdiff_t end);
    void (*copy_rows)(const float *x, ptrdiff_t x_step, float *y, ptrdiff_t rows, ptrdiff_t columns);
    void (*accumulate)(const float *x, ptrdiff_t x_step, ptrdiff_t shifts, float *y, ptrdiff_t y_step, ptrdiff_t rows,
                       ptrdiff_t columns);
    float (*peak)(ptrdiff_t repeats);
    int peak_sums;          /* vectors that it sums at a time */
} simd_level;

/* The level whose vectors so many floats fill: a narrower one where they fill half a vector at most. */
static inline const simd_level *simd_level_for(const simd_level *level, ptrdiff_t floats) {
    return level->narrower != NULL && floats <= level->narrower->lanes ? level->narrower : level;
}

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

/* ------------------------------------------------------------------------------- sizes that several files share */

/* Length of the common axis of a product that is walked at a time; see tiles/product.h. */
#define PRODUCT_DEPTH 128
/* Columns of the widest packed panel. */
#define SIMD_COLUMNS 32
/* Floats of a cache line. */
#define SIMD_LINE 16
/* Rows of an Affine layer's weight that a task takes: they stay in the second-level cache for all that is done with
 * them.
 */
#define AFFINE_ROWS 64
/* Filters whose patches tiles/pooled.h finds at a time. */
#define POOLED_FILTERS 16
/* Columns of a sparse matrix whose numbers count from the same one. */
#define SPARSE_DEPTH 64
/* A multiple of the columns of all levels' panels, to which rows of sums are filled up. */
#define SPARSE_COLUMNS 128

static inline ptrdiff_t simd_parts(ptrdiff_t size, ptrdiff_t part) { return (size + part - 1) / part; }
static inline ptrdiff_t simd_least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t simd_within(ptrdiff_t a, ptrdiff_t most) { return a < 0 ? 0 : simd_least(a, most); }
static inline uint8_t *simd_at_line(uint8_t *memory) { return memory + (64 - (uintptr_t)memory % 64) % 64; }

/* Lay a sparse matrix into memory, if there is any; return how many bytes it takes, a multiple of 8. */
static inline ptrdiff_t simd_sparse_lay(simd_sparse *s, ptrdiff_t m, ptrdiff_t k, uint8_t *memory) {
    const ptrdiff_t slots = m * simd_parts(k, SPARSE_DEPTH), size = slots * SPARSE_DEPTH;
    const ptrdiff_t values = size * (ptrdiff_t)sizeof(float), starts = slots * (ptrdiff_t)sizeof(ptrdiff_t);
    if (memory)
        *s = (simd_sparse){m, k, (float *)memory, (ptrdiff_t *)(memory + values), memory + values + starts,
                           memory + values + starts + size};
    return values + starts + size + simd_parts(slots, 8) * 8;
}

/* --------------------------------------------------------------------------------------------------- the levels */

#include "levels.h"

#define SIMD_LIST
static const simd_level *const simd_levels[] = {
#include "levels.h"
};
#undef SIMD_LIST
#define SIMD_BUILT ((int)(sizeof simd_levels / sizeof *simd_levels))

#include "jobs.h"

#else /* another compiler: only the sizes of scratch memory are ever asked for */

#define SIMD_BUILT 0
static const simd_level *const simd_levels[1] = {NULL};
static void simd_multiply(const simd_level *level, const simd_product *s, int threads) {}
static ptrdiff_t simd_multiply_scratch(ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) { return 0; }
static ptrdiff_t simd_affine_scratch(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m) { return 0; }
static double simd_affine_backward(const simd_level *level, const simd_affine *s, int threads) { return 0; }
static ptrdiff_t simd_forward_scratch(const simd_level *level, const simd_convolution *s, int threads) { return 0; }
static ptrdiff_t simd_gradients_scratch(const simd_level *level, const simd_convolution *s, int threads) { return 0; }
static ptrdiff_t simd_packed_size(const simd_level *level, const simd_convolution *s) { return 0; }
static void simd_convolution_pack(const simd_level *level, const simd_convolution *s, int threads) {}
static void simd_convolution_forward(const simd_level *level, const simd_convolution *s, int threads) {}
static void simd_convolution_gradients(const simd_level *level, const simd_convolution *s, int threads) {}
static ptrdiff_t simd_pooling_size(const simd_outputs *o) { return 0; }
static void simd_pooling_forward(const simd_level *level, const simd_outputs *o, const float *x, ptrdiff_t n,
                                 float *memory, int threads) {}
static void simd_pooling_backward(const simd_level *level, const simd_outputs *o, float *dx, ptrdiff_t n,
                                  float *memory, int threads) {}
static double simd_peak(const simd_level *level, ptrdiff_t repeats, int threads) { return 0; }

#endif
#endif
