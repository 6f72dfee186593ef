/* Makes system calls of a program fail, and sets its clock: LD_PRELOAD this.
 *
 *   FAIL_CALL    write, sync, create or read
 *   FAIL_PATH    only on files with this in their path
 *   FAIL_AFTER   so many of these calls succeed before
 *   FAIL_ERRNO   what the calls then fail with
 *   CLOCK_SHIFT  seconds that the clock is ahead
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_int seen;

static int fails_at(const char *call, const char *path)
{
    const char *failing = getenv("FAIL_CALL"), *part = getenv("FAIL_PATH");
    if (!failing || !part || strcmp(failing, call) || !strstr(path, part))
        return 0;
    if (atomic_fetch_add(&seen, 1) < atoi(getenv("FAIL_AFTER")))
        return 0;
    errno = atoi(getenv("FAIL_ERRNO"));
    return 1;
}

static int fails(const char *call, int file)
{
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = getenv("FAIL_CALL") ? readlink(link, path, PATH_MAX) : -1;
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails_at(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_FILE(call, result, name, parameters, ...)              \
    result name parameters                                        \
    {                                                             \
        return fails(call, file) ? -1 : REAL(name)(__VA_ARGS__);  \
    }

ON_FILE("write", ssize_t, write, (int file, const void *from, size_t size), file, from, size)
ON_FILE("write", ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), file, from, size, at)
ON_FILE("write", ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), file, from, size, at)
ON_FILE("write", ssize_t, writev, (int file, const struct iovec *from, int count), file, from, count)
ON_FILE("sync", int, fsync, (int file), file)
ON_FILE("sync", int, fdatasync, (int file), file)
ON_FILE("read", ssize_t, read, (int file, void *to, size_t size), file, to, size)
ON_FILE("read", ssize_t, pread, (int file, void *to, size_t size, off_t at), file, to, size, at)
ON_FILE("read", ssize_t, pread64, (int file, void *to, size_t size, off64_t at), file, to, size, at)
ON_FILE("read", ssize_t, readv, (int file, const struct iovec *to, int count), file, to, count)

#define ON_OPEN(name)                                             \
    int name(const char *path, int flags, ...)                    \
    {                                                             \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode_t mode = va_arg(rest, mode_t);                       \
        va_end(rest);                                             \
        if ((flags & O_CREAT) && fails_at("create", path))        \
            return -1;                                            \
        return REAL(name)(path, flags, mode);                     \
    }

ON_OPEN(open)
ON_OPEN(open64)

static time_t shift(void)
{
    const char *seconds = getenv("CLOCK_SHIFT");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = REAL(clock_gettime)(clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
    int result = REAL(gettimeofday)(now, zone);
    now->tv_sec += shift();
    return result;
}

time_t time(time_t *now)
{
    time_t result = REAL(time)(NULL) + shift();
    if (now)
        *now = result;
    return result;
}
