/* Stands between a process and its disk (LD_PRELOAD), for the tests of holdfast-disk.
 *
 * DISK_DIR=D     only files under D count
 * DISK_TRACE=F   every write, sync, truncation, creation, removal and renaming goes to F, in the
 *                order in which it was done, and so does what is written to standard output
 * DISK_FAIL=K:N  the N-th call (from 1) of kind K on a .wal file fails with EIO, once;
 *                K is write or sync
 *
 * Event: kind (1 byte), offset (8), length (4), length of the path (2), path, data; numbers
 * little-endian. Calls are done one at a time, so the order in the trace is the true one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *dir;
static int trace = -1;
static char fail_kind;
static long fail_at;

static long raw_write(int fd, const void *bytes, size_t length) { return syscall(SYS_write, fd, bytes, length); }

__attribute__((constructor)) static void begin(void) {
    dir = getenv("DISK_DIR");
    const char *path = getenv("DISK_TRACE");
    if (path) trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const char *fail = getenv("DISK_FAIL");
    if (fail) { fail_kind = fail[0]; fail_at = atol(strchr(fail, ':') + 1); }
}

static void record(char kind, const char *path, uint64_t offset, const void *bytes, uint32_t length) {
    if (trace < 0) return;
    char head[15]; uint16_t name = strlen(path);
    head[0] = kind; memcpy(head + 1, &offset, 8); memcpy(head + 9, &length, 4); memcpy(head + 13, &name, 2);
    raw_write(trace, head, 15); raw_write(trace, path, name);
    if (length) raw_write(trace, bytes, length);
}

static int under(const char *path) { return dir && strncmp(path, dir, strlen(dir)) == 0; }

/* The path of a descriptor, if it counts. */
static int path_of(int fd, char *path) {
    char link[64]; const char digits[] = "0123456789"; char number[12]; int n = 0, at;
    strcpy(link, "/proc/self/fd/"); at = strlen(link);
    if (fd < 0) return 0;
    do number[n++] = digits[fd % 10]; while (fd /= 10);
    while (n) link[at++] = number[--n];
    link[at] = 0;
    ssize_t length = readlink(link, path, 4095);
    if (length <= 0) return 0;
    path[length] = 0;
    return under(path);
}

/* Whether this call is the one that fails. */
static int fails(char kind, const char *path) {
    size_t length = strlen(path);
    if (fail_kind != kind || length < 4 || strcmp(path + length - 4, ".wal")) return 0;
    return --fail_at == 0;
}

static ssize_t written(int fd, const struct iovec *parts, int count, off_t at, ssize_t (*call)(int, const struct iovec *, int, off_t)) {
    char path[4096];
    if (fd == 1 && trace >= 0) {
        pthread_mutex_lock(&lock);
        ssize_t done = call(fd, parts, count, at);
        if (done > 0) record('A', "", 0, parts[0].iov_base, parts[0].iov_len < (size_t)done ? parts[0].iov_len : (size_t)done);
        pthread_mutex_unlock(&lock);
        return done;
    }
    if (!path_of(fd, path)) return call(fd, parts, count, at);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    if (fails('w', path)) errno = EIO;
    else {
        off_t offset = at;
        if (at < 0) offset = (fcntl(fd, F_GETFL) & O_APPEND) ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        done = call(fd, parts, count, at);
        ssize_t left = done;
        for (int i = 0; i < count && left > 0; i++) {
            size_t length = parts[i].iov_len < (size_t)left ? parts[i].iov_len : (size_t)left;
            record('W', path, offset, parts[i].iov_base, length);
            offset += length; left -= length;
        }
    }
    pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t call_writev(int fd, const struct iovec *parts, int count, off_t at) { (void)at; return syscall(SYS_writev, fd, parts, count); }
static ssize_t call_pwrite(int fd, const struct iovec *parts, int count, off_t at) { (void)count; return syscall(SYS_pwrite64, fd, parts->iov_base, parts->iov_len, at); }

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = { (void *)bytes, length };
    return written(fd, &part, 1, -1, call_writev);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, parts, count, -1, call_writev); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    struct iovec part = { (void *)bytes, length };
    return written(fd, &part, 1, at, call_pwrite);
}

static int synced(int fd, long number) {
    char path[4096];
    if (!path_of(fd, path)) return syscall(number, fd);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (fails('s', path)) errno = EIO;
    else if ((done = syscall(number, fd)) == 0) record('S', path, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int ftruncate64(int fd, off64_t length) {
    char path[4096]; int counts = path_of(fd, path);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_ftruncate, fd, length);
    if (counts && done == 0) record('T', path, length, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    if (!under(path)) return syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fresh = (flags & O_CREAT) && access(path, F_OK) != 0;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && fresh) record('C', path, 0, 0, 0);
    else if (fd >= 0 && (flags & O_TRUNC)) record('T', path, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}
int open64(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest);
    return opened(AT_FDCWD, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest);
    return opened(at, path, flags, mode);
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0 && under(path)) record('U', path, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (done == 0 && under(from)) record('R', from, 0, to, strlen(to));
    pthread_mutex_unlock(&lock);
    return done;
}
