/* Everything that _simd.h has for one instruction set; included once for each, with
 *   SIMD_LANES    floats of a vector,
 *   SIMD_FILTERS  filters of a tile of the convolution,
 *   SIMD_ROWS, SIMD_EACH_ROWS  most rows of a tile of a product, and a list of all numbers up to it,
 *   SIMD_SUMS, SIMD_EACH_SUMS  the same of a tile of a convolution without columns, whose sums each need an address of
 *                 their own: more than 9 no longer fit in the registers for these, and take a seventh longer,
 *   SIMD_EVEN, SIMD_ODD  the even and odd lanes of two vectors in a row,
 *   SIMD_ORDER    what puts these in order, if they are not: with AVX2 the convolution takes a twentieth less so,
 *   SIMD_TARGET   the attribute that allows the instructions,
 *   SIMD_NAME     the name of a function for this instruction set.
 */

typedef float SIMD_NAME(floats) __attribute__((vector_size(4 * SIMD_LANES), aligned(4), may_alias));
typedef int32_t SIMD_NAME(ints) __attribute__((vector_size(4 * SIMD_LANES)));
typedef uint8_t SIMD_NAME(bytes) __attribute__((vector_size(SIMD_LANES)));
#define FLOATS SIMD_NAME(floats)
#define INTS SIMD_NAME(ints)
#define BYTES SIMD_NAME(bytes)

#include "_simd_sparse.h"
#include "_simd_product.h"
#include "_simd_convolution.h"
#include "_simd_direct.h"

#undef FLOATS
#undef INTS
#undef BYTES
#undef SIMD_LANES
#undef SIMD_FILTERS
#undef SIMD_ROWS
#undef SIMD_EACH_ROWS
#undef SIMD_SUMS
#undef SIMD_EACH_SUMS
#undef SIMD_EVEN
#undef SIMD_ODD
#undef SIMD_ORDER
#undef SIMD_TARGET
#undef SIMD_NAME
