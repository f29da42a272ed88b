/* Products that leave out the zeros of a factor, for one instruction set; included by _simd_level.h.
 *
 * ReLU makes zeros. Of the gradient of ConvNet1's hidden layer nine tenths are 0 after the first few steps of training,
 * and of its input a half to two thirds, so that most of a product's work would be multiplications by 0. Here each row
 * of the factor comes with the places of its other elements, found once, in blocks of SPARSE_DEPTH; a row of the result
 * is the sum of the rows of the second factor at these places. Its 64 columns stay in registers meanwhile: 4 vectors
 * with AVX-512, twice 4 with AVX2, four times 4 with vectors of 16 bytes. The rows at the places lie in the first-level
 * cache, because every one of them serves many rows of the result.
 */

/* Write where the flags, `size` bytes of 0 or 1, are 1; return at how many places. 64 flags are gathered to the bits of
 * a number, and these are taken one by one: 0.4 cycles a flag and 2.4 for each place, where a loop that writes each
 * number and goes on by the flag takes 2.7 cycles a flag.
 */
SIMD_TARGET static inline int SIMD_NAME(find)(const uint8_t *flags, ptrdiff_t size, uint8_t *places) {
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
        for (; mask; mask &= mask - 1) places[count++] = (uint8_t)(first + __builtin_ctzll(mask));
    }
    return count;
}

/* Write the places of what is not 0 in x, and the values; return how many. `size` is at most GATHER_SIZE, and both have
 * room for it as a multiple of 16. AVX-512 has an instruction for it; with AVX2 those of four are moved together as a
 * table says, which takes half the time of finding the places and then reading the values.
 */
SIMD_TARGET static int SIMD_NAME(gather)(const float *x, ptrdiff_t size, uint8_t *places, float *values) {
    int count = 0;
#if SIMD_LANES == 16
    __m512i numbers = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (ptrdiff_t i = 0; i < size; i += 16, numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(16))) {
        const __mmask16 inside = (__mmask16)(size - i < 16 ? (1 << (size - i)) - 1 : 0xffff);
        const __m512 some = _mm512_maskz_loadu_ps(inside, x + i);
        const __mmask16 wanted = _mm512_cmp_ps_mask(some, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        /* GCC 12 may keep the 16 bits of a mask in memory and count the ones of 32; this makes it take a copy. */
        unsigned bits = wanted;
        __asm__("" : "+r"(bits));
        _mm512_storeu_ps(values + count, _mm512_maskz_compress_ps(wanted, some));
        _mm_storeu_si128((__m128i *)(places + count),
                         _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(wanted, numbers)));
        count += __builtin_popcount(bits);
    }
#elif SIMD_LANES == 8
    /* The numbers of the bits that are 1, in order, a byte each. */
    static const uint32_t bits[16] = {0,       0,       0x1,     0x100,     0x2,     0x200,     0x201,     0x20100,
                                      0x3,     0x300,   0x301,   0x30100,   0x302,   0x30200,   0x30201,   0x3020100};
    ptrdiff_t i = 0;
    for (; i + 4 <= size; i += 4) {
        const __m128 some = _mm_loadu_ps(x + i);
        const int wanted = _mm_movemask_ps(_mm_cmpneq_ps(some, _mm_setzero_ps()));
        const __m128i from = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)bits[wanted]));
        const uint32_t numbers = bits[wanted] + 0x01010101 * (uint32_t)i;
        _mm_storeu_ps(values + count, _mm_permutevar_ps(some, from));
        memcpy(places + count, &numbers, sizeof numbers);
        count += __builtin_popcount((unsigned)wanted);
    }
    for (; i < size; i++)
        if (x[i] != 0) values[count] = x[i], places[count++] = (uint8_t)i;
#else
    uint8_t flags[GATHER_SIZE];
    for (ptrdiff_t i = 0; i < size; i++) flags[i] = x[i] != 0;
    count = SIMD_NAME(find)(flags, size, places);
    for (int i = 0; i < count; i++) values[i] = x[places[i]];
#endif
    return count;
}

