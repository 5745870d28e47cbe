/* What the parts of the shim share: the control file, which tests/faults/disk.py writes, and the
 * system's calls under names that nothing wraps. */
#ifndef SHIM_H
#define SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The control file, mapped by the broker and by the campaign: disk.py has the same layout. */
struct control {
    volatile int64_t clock_offset_ns; /* added to the time of day */
    volatile int64_t sync_delay_ns;   /* each sync takes so much longer */
    volatile int32_t syncs_to_fail;   /* so many syncs of `fail_path` fail with EIO */
    volatile int32_t full;            /* writes that make a file longer fail with ENOSPC */
    volatile int32_t no_space;        /* statfs says that nothing is free */
    volatile int32_t lie;             /* syncs succeed, and make nothing durable */
    volatile int64_t writes, syncs, failed, refused; /* counted */
    char fail_path[64];               /* part of a path; empty is all */
};

extern struct control *control;

/* Whether there is something to control: the shim is told by the environment. */
int shim_on(void);

/* A sixth argument that marks our own calls where the filter would trap others. */
#define OURS 0x616e61627261L

ssize_t disk_pwritev(int fd, const void *iov, int count, off_t at);
int disk_statfs(const char *path, void *stat);
void trap_direct_calls(void);

#endif
