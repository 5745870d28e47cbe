/* The time of day, with the control file's offset. Monotonic clocks are left alone, as they are
 * when somebody sets a machine's clock. */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static void shift(struct timespec *time, int64_t by_ns) {
    int64_t ns = time->tv_sec * SECOND + time->tv_nsec + by_ns;
    time->tv_sec = ns / SECOND;
    time->tv_nsec = ns % SECOND;
}

static int64_t offset(void) {
    return shim_on() ? control->clock_offset_ns : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        shift(time, offset());
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

/* RocksDB waits until a time of day, which the kernel compares with its own. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (wait == NULL) {
        *(void **)&wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    }
    struct timespec real = *until;
    shift(&real, -offset());
    return wait(condition, mutex, &real);
}
