/* One pool of threads for the whole process.
 *
 * pool_run(task, job, count, size) calls task(job, index, slot) once for every index in [0, count), in any order, on
 * the calling thread and on at most size - 1 of the pool's. Nothing may depend on which thread takes an index: a task
 * writes what belongs to its index, and sums over indices are left to the caller. The slot, below `size`, tells the
 * threads of one run apart, for scratch memory.
 *
 * Each thread has a share of neighbouring indices, the same one in every run of the same count, and helps with the
 * others' when it is done. What it read and wrote in the run before, such as its part of the weights, is then in its
 * own caches. That matters most where the processors' caches are far from each other, as in some virtual machines.
 *
 * A run belongs to the thread that called it. It never waits for a thread that has not begun: where the processor is
 * busy with something else, the caller does the work alone. A second run at the same time, from another Python thread
 * or from inside a task, finds the pool taken and does its own work alone, with the same result.
 *
 * Threads are started by the first run that wants them. An idle thread spins for a moment and then sleeps: the parts of
 * a training step follow each other within microseconds, and waking a thread takes longer. A thread above the last
 * run's size neither spins nor is woken. After a fork the child has no threads and starts its own. A run that was going
 * on, because a task forked, cannot be finished there: pool_run returns 0 instead of 1. That holds where the task runs
 * on the thread that began the run; the child of a fork on another thread never returns.
 *
 * A thread computes in the caller's floating-point environment: rounding, and whether subnormal numbers count as 0.
 */
#ifndef CONVNET_POOL_H
#define CONVNET_POOL_H

#include <stddef.h>
#include <stdint.h>

typedef void pool_task(void *job, ptrdiff_t index, int slot);

/* Most threads of the pool, the caller among them. */
#define POOL_MAX 256

static int pool_alone(pool_task *task, void *job, ptrdiff_t count) {
    for (ptrdiff_t index = 0; index < count; index++) task(job, index, 0);
    return 1;
}

/* Compilers that know GNU C as gcc 10 does; some only pretend to be gcc. */
#if defined(__clang__) || __GNUC__ >= 10 && !defined(__INTEL_COMPILER) && !defined(__NVCOMPILER)
#define GNU_C
#endif

/* How many threads the kernels use; any thread may set it while others compute. */
static int pool_in_use = 1;

static inline int pool_kernel_threads(void) {
#ifdef GNU_C
    return __atomic_load_n(&pool_in_use, __ATOMIC_RELAXED);
#else
    return pool_in_use;
#endif
}

static inline void pool_set_kernel_threads(int count) {
#ifdef GNU_C
    __atomic_store_n(&pool_in_use, count, __ATOMIC_RELAXED);
#else
    pool_in_use = count;
#endif
}

/* Emscripten has threads only where it is asked for them. */
#if defined(GNU_C) && (!defined(__EMSCRIPTEN__) || defined(__EMSCRIPTEN_PTHREADS__))

#include <fenv.h>

#ifdef _WIN32 /* threads by Windows' own functions */

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

typedef SRWLOCK pool_lock;
typedef CONDITION_VARIABLE pool_condition;
#define POOL_LOCK SRWLOCK_INIT
#define POOL_CONDITION CONDITION_VARIABLE_INIT

static inline void pool_acquire(pool_lock *lock) { AcquireSRWLockExclusive(lock); }
static inline void pool_release(pool_lock *lock) { ReleaseSRWLockExclusive(lock); }
static inline void pool_wait(pool_condition *condition, pool_lock *lock) {
    SleepConditionVariableSRW(condition, lock, INFINITE, 0);
}
static inline void pool_signal(pool_condition *condition) { WakeAllConditionVariable(condition); }
static inline void pool_yield(void) { SwitchToThread(); }

static inline int64_t pool_nanoseconds(void) {
    LARGE_INTEGER now, second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&second);
    return (int64_t)((double)now.QuadPart / (double)second.QuadPart * 1e9);
}

#else /* POSIX threads */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

typedef pthread_mutex_t pool_lock;
typedef pthread_cond_t pool_condition;
#define POOL_LOCK PTHREAD_MUTEX_INITIALIZER
#define POOL_CONDITION PTHREAD_COND_INITIALIZER

static inline void pool_acquire(pool_lock *lock) { pthread_mutex_lock(lock); }
static inline void pool_release(pool_lock *lock) { pthread_mutex_unlock(lock); }
static inline void pool_wait(pool_condition *condition, pool_lock *lock) { pthread_cond_wait(condition, lock); }
static inline void pool_signal(pool_condition *condition) { pthread_cond_broadcast(condition); }
static inline void pool_yield(void) { sched_yield(); }

