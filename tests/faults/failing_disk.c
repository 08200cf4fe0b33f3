/* A disk that fails, for a process that has this preloaded.

   While the file named by FAILING_WRITES exists, writing to a journal ends with EIO; while the one named by
   FAILING_READS exists, reading does. What is mapped into memory (SQLite's -shm) is no file to this. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(const char *variable, int fd)
{
    int before = errno;
    const char *flag = getenv(variable);
    char link[64], path[PATH_MAX];
    if (flag == NULL || access(flag, F_OK) != 0) {
        errno = before;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = before;
    if (size < 0)
        return 0;
    path[size] = '\0';
    if (strstr(path, ".sqlite3") == NULL)
        return 0;
    errno = EIO;
    return 1;
}

#define REAL(result, name, ...) ((result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))
#define FOUR(name, variable, pointer, offset_type)                                                  \
    ssize_t name(int fd, pointer buffer, size_t count, offset_type offset)                          \
    {                                                                                               \
        if (fails(variable, fd))                                                                    \
            return -1;                                                                              \
        return REAL(ssize_t, name, int, pointer, size_t, offset_type)(fd, buffer, count, offset);   \
    }
#define THREE(name, variable, pointer)                                                              \
    ssize_t name(int fd, pointer buffer, size_t count)                                              \
    {                                                                                               \
        if (fails(variable, fd))                                                                    \
            return -1;                                                                              \
        return REAL(ssize_t, name, int, pointer, size_t)(fd, buffer, count);                        \
    }
#define ONE(name)                                                                                   \
    int name(int fd)                                                                                \
    {                                                                                               \
        return fails("FAILING_WRITES", fd) ? -1 : REAL(int, name, int)(fd);                         \
    }
#define CUT(name, offset_type)                                                                      \
    int name(int fd, offset_type size)                                                              \
    {                                                                                               \
        return fails("FAILING_WRITES", fd) ? -1 : REAL(int, name, int, offset_type)(fd, size);      \
    }

FOUR(pwrite, "FAILING_WRITES", const void *, off_t)
FOUR(pwrite64, "FAILING_WRITES", const void *, off64_t)
FOUR(pread, "FAILING_READS", void *, off_t)
FOUR(pread64, "FAILING_READS", void *, off64_t)
THREE(write, "FAILING_WRITES", const void *)
THREE(read, "FAILING_READS", void *)
ONE(fsync)
ONE(fdatasync)
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)