/* What is not 0 in the rows first to end - 1 of a, in the order in which products read it: block by block. */
SIMD_TARGET static void SIMD_NAME(find_rows)(const float *a, const simd_sparse *s, ptrdiff_t first, ptrdiff_t end) {
    const ptrdiff_t blocks = simd_parts(s->k, SPARSE_DEPTH);
    ptrdiff_t start = first * blocks * SPARSE_DEPTH;
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t size = simd_least(s->k - block * SPARSE_DEPTH, SPARSE_DEPTH);
        for (ptrdiff_t m = first; m < end; m++) {
            const ptrdiff_t slot = block * s->m + m;
            s->starts[slot] = start;
            s->counts[slot] = (uint8_t)SIMD_NAME(gather)(a + m * s->k + block * SPARSE_DEPTH, size, s->places + start,
                                                         s->values + start);
            start += s->counts[slot];
        }
    }
}

/* c = beta * c + factor * sum of values[i] * b[places[i]] over i below count, for some vectors of columns. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(sparse_row)(
    const int vectors, const uint8_t *places, const float *values, ptrdiff_t count, const float *b, ptrdiff_t b_step,
    float *c, float factor, float beta) {
    FLOATS sums[8];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) sums[v] = (FLOATS){0};
    for (ptrdiff_t i = 0; i < count; i++) {
        const float value = values[i], *const row = b + places[i] * b_step;
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[v] += value * *(const FLOATS *)(row + v * SIMD_LANES);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        FLOATS *const cells = (FLOATS *)(c + v * SIMD_LANES);
        if (beta == 0) *cells = factor * sums[v];
        else *cells = beta * *cells + factor * sums[v];
    }
}

/* The same for a slot of a sparse matrix and `width` columns. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(sparse_columns)(
    const int width, const int vectors, const simd_sparse *s, ptrdiff_t slot, const float *b, ptrdiff_t b_step,
    float *c, float factor, float beta) {
    for (int first = 0; first < width; first += vectors * SIMD_LANES)
        SIMD_NAME(sparse_row)(vectors, s->places + s->starts[slot], s->values + s->starts[slot], s->counts[slot],
                              b + first, b_step, c + first, factor, beta);
}

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

/* to[j][i] = from[i][j] for i < rows and j < columns, four rows of the one that has the longer ones at a time. */
SIMD_TARGET static void SIMD_NAME(transpose)(const float *from, ptrdiff_t from_step, ptrdiff_t rows, ptrdiff_t columns,
                                             float *to, ptrdiff_t to_step) {
    const ptrdiff_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    const int by_columns = to_step > from_step;
    for (ptrdiff_t outer = 0; outer < (by_columns ? whole_columns : whole_rows); outer += 4) {
        for (ptrdiff_t inner = 0; inner < (by_columns ? whole_rows : whole_columns); inner += 4) {
            const ptrdiff_t i = by_columns ? inner : outer, j = by_columns ? outer : inner;
            const float *const row = from + i * from_step + j;
            SIMD_NAME(transpose_4)(row, row + from_step, row + 2 * from_step, row + 3 * from_step,
                                   to + j * to_step + i, to_step);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = i < whole_rows ? whole_columns : 0; j < columns; j++)
            to[j * to_step + i] = from[i * from_step + j];
}

/* Rows d0 to d0 + AFFINE_ROWS - 1 of an Affine layer's weight, what simd_affine_backward does for them. They are
 * transposed, a block of columns at a time: the input gradient is a sum of rows of that, and so is what the update adds
 * to it; then they are transposed back. Where there are fewer rows, columns of zeros stand for the others.
 *
 * The rows' part of the input gradient lies in as many places as there are examples, each far from the next. It is
 * formed where it lies close together, AFFINE_EXAMPLES examples at a time, the first ones last, together with the update:
 * 1,000 examples take a sixth less so. x is copied where that is done once, or where columns of zeros are needed.
 */
SIMD_TARGET static void SIMD_NAME(sparse_affine)(const simd_affine *s, const simd_sparse *by_n, const simd_sparse *by_m,
                                                 ptrdiff_t d0) {
    enum { DEPTH = SPARSE_DEPTH, WIDTH = AFFINE_ROWS };
    float transposed[DEPTH * WIDTH] __attribute__((aligned(64)));
    float x[DEPTH * WIDTH] __attribute__((aligned(64)));
    float dx[AFFINE_EXAMPLES * WIDTH] __attribute__((aligned(64)));
    const ptrdiff_t rows = simd_least(s->d - d0, WIDTH), groups = s->dx ? simd_parts(s->n, AFFINE_EXAMPLES) : 1;
    const size_t size = (size_t)rows * sizeof(float);
    const int is_once = s->n <= DEPTH, copies = is_once || rows < WIDTH;
    if (rows < WIDTH) memset(transposed, 0, sizeof transposed), memset(x, 0, sizeof x);
    for (ptrdiff_t group = groups - 1; group >= 0; group--) {
        const ptrdiff_t first = group * AFFINE_EXAMPLES, end = simd_least(first + AFFINE_EXAMPLES, s->n);
        for (ptrdiff_t m0 = 0; m0 < s->m; m0 += DEPTH) {
            const ptrdiff_t depth = simd_least(s->m - m0, DEPTH);
            if (s->dx || s->out == s->weight)
                SIMD_NAME(transpose)(s->weight + d0 * s->m + m0, s->m, rows, depth, transposed, WIDTH);
            for (ptrdiff_t n = first; s->dx && n < end; n++)
                SIMD_NAME(sparse_columns)(WIDTH, 4, by_n, m0 / DEPTH * s->n + n, transposed, WIDTH,
                                          dx + (n - first) * WIDTH, 1, m0 ? 1 : 0);
            if (group) continue;
            for (ptrdiff_t n0 = 0; n0 < s->n; n0 += DEPTH) {
                const float *const from = s->x + n0 * s->d + d0;
                for (ptrdiff_t n = 0; copies && !(is_once && m0) && n < simd_least(s->n - n0, DEPTH); n++)
                    memcpy(x + n * WIDTH, from + n * s->d, size);
                for (ptrdiff_t m = m0; m < m0 + depth; m++)
                    SIMD_NAME(sparse_columns)(WIDTH, 4, by_m, n0 / DEPTH * s->m + m, copies ? x : from,
                                              copies ? WIDTH : s->d, transposed + (m - m0) * WIDTH, -s->rate,
                                              n0 ? 1 : s->decay);
            }
            SIMD_NAME(transpose)(transposed, WIDTH, depth, rows, s->out + d0 * s->m + m0, s->m);
        }
        for (ptrdiff_t n = first; s->dx && n < end; n++)
            memcpy(s->dx + n * s->d + d0, dx + (n - first) * WIDTH, size);
    }
}

/* Sums of the rows p0 to p1 - 1 of B for the rows that `a` has, into C, whose rows have room for a multiple of
 * SPARSE_COLUMNS; p0 is a multiple of SPARSE_DEPTH. Block by block of the common axis, as many columns as 8 vectors have
 * are copied to where their vectors lie at cache lines, with zeros for columns that B does not have, and serve all rows.
 *
 * Every row ends with a branch that nothing predicts, behind which nothing is read ahead: what is needed two rows
 * later, and a part of the next block of B, is fetched meanwhile. With AVX2 that takes a third of the time away.
 */
SIMD_TARGET static void SIMD_NAME(sparse_block)(const simd_product *s, const simd_sparse *a, ptrdiff_t p0,
                                                ptrdiff_t p1) {
    enum { DEPTH = SPARSE_DEPTH, PANEL = 8 * SIMD_LANES, LATER = 2 };
    float copy[DEPTH * PANEL] __attribute__((aligned(64)));
    const ptrdiff_t panels = simd_parts(s->n, PANEL), row_lines = simd_parts(s->n, SIMD_LINE);
    for (ptrdiff_t p = p0; p < p1; p += DEPTH) {
        const ptrdiff_t depth = simd_least(p1 - p, DEPTH), slot = p / DEPTH * a->m;
        const ptrdiff_t lines = p + DEPTH < p1 ? simd_least(p1 - p - DEPTH, DEPTH) * row_lines : 0;
        const float *next = s->b + (p + DEPTH) * s->b_step;
        ptrdiff_t line = 0, column = 0;
        for (ptrdiff_t panel = 0; panel < panels; panel++) {
            const ptrdiff_t columns = simd_least(s->n - panel * PANEL, PANEL);
            if (columns < PANEL) memset(copy, 0, sizeof copy);
            for (ptrdiff_t i = 0; i < depth; i++) {
                const float *const row = s->b + (p + i) * s->b_step + panel * PANEL;
                ptrdiff_t j = 0;
                for (; j + SIMD_LANES <= columns; j += SIMD_LANES)
                    *(FLOATS *)(copy + i * PANEL + j) = *(const FLOATS *)(row + j);
                for (; j < columns; j++) copy[i * PANEL + j] = row[j];
            }
            float *sums = s->c + panel * PANEL;
            for (ptrdiff_t m = 0; m < a->m; m++, sums += s->c_step) {
                for (const ptrdiff_t end = lines * (panel * a->m + m + 1) / (panels * a->m); line < end; line++) {
                    __builtin_prefetch(next + column * SIMD_LINE, 0, 2);
                    if (++column == row_lines) column = 0, next += s->b_step;
                }
                for (ptrdiff_t j = 0; j < PANEL; j += SIMD_LINE) __builtin_prefetch(sums + LATER * s->c_step + j, 1);
                SIMD_NAME(sparse_columns)(PANEL, 8, a, slot + m, copy, PANEL, sums, 1, p > p0 ? 1 : 0);
            }
        }
    }
}

/* sums[j] += sum of values[r] * rows[r][j] over r below `count` and for so many vectors from column j on; both are
 * constants where this is inlined. The same columns of the rows that are used later are fetched.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(add_vectors)(
    const int count, const int vectors, const float *const *rows, const float *const *later, const float *values,
    ptrdiff_t j, float *sums) {
    FLOATS parts[ROW_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) parts[v] = *(const FLOATS *)(sums + j + v * SIMD_LANES);
#pragma GCC unroll 4
    for (int r = 0; r < count; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) parts[v] += values[r] * *(const FLOATS *)(rows[r] + j + v * SIMD_LANES);
#pragma GCC unroll 4
        for (int lane = 0; lane < vectors * SIMD_LANES; lane += SIMD_LINE) __builtin_prefetch(later[r] + j + lane, 0, 3);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) *(FLOATS *)(sums + j + v * SIMD_LANES) = parts[v];
}

/* sums[j] += sum of values[i] * b[places[i]][j] over i below count, a constant where inlined; `tail` are the last vector
 * of columns, of which those that do not fill a vector are taken. The rows that are ROW_AHEAD places further on are
 * fetched.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(add_rows)(
    const int count, const uint8_t *places, const float *values, const float *b, ptrdiff_t n, float *sums,
    FLOATS *tail) {
    const float *rows[ROW_COUNT], *later[ROW_COUNT];
#pragma GCC unroll 4
    for (int r = 0; r < count; r++) rows[r] = b + places[r] * n, later[r] = b + places[r + ROW_AHEAD] * n;
    ptrdiff_t j = 0;
    for (; j + ROW_VECTORS * SIMD_LANES <= n; j += ROW_VECTORS * SIMD_LANES)
        SIMD_NAME(add_vectors)(count, ROW_VECTORS, rows, later, values, j, sums);
    for (; j + SIMD_LANES <= n; j += SIMD_LANES) SIMD_NAME(add_vectors)(count, 1, rows, later, values, j, sums);
    if (j < n) {
#pragma GCC unroll 4
        for (int r = 0; r < count; r++) *tail += values[r] * *(const FLOATS *)(rows[r] + n - SIMD_LANES);
    }
}

/* sums = a[first:end] @ b[first:end] for a vector a and a matrix b whose rows have n elements, a vector at least. Memory
 * is the limit here: the rows are read where they lie, from end to end and four at a time, those at zeros of a not at
 * all.
 */
SIMD_TARGET static void SIMD_NAME(product_row)(const float *a, const float *b, ptrdiff_t first, ptrdiff_t end,
                                               ptrdiff_t n, float *sums) {
    enum { DEPTH = GATHER_SIZE };
    uint8_t places[DEPTH + ROW_AHEAD];
    float values[DEPTH];
    FLOATS tail = {0};
    memset(sums, 0, (size_t)n * sizeof *sums);
    for (ptrdiff_t p = first; p < end; p += DEPTH) {
        const ptrdiff_t depth = simd_least(end - p, DEPTH);
        const int count = SIMD_NAME(gather)(a + p, depth, places, values);
        memset(places + (unsigned)count, count ? places[count - 1] : 0, ROW_AHEAD);
        int i = 0;
        for (; i + ROW_COUNT <= count; i += ROW_COUNT)
            SIMD_NAME(add_rows)(ROW_COUNT, places + i, values + i, b + p * n, n, sums, &tail);
        for (; i < count; i++) SIMD_NAME(add_rows)(1, places + i, values + i, b + p * n, n, sums, &tail);
    }
    float last[SIMD_LANES];
    memcpy(last, &tail, sizeof last);
    for (ptrdiff_t j = n / SIMD_LANES * SIMD_LANES; j < n; j++) sums[j] = last[SIMD_LANES - (n - j)];
}
