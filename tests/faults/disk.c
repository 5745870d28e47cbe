/* A disk that can be slow, full, broken and forgetful, in front of the real one: preloaded into
 * the broker, it wraps what writes, syncs and names files below FAULTS_DATA. */
#define _GNU_SOURCE
#include "shim.h"
#include "undo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control *control;
char undo_dir[PATH_BYTES - 64];
static char data_dir[PATH_BYTES];
/* A file's record and the file itself change together. */
static pthread_mutex_t locks[64];

int shim_on(void) {
    return control != NULL;
}

__attribute__((constructor)) static void begin(void) {
    const char *data = getenv("FAULTS_DATA"), *undo = getenv("FAULTS_UNDO");
    const char *path = getenv("FAULTS_CONTROL");
    if (data == NULL || undo == NULL || path == NULL) {
        return;
    }
    snprintf(data_dir, sizeof data_dir, "%s", data);
    snprintf(undo_dir, sizeof undo_dir, "%s", undo);
    for (size_t at = 0; at < sizeof locks / sizeof *locks; at++) {
        pthread_mutex_init(&locks[at], NULL);
    }
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || mapped == MAP_FAILED) {
        perror("shim: the control file");
        abort();
    }
    syscall(SYS_close, fd);
    control = mapped;
    /* A broker whose campaign was killed is nobody's. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    trap_direct_calls();
}

/* ── which file ── */

static int is_ours(const char *path) {
    size_t length = strlen(data_dir);
    return strncmp(path, data_dir, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* Whether `fd` is a file or directory of the broker's data; its path and state. */
static int find(int fd, mode_t kind, char *path, struct stat *file) {
    char link[64];
    if (!shim_on() || syscall(SYS_newfstatat, fd, "", file, AT_EMPTY_PATH) != 0 ||
        (file->st_mode & S_IFMT) != kind) {
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long bytes = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_BYTES - 1);
    path[bytes < 0 ? 0 : bytes] = 0;
    return is_ours(path);
}

/* The whole path of `name` in `dir`, if it is the broker's data. */
int resolve(int dir, const char *name, char *path) {
    path[0] = 0;
    if (!shim_on()) {
        return 0;
    }
    if (name[0] == '/') {
        snprintf(path, PATH_BYTES, "%s", name);
    } else if (dir != AT_FDCWD) {
        struct stat file;
        char parent[PATH_BYTES];
        if (!find(dir, S_IFDIR, parent, &file)) {
            return 0;
        }
        /* A path that is cut off is not ours. */
        return snprintf(path, PATH_BYTES, "%s/%s", parent, name) < PATH_BYTES;
    }
    return is_ours(path);
}

static pthread_mutex_t *lock_of(const struct stat *file) {
    pthread_mutex_t *lock = &locks[file->st_ino % (sizeof locks / sizeof *locks)];
    pthread_mutex_lock(lock);
    return lock;
}

/* ── writes ── */

static long raw_write(int fd, const struct iovec *parts, int count, off_t at) {
    return at < 0 ? syscall(SYS_writev, fd, parts, count)
                  : syscall(SYS_pwritev, fd, parts, count, at, 0L, OURS);
}

/* All writes end here; `at` is negative where the file's own position counts. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at) {
    char path[PATH_BYTES];
    struct stat file;
    if (!find(fd, S_IFREG, path, &file)) {
        return raw_write(fd, parts, count, at);
    }
    pthread_mutex_t *lock = lock_of(&file);
    syscall(SYS_newfstatat, fd, "", &file, AT_EMPTY_PATH);
    off_t from = at;
    if (from < 0) {
        int appends = (int)syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
        from = appends ? file.st_size : (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    }
    int64_t bytes = 0;
    if (count <= 0) {
        pthread_mutex_unlock(lock);
        return raw_write(fd, parts, count, at);
    }
    for (int part = 0; part < count; part++) {
        bytes += (int64_t)parts[part].iov_len;
    }
    ssize_t result = -1;
    struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
    if (control->full && from + bytes > file.st_size) {
        int64_t refused = __atomic_fetch_add(&control->refused, 1, __ATOMIC_RELAXED);
        errno = ENOSPC;
        /* There may be room for some of it. */
        if (half.iov_len > 0 && refused % 2 == 0) {
            undo_write(path, &file, from, (int64_t)half.iov_len);
            result = raw_write(fd, &half, 1, at);
        }
    } else {
        __atomic_fetch_add(&control->writes, 1, __ATOMIC_RELAXED);
        undo_write(path, &file, from, bytes);
        result = raw_write(fd, parts, count, at);
    }
    pthread_mutex_unlock(lock);
    return result;
}