static inline int64_t pool_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif

/* How long an idle thread spins: about as long as the Python code of a whole training step takes. */
#define POOL_SPIN_NANOSECONDS 200000

/* The run that threads may join. Its fields are written while nobody is inside, before it is opened. */
static struct {
    pool_task *task;
    void *job;
    ptrdiff_t count;
    int size;
    fenv_t environment;
} pool_current;

/* The next index of each thread's share, in a cache line of its own. */
static struct {
    ptrdiff_t next;
} __attribute__((aligned(64))) pool_shares[POOL_MAX];

/* Number of the run, times 2 ** 32; plus POOL_OPEN while it may be joined; plus the number of threads inside. */
#define POOL_OPEN (UINT64_C(1) << 31)
#define POOL_RUN (UINT64_C(1) << 32)
static uint64_t pool_state;

static int pool_taken;   /* whether a run is going on */
static int pool_started; /* threads of the pool, without the caller; changed by the run's owner alone */
static int pool_size;    /* threads wanted last, with the caller: those from it on wait in pool_wanted */
static int pool_asleep;  /* threads that wait in pool_wake */
static int pool_forks;   /* how many forks this process is away from the first one that had threads */
static pool_lock pool_mutex = POOL_LOCK;
static pool_condition pool_wake = POOL_CONDITION, pool_wanted = POOL_CONDITION;

static inline void pool_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The first index of a share. */
static ptrdiff_t pool_first(int share) { return pool_current.count * share / pool_current.size; }

/* After a fork within a task the child stops: a run of its own, from inside the task, has taken the fields. */
static void pool_work(int slot) {
    const int forks = pool_forks;
    for (int i = 0; forks == pool_forks && i < pool_current.size; i++) {
        const int share = (slot + i) % pool_current.size;
        const ptrdiff_t end = pool_first(share + 1);
        ptrdiff_t index;
        while (forks == pool_forks &&
               (index = __atomic_fetch_add(&pool_shares[share].next, 1, __ATOMIC_RELAXED)) < end)
            pool_current.task(pool_current.job, index, slot);
    }
}

/* Wait for a run after the last one seen, spinning first, and return the state. */
static uint64_t pool_await(uint64_t seen) {
    const int64_t start = pool_nanoseconds();
    uint64_t state;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            state = __atomic_load_n(&pool_state, __ATOMIC_ACQUIRE);
            if (state / POOL_RUN != seen) return state;
            pool_pause();
        }
        if (pool_nanoseconds() - start > POOL_SPIN_NANOSECONDS) break;
    }
    pool_acquire(&pool_mutex);
    __atomic_fetch_add(&pool_asleep, 1, __ATOMIC_SEQ_CST);
    while ((state = __atomic_load_n(&pool_state, __ATOMIC_SEQ_CST)) / POOL_RUN == seen)
        pool_wait(&pool_wake, &pool_mutex);
    __atomic_fetch_sub(&pool_asleep, 1, __ATOMIC_SEQ_CST);
    pool_release(&pool_mutex);
    return state;
}

/* Wait until a run wants this thread. */
static void pool_await_wanted(int slot) {
    if (slot < __atomic_load_n(&pool_size, __ATOMIC_RELAXED)) return;
    pool_acquire(&pool_mutex);
    while (slot >= __atomic_load_n(&pool_size, __ATOMIC_RELAXED)) pool_wait(&pool_wanted, &pool_mutex);
    pool_release(&pool_mutex);
}

/* Set how many threads are wanted. */
static void pool_want(int size) {
    const int before = __atomic_load_n(&pool_size, __ATOMIC_RELAXED);
    if (size == before) return;
    pool_acquire(&pool_mutex);
    __atomic_store_n(&pool_size, size, __ATOMIC_RELAXED);
    if (size > before) pool_signal(&pool_wanted);
    pool_release(&pool_mutex);
}

