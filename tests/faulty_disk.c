/* A disk that fails at one chosen operation: loaded before libc, below everything that is written in Python.

   arm(folder, at, fault, log) begins to count the operations on files in `folder` and lets `fault` happen at number
   `at`, from 1. One line an operation goes to the file descriptor `log`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FILES = 1024, UNSYNCED = 64 };

static char folder[PATH_MAX], fault[16];
static long at = -1, count;
static int log_to = -1, full;
static char paths[FILES][PATH_MAX]; /* of the open files of the folder, by descriptor */
static int dirty[FILES];            /* written since the last fsync */
static char unsynced[UNSYNCED][PATH_MAX]; /* closed without one */
static struct {
    char to[PATH_MAX], before[PATH_MAX]; /* what had the name before, under another one; empty if nothing had */
} renamed[UNSYNCED];                     /* in a folder that was not synced since */

void arm(const char *in, long number, const char *what, int log) {
    snprintf(folder, sizeof folder, "%s", in);
    snprintf(fault, sizeof fault, "%s", what);
    at = number, count = 0, full = 0, log_to = log;
}

static int is(const char *what) { return strcmp(fault, what) == 0; }

static int ours(const char *path) { return at >= 0 && path && strncmp(path, folder, strlen(folder)) == 0; }

static const char *file(int descriptor) {
    return at >= 0 && descriptor >= 0 && descriptor < FILES && *paths[descriptor] ? paths[descriptor] : NULL;
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* Keep what a rename is about to replace: until the folder is synced, a power cut may bring it back. */
static void remember(const char *to) {
    const char *end = strrchr(folder, '/');
    for (int i = 0; i < UNSYNCED; i++) {
        if (*renamed[i].to) continue;
        snprintf(renamed[i].to, PATH_MAX, "%s", to);
        snprintf(renamed[i].before, PATH_MAX, "%.*s/.before-%d", (int)(end - folder), folder, i);
        syscall(SYS_unlink, renamed[i].before);
        if (syscall(SYS_link, to, renamed[i].before)) *renamed[i].before = 0;
        return;
    }
}

static void forget(const char *synced) {
    size_t length = strlen(synced);
    for (int i = 0; i < UNSYNCED; i++)
        if (strncmp(renamed[i].to, synced, length) == 0 && strrchr(renamed[i].to, '/') == renamed[i].to + length) {
            if (*renamed[i].before) syscall(SYS_unlink, renamed[i].before);
            *renamed[i].to = 0;
        }
}

/* What no fsync has made last is lost: half of the bytes written, and every second rename, the odd or the even ones. */
static void cut_power(void) {
    struct stat seen;
    for (int i = 0; i < FILES; i++)
        if (dirty[i] && syscall(SYS_fstat, i, &seen) == 0) syscall(SYS_ftruncate, i, seen.st_size / 2);
    for (int i = 0; i < UNSYNCED; i++)
        if (*unsynced[i] && stat(unsynced[i], &seen) == 0) syscall(SYS_truncate, unsynced[i], seen.st_size / 2);
    for (int i = UNSYNCED - 1 - at % 2; i >= 0; i -= 2)
        if (*renamed[i].to && *renamed[i].before) syscall(SYS_rename, renamed[i].before, renamed[i].to);
        else if (*renamed[i].to) syscall(SYS_unlink, renamed[i].to);
    die();
}

/* Count an operation; whether this is the one that fails. */
static int strikes(const char *name, const char *path) {
    char line[PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s\n", name, path);
    if (log_to >= 0) syscall(SYS_write, log_to, line, length);
    if (++count != at) return 0;
    if (is("die before")) die();
    if (is("power cut")) cut_power();
    if (is("stop")) syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP); /* until somebody continues it */
    return 1;
}

static int refused(int number) { return errno = number, -1; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Call the real function, unless its turn has come; `grows` where a full disk refuses it from then on. */
#define FAULTY(name, path, grows, call)                                     \
    int struck = strikes(name, path);                                       \
    if (struck && is("EIO")) return refused(EIO);                           \
    if (struck && is("ENOSPC")) full = 1;                                   \
    if (full && (struck || (grows))) return refused(ENOSPC);                \
    long result = call;                                                     \
    if (struck && is("die after")) die();

static int opened(int descriptor, const char *path) {
    if (descriptor >= 0 && descriptor < FILES) snprintf(paths[descriptor], PATH_MAX, "%s", path), dirty[descriptor] = 0;
    return descriptor;
}

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;           \
        va_end(more);                                                       \
        if (!ours(path)) return REAL(name)(path, flags, mode);              \
        FAULTY(flags & O_CREAT ? "create" : "open", path, flags & O_CREAT, REAL(name)(path, flags, mode)) \
        return opened(result, path);                                        \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void *content, size_t bytes) {
    const char *path = file(descriptor);
    if (!path) return REAL(write)(descriptor, content, bytes);
    int struck = strikes("write", path), halved = struck && (is("short") || is("die halfway") || is("ENOSPC"));
    if (struck && is("EIO")) return refused(EIO);
    if (full) return refused(ENOSPC);
    dirty[descriptor] = 1;
    ssize_t written = REAL(write)(descriptor, content, halved && bytes > 1 ? bytes / 2 : bytes);
    if (struck && (is("die after") || is("die halfway"))) die();
    if (struck && is("ENOSPC")) full = 1;
    return written;
}

ssize_t read(int descriptor, void *content, size_t bytes) {
    const char *path = file(descriptor);
    if (!path) return REAL(read)(descriptor, content, bytes);
    FAULTY("read", path, 0, REAL(read)(descriptor, content, bytes))
    return result;
}

int fsync(int descriptor) {
    const char *path = file(descriptor);
    if (!path) return REAL(fsync)(descriptor);
    FAULTY("fsync", path, 0, REAL(fsync)(descriptor))
    dirty[descriptor] = 0;
    forget(path);
    return result;
}

int close(int descriptor) {
    const char *path = file(descriptor);
    if (!path) return REAL(close)(descriptor);
    int struck = strikes("close", path);
    for (int i = 0; dirty[descriptor] && i < UNSYNCED; i++)
        if (!*unsynced[i]) snprintf(unsynced[i], PATH_MAX, "%s", path), dirty[descriptor] = 0;
    *paths[descriptor] = 0;
    int result = REAL(close)(descriptor); /* a descriptor is gone even where close complains */
    if (struck && is("die after")) die();
    if (struck && is("EIO")) return refused(EIO);
    if (struck && is("ENOSPC")) return refused(ENOSPC);
    return result;
}

int rename(const char *from, const char *to) {
    if (!ours(to)) return REAL(rename)(from, to);
    for (int i = 0; i < UNSYNCED; i++)
        if (strcmp(unsynced[i], from) == 0) snprintf(unsynced[i], PATH_MAX, "%s", to);
    FAULTY("rename", to, 0, (remember(to), REAL(rename)(from, to)))
    return result;
}

int chmod(const char *path, mode_t mode) {
    if (!ours(path)) return REAL(chmod)(path, mode);
    FAULTY("chmod", path, 0, REAL(chmod)(path, mode))
    return result;
}

int mkdir(const char *path, mode_t mode) {
    if (!ours(path)) return REAL(mkdir)(path, mode);
    FAULTY("mkdir", path, 1, REAL(mkdir)(path, mode))
    return result;
}

int unlink(const char *path) {
    if (!ours(path)) return REAL(unlink)(path);
    FAULTY("unlink", path, 0, REAL(unlink)(path))
    return result;
}
