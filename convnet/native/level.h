/* Everything of one level, for the row of levels.h that includes this: its tiles and its simd_level, or, where
 * SIMD_LIST is defined, its element of the list of levels. Inside, SIMD_NAME(name) is the level's own name for a type
 * or function.
 */

#ifndef SIMD_NAME
#define SIMD_PASTE_(a, b) a##_##b
#define SIMD_PASTE(a, b) SIMD_PASTE_(a, b)
#define SIMD_NAME(name) SIMD_PASTE(name, SIMD_SET)
#define SIMD_STRING_(name) #name
#define SIMD_STRING(name) SIMD_STRING_(name)
#endif

#ifdef SIMD_LIST

&SIMD_NAME(level),

#else

#include "tiles/vectors.h"
#include "tiles/product.h"
#include "tiles/sparse.h"
#include "tiles/columns.h"
#include "tiles/depthwise.h"
#include "tiles/outputs.h"
#include "tiles/normalization.h"
#include "tiles/pooled.h"
#include "tiles/direct.h"
#include "tiles/planar.h"
#include "tiles/winograd.h"
#include "tiles/updates.h"
#include "tiles/smooth_activations.h"
#include "tiles/peak.h"

_Static_assert(2 * SIMD_LANES <= SIMD_COLUMNS, "a packed panel is two vectors wide");
_Static_assert(POOLED_WINDOWS <= GATHER_SIZE, "the numbers of a strip's windows are bytes");
_Static_assert(SPARSE_COLUMNS % (8 * SIMD_LANES) == 0, "a sparse panel is eight vectors wide");
_Static_assert(AFFINE_ROWS % (4 * SIMD_LANES) == 0, "an Affine layer's rows are taken four vectors at a time");

static int SIMD_NAME(runs)(void) { return SIMD_PROCESSOR; }

static const simd_level SIMD_NAME(level) = {
    .name = SIMD_STRING(SIMD_SET),
    .runs = SIMD_NAME(runs),
    .lanes = SIMD_LANES,
    .sparse_limit = SIMD_SPARSE_LIMIT,
#ifdef SIMD_NARROWER
    .narrower = &SIMD_PASTE(level, SIMD_NARROWER),
#endif
    .product_block = SIMD_NAME(product_block),
    .product_pack = SIMD_NAME(product_pack),
    .squares = SIMD_NAME(squares),
    .transpose = SIMD_NAME(transpose),
    .find_rows = SIMD_NAME(find_rows),
    .product_row = SIMD_NAME(product_row),
    .sparse_block = SIMD_NAME(sparse_block),
    .sparse_affine = SIMD_NAME(sparse_affine),
    .update = SIMD_NAME(update),
    .smooth_forward = SIMD_NAME(smooth_forward),
    .smooth_backward = SIMD_NAME(smooth_backward),
    .norm_moments = SIMD_NAME(norm_moments),
    .norm_write = SIMD_NAME(norm_write),
    .norm_sums = SIMD_NAME(norm_sums),
    .norm_write_dx = SIMD_NAME(norm_write_dx),
    .activate = SIMD_NAME(activate),
    .pool_outputs = SIMD_NAME(pool_outputs),
    .pool_image = SIMD_NAME(pool_image),
    .output_gradients = SIMD_NAME(output_gradients),
    .pooled_gradients = SIMD_NAME(pooled_gradients),
    .direct = SIMD_NAME(direct),
    .direct_gradients = SIMD_NAME(direct_gradients),
    .planar = SIMD_NAME(planar),
    .planar_gradients = SIMD_NAME(planar_gradients),
    .winograd = {&SIMD_NAME(winograd_2), &SIMD_NAME(winograd_4)},
    .depthwise = SIMD_NAME(depthwise),
    .depthwise_gradients = SIMD_NAME(depthwise_gradients),
    .copy_rows = SIMD_NAME(copy_rows),
    .accumulate = SIMD_NAME(accumulate),
    .peak = SIMD_NAME(peak),
    .peak_sums = PEAK_SUMS,
};

#endif

#undef SIMD_SET
#undef SIMD_LANES
#undef SIMD_TARGET
#undef SIMD_PROCESSOR
#undef SIMD_ROWS
#undef SIMD_SPARSE_LIMIT
#undef SIMD_NARROWER
#undef SIMD_AVX2
#undef SIMD_AVX512
