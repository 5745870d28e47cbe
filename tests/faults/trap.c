/* Calls that the broker makes without libc: rustix writes with the `syscall` instruction itself,
 * which no wrapped function sees. A seccomp filter has the kernel send SIGSYS instead, and the
 * handler does what a wrapped function would. Our own calls carry a mark and pass. */
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#if defined(__x86_64__)
#define ARGUMENT(context, n) \
    ((context)->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10}[n]])
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARGUMENT(context, n) ((context)->uc_mcontext.regs[n])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#else
#error "tell where this machine keeps the arguments of a call"
#endif

static void trapped(int signal, siginfo_t *info, void *data) {
    (void)signal;
    ucontext_t *context = data;
    int before = errno;
    long result = -1;
    errno = ENOSYS;
    if (info->si_syscall == SYS_pwritev) {
        result = disk_pwritev((int)ARGUMENT(context, 0), (const void *)ARGUMENT(context, 1),
                              (int)ARGUMENT(context, 2), (off_t)ARGUMENT(context, 3));
    } else if (info->si_syscall == SYS_statfs) {
        result = disk_statfs((const char *)ARGUMENT(context, 0), (void *)ARGUMENT(context, 1));
    }
    RESULT(context) = result < 0 ? -errno : result;
    errno = before;
}

void trap_direct_calls(void) {
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    /* Little endian: the mark's lower half stands first. */
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_statfs, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)OURS, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("shim: calls cannot be trapped");
        abort();
    }
}
