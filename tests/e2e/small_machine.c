/* SPDX-License-Identifier: MIT */
/*
 * To be preloaded: a machine with as much memory as the file that SMALL_MACHINE names says, in
 * bytes, of which nobody but this process takes any. What is left of it stands in /proc/meminfo.
 * While the file is empty it is the machine that it is.
 */
#undef _FILE_OFFSET_BITS /* which would make fopen and fopen64 one */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef FILE *fopen_function(const char *, const char *);

static unsigned long long read_number(fopen_function *real, const char *path, const char *format)
{
    FILE *f = path ? real(path, "re") : NULL;
    unsigned long long n;

    if (!f)
        return 0;
    if (fscanf(f, format, &n) != 1)
        n = 0;
    fclose(f);
    return n;
}

static FILE *open_file(const char *name, const char *path, const char *mode)
{
    fopen_function *real = (fopen_function *)dlsym(RTLD_NEXT, name);
    unsigned long long all, used;
    char text[64];
    FILE *f;

    all = strcmp(path, "/proc/meminfo") ? 0 : read_number(real, getenv("SMALL_MACHINE"), "%llu");
    if (!all)
        return real(path, mode);
    used = read_number(real, "/proc/self/statm", "%*u %llu") * (unsigned)sysconf(_SC_PAGESIZE);
    snprintf(text, sizeof(text), "MemAvailable: %llu kB\n", all > used ? (all - used) >> 10 : 0);
    f = tmpfile();
    if (f) {
        fputs(text, f);
        rewind(f);
    }
    return f;
}

FILE *fopen(const char *path, const char *mode)
{
    return open_file("fopen", path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return open_file("fopen64", path, mode);
}
