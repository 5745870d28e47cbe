/* What is done to the names of files: created, linked, renamed, removed. */
#define _GNU_SOURCE
#include "shim.h"
#include "undo.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int openat(int dir, const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    char path[PATH_BYTES];
    int ours = flags & (O_CREAT | O_TRUNC) && resolve(dir, name, path);
    struct stat file;
    int existed = ours && syscall(SYS_newfstatat, AT_FDCWD, path, &file, 0) == 0;
    if (existed && flags & O_TRUNC && S_ISREG(file.st_mode)) {
        undo_write(path, &file, 0, -1);
    }
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
    if (fd >= 0 && ours && !existed) {
        undo_name("create", path, "");
    }
    return fd;
}

int open(const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return openat(AT_FDCWD, name, flags, mode);
}

int creat(const char *name, mode_t mode) {
    return openat(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int unlinkat(int dir, const char *name, int flags) {
    char path[PATH_BYTES], kept[PATH_BYTES];
    int ours = !(flags & AT_REMOVEDIR) && resolve(dir, name, path);
    if (ours) {
        undo_keep(path, kept);
    }
    int result = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (result == 0 && ours && kept[0] != 0) {
        undo_name("unlink", path, kept);
    }
    return result;
}

int unlink(const char *name) {
    return unlinkat(AT_FDCWD, name, 0);
}

int rename(const char *from, const char *to) {
    char source[PATH_BYTES], target[PATH_BYTES], kept[PATH_BYTES];
    int ours = resolve(AT_FDCWD, from, source) && resolve(AT_FDCWD, to, target);
    if (ours) {
        undo_keep(target, kept);
    }
    int result = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    if (result == 0 && ours) {
        /* The way back is: the new name goes, then what had it before comes back. */
        if (kept[0] != 0) {
            undo_name("unlink", target, kept);
        }
        undo_name("rename", target, source);
    }
    return result;
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char target[PATH_BYTES];
    int result = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    if (result == 0 && resolve(to_dir, to, target)) {
        undo_name("create", target, "");
    }
    return result;
}

int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The names of programs that were compiled for large files everywhere. */
int open64(const char *name, int flags, ...) __attribute__((alias("open")));
int openat64(int dir, const char *name, int flags, ...) __attribute__((alias("openat")));
int creat64(const char *name, mode_t mode) __attribute__((alias("creat")));
