/* A disk that fails when told to: preloaded, it stands before write and fsync.
 *
 * FAILING_DISK names a file. While it is there, its words "CALLS ERRNO PART" say that CALLS
 * (write, fsync or both) on files whose path contains PART fail with ERRNO.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int failing(const char *call, int fd) {
    char words[512], calls[32], part[256], link[64], path[1024];
    int number, control;
    ssize_t length;
    const char *name = getenv("FAILING_DISK");
    if (name == NULL || access(name, F_OK) != 0) return 0;
    control = open(name, O_RDONLY | O_CLOEXEC);
    if (control < 0) return 0;
    length = read(control, words, sizeof words - 1);
    close(control);
    if (length <= 0) return 0;
    words[length] = 0;
    if (sscanf(words, "%31s %d %255s", calls, &number, part) != 3) return 0;
    if (strcmp(calls, "both") != 0 && strcmp(calls, call) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, part) == NULL ? 0 : number;
}

#define REFUSE(call, fd) do { int n = failing(call, fd); if (n) { errno = n; return -1; } } while (0)
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    REFUSE("write", fd);
    return NEXT(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REFUSE("write", fd);
    return NEXT(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REFUSE("write", fd);
    return NEXT(pwrite64)(fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REFUSE("write", fd);
    return NEXT(writev)(fd, pieces, count);
}

int fsync(int fd) {
    REFUSE("fsync", fd);
    return NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    REFUSE("fsync", fd);
    return NEXT(fdatasync)(fd);
}
