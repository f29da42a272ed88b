/* The table of instruction sets, the slowest first. The last one that the processor runs is the default. simd.h
 * includes the table twice: to compile the levels, and to list them.
 *
 * A row is a block of definitions that ends with #include "level.h", under an #if for its architecture where it needs
 * one. For a row without intrinsics no other code has to change: names, dispatch, tests and options follow this table.
 *
 * Intrinsics may be added where a profile shows the need. They take a macro, such as SIMD_AVX2: the row defines it,
 * level.h has its #undef, tiles/vectors.h includes the header of the intrinsics, and tiles/ has branches under #if.
 *
 * What a row defines:
 *   SIMD_SET        its name, in files and options too
 *   SIMD_LANES      floats of a vector: 4, 8 or 16
 *   SIMD_TARGET     the attribute that allows the instructions
 *   SIMD_PROCESSOR  whether this processor has them
 *   SIMD_ROWS       most rows of a product's register tile, of two vectors each; 1 to 16. Its sums, two vectors of B
 *                   and what is loaded of A have to fit into the registers: see tests/aarch64/loops.py
 *   SIMD_SPARSE_LIMIT   a product leaves out the zeros of a factor of very many rows if a smaller part than this of its
 *                   elements is not 0; at the limit both ways take equally long. For fewer rows the limit is lower:
 *                   see simd_is_sparse in jobs/product.h. Begin with that of `portable`
 * and may define:
 *   SIMD_NARROWER   the name of the level that takes filters which fill half a vector only
 *   SIMD_AVX2, SIMD_AVX512      the tiles may use these intrinsics
 */

#define SIMD_SET portable
#define SIMD_LANES 4
#define SIMD_TARGET
#define SIMD_PROCESSOR 1
#define SIMD_ROWS 5
#define SIMD_SPARSE_LIMIT 1.05
#include "level.h"

#if defined(__aarch64__)

#define SIMD_SET neon
#define SIMD_LANES 4
#define SIMD_TARGET
#define SIMD_PROCESSOR 1
#define SIMD_ROWS 10
#define SIMD_SPARSE_LIMIT 1.05
#include "level.h"

#endif

#if defined(__x86_64__)

/* clang-cl links Microsoft's library, and __builtin_cpu_supports needs clang's own. */
#if defined(_MSC_VER) && defined(__clang__)
#pragma comment(lib, "clang_rt.builtins-x86_64.lib")
#endif

#define SIMD_SET avx2
#define SIMD_LANES 8
#define SIMD_TARGET __attribute__((target("avx2,fma,bmi")))
#define SIMD_PROCESSOR                                                                                                 \
    (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi"))
#define SIMD_ROWS 6
#define SIMD_SPARSE_LIMIT 0.95
#define SIMD_AVX2
#include "level.h"

#define SIMD_SET avx512
#define SIMD_LANES 16
#define SIMD_TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi")))
#define SIMD_PROCESSOR                                                                                                 \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&  \
     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&          \
     __builtin_cpu_supports("bmi"))
#define SIMD_ROWS 12
#define SIMD_SPARSE_LIMIT 0.85
#define SIMD_NARROWER avx2
#define SIMD_AVX512
#include "level.h"

#endif
