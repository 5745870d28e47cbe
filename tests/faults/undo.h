/* The record of what was not synced: see undo.c. */
#ifndef UNDO_H
#define UNDO_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define PATH_BYTES 4096

extern char undo_dir[PATH_BYTES - 64];

/* Before a write of `bytes` at `at`; negative: before a cut there. */
void undo_write(const char *path, const struct stat *file, off_t at, int64_t bytes);
/* After a sync. */
void undo_forget(ino_t inode);
/* After something was done to a name. */
void undo_name(const char *what, const char *path, const char *other);
/* The whole path of `name` in `dir`; whether it is the broker's data. */
int resolve(int dir, const char *name, char *path);
/* Before a name goes: gives its file another. */
void undo_keep(const char *path, char *kept);

#endif