static void pool_serve(int slot) {
    uint64_t seen = 0;
    for (;;) {
        pool_await_wanted(slot);
        uint64_t state = pool_await(seen);
        seen = state / POOL_RUN;
        /* Join while the run is open; from then on until it leaves, its fields stay as they are. */
        while (state / POOL_RUN == seen && state & POOL_OPEN) {
            if (!__atomic_compare_exchange_n(&pool_state, &state, state + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                continue;
            if (slot < pool_current.size) {
                fesetenv(&pool_current.environment);
                pool_work(slot);
            }
            __atomic_fetch_sub(&pool_state, 1, __ATOMIC_RELEASE);
            break;
        }
    }
}

#ifdef _WIN32

static DWORD WINAPI pool_thread(void *number) {
    pool_serve((int)(intptr_t)number);
    return 0;
}

/* Start threads until there are count of them, or the system gives no more. Windows itself spreads threads over
 * processors, and has no fork.
 */
static void pool_start(int count) {
    while (pool_started < count) {
        HANDLE thread = CreateThread(NULL, 0, pool_thread, (void *)(intptr_t)(pool_started + 1), 0, NULL);
        if (thread == NULL) break;
        CloseHandle(thread);
        pool_started++;
    }
}

static void pool_spread(int count) { (void)count; }

#else

static pthread_t pool_threads[POOL_MAX];

static void *pool_thread(void *number) {
    pool_serve((int)(intptr_t)number);
    return NULL;
}

/* Tell the first threads, which are about to wake, to do so on other processors than the caller's, of those that it may
 * use. Left to itself Linux may put a thread on the processor of the one that woke it, and they then wait for each
 * other.
 */
static void pool_spread(int count) {
#if defined(__linux__) && defined(CPU_SETSIZE)
    cpu_set_t others;
    const int own = sched_getcpu();
    if (own < 0 || own >= CPU_SETSIZE || sched_getaffinity(0, sizeof others, &others) != 0) return;
    CPU_CLR(own, &others);
    if (CPU_COUNT(&others) == 0) return;
    for (int i = 0; i < count; i++) pthread_setaffinity_np(pool_threads[i], sizeof others, &others);
#else
    (void)count;
#endif
}

static void pool_after_fork(void) {
    pool_state = 0;
    pool_taken = pool_started = pool_size = pool_asleep = 0;
    pool_forks++;
    pthread_mutex_init(&pool_mutex, NULL);
    pthread_cond_init(&pool_wake, NULL);
    pthread_cond_init(&pool_wanted, NULL);
}

/* Start threads until there are count of them, or the system gives no more. They take no signals but those of their own
 * faults, which faulthandler reports.
 */
static void pool_start(int count) {
    static int watching_forks;
    if (!watching_forks) watching_forks = pthread_atfork(NULL, NULL, pool_after_fork) == 0;
    if (!watching_forks) return;
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    while (pool_started < count) {
        pthread_t *const thread = &pool_threads[pool_started];
        if (pthread_create(thread, NULL, pool_thread, (void *)(intptr_t)(pool_started + 1)) != 0) break;
        pthread_detach(*thread);
        pool_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool_spread(pool_started);
}

#endif

static int pool_run(pool_task *task, void *job, ptrdiff_t count, int size) {
    if (size > POOL_MAX) size = POOL_MAX;
    if (size < 2 || count < 2 || __atomic_exchange_n(&pool_taken, 1, __ATOMIC_ACQUIRE))
        return pool_alone(task, job, count);
    pool_want(size);
    if (size > count) size = (int)count;
    if (pool_started < size - 1) pool_start(size - 1);
    pool_current.task = task, pool_current.job = job, pool_current.count = count, pool_current.size = size;
    fegetenv(&pool_current.environment);
    for (int share = 0; share < size; share++)
        __atomic_store_n(&pool_shares[share].next, pool_first(share), __ATOMIC_RELAXED);
    /* The one before is closed and left by all. */
    const uint64_t run = __atomic_load_n(&pool_state, __ATOMIC_RELAXED) / POOL_RUN + 1;
    __atomic_store_n(&pool_state, run * POOL_RUN | POOL_OPEN, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool_asleep, __ATOMIC_SEQ_CST)) {
        pool_spread(pool_started < size - 1 ? pool_started : size - 1);
        pool_acquire(&pool_mutex);
        pool_signal(&pool_wake);
        pool_release(&pool_mutex);
    }
    const int forks = pool_forks;
    pool_work(0);
    if (forks != pool_forks) return 0;
    uint64_t state = __atomic_and_fetch(&pool_state, ~POOL_OPEN, __ATOMIC_ACQ_REL);
    for (int spins = 0; state != run * POOL_RUN; spins++) {
        if (spins < 10000) pool_pause();
        else pool_yield();
        state = __atomic_load_n(&pool_state, __ATOMIC_ACQUIRE);
    }
    __atomic_store_n(&pool_taken, 0, __ATOMIC_RELEASE);
    return 1;
}

#else /* another compiler or system */

static int pool_run(pool_task *task, void *job, ptrdiff_t count, int size) {
    return pool_alone(task, job, count);
}

#endif
#endif
