/* SPDX-License-Identifier: MPL-2.0
 *
 * A full disk for one process tree, where no small file system may be mounted: preloaded, it answers ENOSPC to every
 * write that would make a file below $ENOSPC_BELOW longer, while the file $ENOSPC_WHILE exists. What is there already can
 * be written over, as on a disk that is full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int full(int fd, off_t end)
{
    const char *below = getenv("ENOSPC_BELOW"), *while_there = getenv("ENOSPC_WHILE");
    char link[64], path[4096];
    struct stat now;
    int kept = errno, is = 0;
    if (below != NULL && while_there != NULL && access(while_there, F_OK) == 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            is = strncmp(path, below, strlen(below)) == 0 && fstat(fd, &now) == 0 && S_ISREG(now.st_mode)
                 && end > now.st_size;
        }
    }
    errno = is ? ENOSPC : kept;
    return is;
}

static off_t at(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat now;
    if (flags >= 0 && (flags & O_APPEND) && fstat(fd, &now) == 0)
        return now.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

static size_t total(const struct iovec *parts, int count)
{
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += parts[i].iov_len;
    return sum;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__) = NULL; \
    if (real == NULL) \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *what, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    return full(fd, at(fd) + (off_t)size) ? -1 : real(fd, what, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return full(fd, at(fd) + (off_t)total(parts, count)) ? -1 : real(fd, parts, count);
}

ssize_t pwrite(int fd, const void *what, size_t size, off_t place)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return full(fd, place + (off_t)size) ? -1 : real(fd, what, size, place);
}

ssize_t pwrite64(int fd, const void *what, size_t size, off_t place) { return pwrite(fd, what, size, place); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t place)
{
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    return full(fd, place + (off_t)total(parts, count)) ? -1 : real(fd, parts, count, place);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t place) { return pwritev(fd, parts, count, place); }

int posix_fallocate(int fd, off_t place, off_t size)
{
    REAL(int, "posix_fallocate", int, off_t, off_t);
    return full(fd, place + size) ? ENOSPC : real(fd, place, size);
}

int posix_fallocate64(int fd, off_t place, off_t size) { return posix_fallocate(fd, place, size); }

int fallocate(int fd, int mode, off_t place, off_t size)
{
    REAL(int, "fallocate", int, int, off_t, off_t);
    return full(fd, place + size) ? -1 : real(fd, mode, place, size);
}

int fallocate64(int fd, int mode, off_t place, off_t size) { return fallocate(fd, mode, place, size); }
