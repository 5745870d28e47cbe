/* What a power cut could take: for each file what it held before each write since its last sync,
 * and for all names what was done to them and which directories were synced since.
 *
 * `undo/INODE` is a list of records: a `struct before`, and the bytes that were there. `undo/names`
 * is a list of lines. `undo/INODE.gone` keeps a file whose last name was taken away.
 * tests/faults/disk.py reads them, while no broker runs. */
#define _GNU_SOURCE
#include "undo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct before {
    int64_t at;    /* where was written */
    int64_t bytes; /* how much */
    int64_t size;  /* of the file before */
    int64_t kept;  /* bytes that follow */
};

static int raw_open(const char *path, int flags) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static void must(int done, const char *what) {
    if (!done) {
        perror(what);
        abort();
    }
}

static void undo_path(char *out, ino_t inode, const char *kind) {
    snprintf(out, PATH_BYTES, "%s/%llu%s", undo_dir, (unsigned long long)inode, kind);
}

void undo_write(const char *path, const struct stat *file, off_t at, int64_t bytes) {
    /* What a write leaves alone is not lost: only what it covers, or cuts off, is kept. */
    int64_t end = bytes < 0 ? file->st_size : at + bytes;
    end = end < file->st_size ? end : file->st_size;
    struct before before = {at, bytes < 0 ? 0 : bytes, file->st_size, end > at ? end - at : 0};
    char undo[PATH_BYTES];
    undo_path(undo, file->st_ino, "");
    size_t total = sizeof before + (size_t)before.kept;
    char *record = malloc(total);
    must(record != NULL, "shim: memory");
    memcpy(record, &before, sizeof before);
    int from = raw_open(path, O_RDONLY);
    must(from >= 0, "shim: what is written cannot be read");
    long read = before.kept == 0
        ? 0 : syscall(SYS_pread64, from, record + sizeof before, before.kept, at);
    must(read == before.kept, "shim: what is written cannot be read");
    syscall(SYS_close, from);
    int to = raw_open(undo, O_WRONLY | O_CREAT | O_APPEND);
    must(to >= 0 && syscall(SYS_write, to, record, total) == (long)total, "shim: undo");
    syscall(SYS_close, to);
    free(record);
}

void undo_forget(ino_t inode) {
    char undo[PATH_BYTES];
    undo_path(undo, inode, "");
    syscall(SYS_unlinkat, AT_FDCWD, undo, 0);
}

void undo_name(const char *what, const char *path, const char *other) {
    char line[2 * PATH_BYTES + 16], names[PATH_BYTES];
    int bytes = snprintf(line, sizeof line, "%s\t%s\t%s\n", what, path, other);
    snprintf(names, sizeof names, "%s/names", undo_dir);
    int to = raw_open(names, O_WRONLY | O_CREAT | O_APPEND);
    must(to >= 0 && syscall(SYS_write, to, line, bytes) == bytes, "shim: names");
    syscall(SYS_close, to);
}

void undo_keep(const char *path, char *kept) {
    struct stat file;
    kept[0] = 0;
    if (syscall(SYS_newfstatat, AT_FDCWD, path, &file, 0) == 0 && S_ISREG(file.st_mode)) {
        undo_path(kept, file.st_ino, ".gone");
        syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0);
    }
}
