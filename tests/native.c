/* The native code without Python: the pool of threads, and a loop of each instruction set. test_native.py compiles it
 * for the systems whose compilers it finds.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd.h"

#define COUNT 1000
#define OUTER 20
#define INNER 10
#define PATIENCE INT64_C(60000000000)

static int counts[COUNT], arrived, upward, size_now;

static void check(int holds, const char *what) {
    if (holds) return;
    printf("%s\n", what);
    exit(1);
}

static void count_once(void *job, ptrdiff_t index, int slot) {
    check(job == counts && slot >= 0 && slot < size_now, "a task got another job, or a slot that is too large");
    __atomic_fetch_add(&counts[index], 1, __ATOMIC_RELAXED);
}

/* Wait until as many tasks as the job says have come. */
static void meet(void *job, ptrdiff_t index, int slot) {
    (void)index, (void)slot;
    const int64_t start = pool_nanoseconds();
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < *(int *)job) {
        check(pool_nanoseconds() - start < PATIENCE, "tasks do not run at the same time");
        pool_yield();
    }
    if (fegetround() == FE_UPWARD) __atomic_fetch_add(&upward, 1, __ATOMIC_RELAXED);
}

static void meet_all(int size) {
    arrived = upward = 0;
    pool_run(meet, &size, size, size);
    check(arrived == size, "a task did not run");
}

static void add_one(void *job, ptrdiff_t index, int slot) {
    (void)slot;
    __atomic_fetch_add(&((int *)job)[index], 1, __ATOMIC_RELAXED);
}

/* A run of its own, which finds the pool taken. */
static void run_within(void *job, ptrdiff_t index, int slot) {
    (void)slot;
    pool_run(add_one, ((int(*)[INNER])job)[index], INNER, 2);
}

int main(void) {
    static const int sizes[] = {1, 2, 5, 3, 8, 2};
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const ptrdiff_t count = round % 2 ? COUNT : round % 7;
            memset(counts, 0, sizeof counts);
            size_now = sizes[i];
            pool_run(count_once, counts, count, size_now);
            for (ptrdiff_t index = 0; index < COUNT; index++)
                check(counts[index] == (index < count), "an index was not taken once");
        }
        if (round % 50 == 0) /* long enough for the threads to sleep */
            for (const int64_t start = pool_nanoseconds(); pool_nanoseconds() - start < 5000000;) pool_yield();
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) meet_all(sizes[i]);
    static int within[OUTER][INNER];
    pool_run(run_within, within, OUTER, 3);
    for (int i = 0; i < OUTER * INNER; i++)
        check(within[i / INNER][i % INNER] == 1, "a run from inside a task did not take an index once");
    fesetround(FE_UPWARD);
    meet_all(4);
    check(upward == 4, "a thread does not round as its caller does");
    for (int i = 0; i < SIMD_BUILT; i++)
        check(!simd_levels[i]->runs() || simd_peak(simd_levels[i], 100, 2) > 0, "an instruction set does not compute");
    printf("the same\n");
    return 0;
}
