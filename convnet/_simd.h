/* Float32 tiles of the fused convolution + bias + ReLU + 2x2 max pooling, for named instruction sets.
 *
 * One source, _simd_tile.h, is compiled for each level: 0 with vectors of 16 bytes, which every processor has or the
 * compiler emulates; 1 for AVX2 with FMA; 2 for AVX-512. simd_level() tells the highest that this processor runs.
 * Compilers without GNU C's vector extensions build none of this, and simd_level() is -1: callers then take the path
 * in typed Cython.
 */
#ifndef CONVNET_SIMD_H
#define CONVNET_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Codes of a pooled cell: 0 to 3, where in its 2x2 window the maximum is, row by row, or CLOSED where ReLU closed it. */
#define SIMD_CLOSED 4
/* Floats that a padded row of the image must have behind its last pixel: what the widest tile reads too far. */
#define SIMD_SLACK 40
/* Widest filter that the weight gradient handles: one vector of 8 holds a row of it. */
#define SIMD_MAX_KERNEL_W 8

/* One image: padded (c, hp, wp), filters (f, c, kh, kw), pooled output (f, ph, pw). */
typedef struct {
    ptrdiff_t c, hp, wp, f, kh, kw, ph, pw;
} simd_shape;

typedef void simd_forward_function(const simd_shape *, const float *padded, const float *weight, const float *bias,
                                   float *y, uint8_t *codes);
typedef void simd_backward_function(const simd_shape *, const float *padded, const float *dy, const uint8_t *codes,
                                    float *dweight, float *dbias);

#if defined(__GNUC__) || defined(__clang__)

#if defined(__clang__) || __GNUC__ >= 12
#define SIMD_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SIMD_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

#define SIMD_LANES 4
#define SIMD_FILTERS 2
#define SIMD_EVEN 0, 2, 4, 6
#define SIMD_ODD 1, 3, 5, 7
#define SIMD_TARGET
#define SIMD_NAME(name) name##_portable
#include "_simd_tile.h"

#if defined(__x86_64__)

#define SIMD_LANES 8
#define SIMD_FILTERS 2
#define SIMD_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define SIMD_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define SIMD_TARGET __attribute__((target("avx2,fma")))
#define SIMD_NAME(name) name##_avx2
#include "_simd_tile.h"

#define SIMD_LANES 16
#define SIMD_FILTERS 4
#define SIMD_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define SIMD_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SIMD_TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define SIMD_NAME(name) name##_avx512
#include "_simd_tile.h"

static int simd_level(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 1 : 0;
}
static simd_forward_function *const simd_forward[] = {forward_portable, forward_avx2, forward_avx512};
static simd_backward_function *const simd_backward[] = {backward_portable, backward_avx2, backward_avx512};

#else /* another processor */

static int simd_level(void) { return 0; }
static simd_forward_function *const simd_forward[] = {forward_portable};
static simd_backward_function *const simd_backward[] = {backward_portable};

#endif
#else /* another compiler */

static int simd_level(void) { return -1; }
static simd_forward_function *const simd_forward[] = {NULL};
static simd_backward_function *const simd_backward[] = {NULL};

#endif
#endif