ssize_t disk_pwritev(int fd, const void *parts, int count, off_t at) {
    return write_parts(fd, parts, count, at);
}

ssize_t write(int fd, const void *from, size_t bytes) {
    struct iovec part = {(void *)from, bytes};
    return write_parts(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return write_parts(fd, parts, count, -1);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) {
    struct iovec part = {(void *)from, bytes};
    return write_parts(fd, &part, 1, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return write_parts(fd, parts, count, at);
}

int ftruncate(int fd, off_t bytes) {
    char path[PATH_BYTES];
    struct stat file;
    if (find(fd, S_IFREG, path, &file)) {
        pthread_mutex_t *lock = lock_of(&file);
        syscall(SYS_newfstatat, fd, "", &file, AT_EMPTY_PATH);
        undo_write(path, &file, bytes, -1);
        long result = syscall(SYS_ftruncate, fd, bytes);
        pthread_mutex_unlock(lock);
        return (int)result;
    }
    return (int)syscall(SYS_ftruncate, fd, bytes);
}

int fallocate(int fd, int mode, off_t at, off_t bytes) {
    char path[PATH_BYTES];
    struct stat file;
    if (find(fd, S_IFREG, path, &file)) {
        if (control->full) {
            __atomic_fetch_add(&control->refused, 1, __ATOMIC_RELAXED);
            errno = ENOSPC;
            return -1;
        }
        undo_write(path, &file, file.st_size, 0);
    }
    return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
}

int posix_fallocate(int fd, off_t at, off_t bytes) {
    return fallocate(fd, 0, at, bytes) == 0 ? 0 : errno;
}

int disk_statfs(const char *path, void *stat) {
    long result = syscall(SYS_statfs, path, stat, 0L, 0L, 0L, OURS);
    if (result == 0 && control->no_space && is_ours(path)) {
        ((struct statfs *)stat)->f_bavail = 0;
        ((struct statfs *)stat)->f_bfree = 0;
    }
    return (int)result;
}

/* ── syncs ── */

static int takes_failure(const char *path) {
    if (strstr(path, control->fail_path) == NULL) {
        return 0;
    }
    int left = control->syncs_to_fail;
    while (left > 0 && !__atomic_compare_exchange_n(&control->syncs_to_fail, &left, left - 1, 0,
                                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return left > 0;
}

/* After a failed sync the system may call the pages clean that it could not write: no later sync
 * of the same process makes them durable. */
static ino_t distrusted[64];
static unsigned distrusted_count;

static int is_distrusted(ino_t inode) {
    unsigned count = distrusted_count < 64 ? distrusted_count : 64;
    for (unsigned at = 0; at < count; at++) {
        if (distrusted[at] == inode) {
            return 1;
        }
    }
    return 0;
}

static int sync_file(int fd, long number) {
    char path[PATH_BYTES];
    struct stat file;
    int is_file = find(fd, S_IFREG, path, &file);
    if (!is_file && !find(fd, S_IFDIR, path, &file)) {
        return (int)syscall(number, fd);
    }
    if (control->sync_delay_ns > 0) {
        struct timespec delay = {control->sync_delay_ns / 1000000000,
                                 control->sync_delay_ns % 1000000000};
        syscall(SYS_nanosleep, &delay, NULL);
    }
    if (takes_failure(path)) {
        unsigned at = __atomic_fetch_add(&distrusted_count, 1, __ATOMIC_RELAXED);
        distrusted[at % 64] = file.st_ino;
        __atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED);
        errno = EIO;
        return -1;
    }
    __atomic_fetch_add(&control->syncs, 1, __ATOMIC_RELAXED);
    if (control->lie) {
        return 0;
    }
    if (!is_file) {
        undo_name("sync", path, "");
        return 0;
    }
    pthread_mutex_t *lock = lock_of(&file);
    int result = (int)syscall(number, fd);
    if (result == 0 && !is_distrusted(file.st_ino)) {
        undo_forget(file.st_ino);
    }
    pthread_mutex_unlock(lock);
    return result;
}

int fdatasync(int fd) {
    return sync_file(fd, SYS_fdatasync);
}

int fsync(int fd) {
    return sync_file(fd, SYS_fsync);
}

/* The names of programs that were compiled for large files everywhere. */
ssize_t pwrite64(int fd, const void *from, size_t bytes, off_t at)
    __attribute__((alias("pwrite")));
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at)
    __attribute__((alias("pwritev")));
int ftruncate64(int fd, off_t bytes) __attribute__((alias("ftruncate")));
int posix_fallocate64(int fd, off_t at, off_t bytes) __attribute__((alias("posix_fallocate")));
int fallocate64(int fd, int mode, off_t at, off_t bytes) __attribute__((alias("fallocate")));
