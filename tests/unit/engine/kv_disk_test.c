/* SPDX-License-Identifier: MIT */
/* The disk tier's directory: that what was written is read as it was, that nothing else is, and
 * what limits, full drives and writers that died leave of it. */
#include "harness.h"

#include "engine/kv_directory.h"
#include "engine/kv_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ALICE = 1000, BOB = 1001, BLOCK = 5000, WINDOW = 700 };

#define FILE_BYTES kv_file_bytes(BLOCK, WINDOW)

struct place {
    char path[64];
    struct kv_disk_config config;
    struct kv_disk *disk;
    struct kv_disk_client client;
    uint64_t block_bytes;
    unsigned char *data; /* [block_bytes + WINDOW] */
};

static void come(struct place *p)
{
    uint64_t bytes;
    struct error err = {0};

    if (kv_disk_create(&p->config, &p->disk, &err) < 0)
        fail_msg("%s", err.text);
    while (!kv_disk_user_bytes(p->disk, ALICE, &bytes))
        usleep(100); /* until it was looked through */
    kv_disk_client_init(&p->client);
}

static void leave(struct place *p)
{
    kv_disk_client_finish(p->disk, &p->client);
    kv_disk_destroy(p->disk);
}

static void place_init_with(struct place *p, uint64_t most_bytes, uint64_t block_bytes)
{
    *p = (struct place){.block_bytes = block_bytes};
    p->data = calloc(1, block_bytes + WINDOW);
    assert_non_null(p->data);
    strcpy(p->path, "/tmp/hearth-kv-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    p->config = (struct kv_disk_config){.path = p->path, .most_bytes = most_bytes};
    come(p);
}

static void place_init(struct place *p, uint64_t most_bytes)
{
    place_init_with(p, most_bytes, BLOCK);
}

static void place_finish(struct place *p)
{
    char command[96];

    leave(p);
    snprintf(command, sizeof(command), "rm -r %s", p->path);
    assert_int_equal(system(command), 0);
    free(p->data);
}

static void restart(struct place *p)
{
    leave(p);
    come(p);
}

static struct pool_key key(unsigned number)
{
    struct pool_key k;

    pool_key_derive(&(struct pool_key){""}, "test", &number, sizeof(number), &k);
    return k;
}

static void path_of(const struct place *p, uid_t uid, unsigned number, char ret[160])
{
    snprintf(ret, 160, "%s/%u/%s", p->path, (unsigned)uid, key(number).hex);
}

static struct kv_record record(struct place *p, uid_t uid, unsigned number)
{
    struct kv_record r = {.key = key(number),
                          .uid = uid,
                          .tokens = {number, 7},
                          .block_bytes = p->block_bytes,
                          .window_bytes = WINDOW,
                          .data = p->data};

    return r;
}

static unsigned char byte_of(unsigned number, size_t i)
{
    return (unsigned char)(number * 31 + i * 7 + i / 251);
}

/* Waits for that one, which is under way. */
static void wait_for(struct place *p, const struct kv_job *job)
{
    assert_ptr_equal(kv_disk_wait_done(p->disk, &p->client, UINT64_MAX), job);
}

/* Does the job to its end; its result. */
static int do_job(struct place *p, enum kv_job_kind kind, struct kv_record *r)
{
    struct kv_job job = {.kind = kind, .record = *r};

    kv_disk_start(p->disk, &p->client, &job);
    wait_for(p, &job);
    *r = job.record;
    return job.result;
}

static int put(struct place *p, uid_t uid, unsigned number)
{
    struct kv_record r = record(p, uid, number);

    for (size_t i = 0; i < p->block_bytes + WINDOW; i++)
        p->data[i] = byte_of(number, i);
    return do_job(p, KV_JOB_WRITE, &r);
}

/* As the next of a chain after the one of the number before it. */
static int put_after(struct place *p, uid_t uid, unsigned number)
{
    struct kv_job job = {.kind = KV_JOB_WRITE, .record = record(p, uid, number)};

    if (number)
        job.parent = key(number - 1);
    kv_disk_start(p->disk, &p->client, &job);
    wait_for(p, &job);
    return job.result;
}

/* The chain of n from that number on is used. */
static void use(struct place *p, unsigned number, unsigned n)
{
    struct pool_key chain[8];

    for (unsigned i = 0; i < n; i++)
        chain[i] = key(number + i);
    kv_disk_use(p->disk, chain, n);
}

/* What reading gives; the data is right where that is 0. */
static int get(struct place *p, uid_t uid, unsigned number)
{
    struct kv_record r = record(p, uid, number);
    int e;

    memset(p->data, 0, p->block_bytes + WINDOW);
    e = do_job(p, KV_JOB_READ, &r);
    for (size_t i = 0; e == 0 && i < p->block_bytes + WINDOW; i++)
        assert_int_equal(p->data[i], byte_of(number, i));
    return e;
}

static bool has(struct place *p, unsigned number)
{
    struct pool_key k = key(number);
    uint64_t bytes = 0;

    if (!kv_disk_has(p->disk, &k, &bytes))
        return false;
    assert_int_equal(bytes, kv_file_bytes(p->block_bytes, WINDOW));
    return true;
}

static uint64_t user_bytes(struct place *p, uid_t uid)
{
    uint64_t bytes;

    assert_true(kv_disk_user_bytes(p->disk, uid, &bytes));
    return bytes;
}

static uint64_t forget(struct place *p, uid_t uid)
{
    uint64_t bytes;

    assert_int_equal(kv_disk_forget(p->disk, uid, &bytes), 0);
    return bytes;
}

static struct kv_disk_stats stats_of(struct place *p)
{
    struct kv_disk_stats s;

    kv_disk_get_stats(p->disk, &s);
    return s;
}

static void a_block_comes_back_as_it_was_after_a_restart(void **state)
{
    struct stat st;
    struct place p;
    char path[160];

    place_init(&p, 1 << 20);
    assert_false(has(&p, 1));
    assert_int_equal(put(&p, ALICE, 1), 0);
    restart(&p);
    assert_true(has(&p, 1));
    assert_int_equal(get(&p, ALICE, 1), 0);
    assert_int_equal(stats_of(&p).read_blocks, 1);
    path_of(&p, ALICE, 1, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, FILE_BYTES);
    place_finish(&p);
}

static void a_block_without_windows_says_so(void **state)
{
    struct place p;
    struct kv_record r;

    place_init(&p, 1 << 20);
    r = record(&p, ALICE, 1);
    r.window_bytes = 0;
    assert_int_equal(do_job(&p, KV_JOB_WRITE, &r), 0);
    r.window_bytes = WINDOW;
    assert_int_equal(do_job(&p, KV_JOB_READ, &r), 0);
    assert_int_equal(r.window_bytes, 0);
    place_finish(&p);
}

static void overwrite(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    unsigned char c;

    assert_int_equal(pread(fd, &c, 1, at), 1);
    c ^= 0x10;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

/* Any bit of it; shorter; longer; under another's name. */
static void what_is_not_as_it_was_written_is_thrown_away_and_counted(void **state)
{
    static const off_t places[] = {0, 8, 12, 16, 90, 100, 230, 235, 240, 5239, 5240, 5939};
    struct place p;
    char path[160], other[160];
    unsigned n = 0;

    place_init(&p, 1 << 20);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        assert_int_equal(put(&p, ALICE, 1), 0);
        path_of(&p, ALICE, 1, path);
        overwrite(path, places[i]);
        assert_int_equal(get(&p, ALICE, 1), -EBADMSG);
        assert_int_equal(stats_of(&p).damaged_blocks, ++n);
        assert_false(has(&p, 1));
    }
    for (int longer = -1; longer <= 1; longer += 2) {
        assert_int_equal(put(&p, ALICE, 1), 0);
        assert_int_equal(truncate(path, (off_t)FILE_BYTES + longer), 0);
        assert_int_equal(get(&p, ALICE, 1), -EBADMSG);
    }
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_int_equal(put(&p, ALICE, 2), 0);
    path_of(&p, ALICE, 2, other);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(get(&p, ALICE, 1), -EBADMSG);
    assert_int_equal(get(&p, ALICE, 2), -ENOENT);
    place_finish(&p);
}

static void another_users_file_is_no_users(void **state)
{
    struct place p;
    char path[160], other[160], dir[96];

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_int_equal(get(&p, BOB, 1), -ENOENT);
    assert_int_equal(put(&p, ALICE, 1), 0);
    path_of(&p, ALICE, 1, path);
    path_of(&p, BOB, 1, other);
    snprintf(dir, sizeof(dir), "%s/%d", p.path, BOB);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(link(path, other), 0);
    assert_int_equal(get(&p, BOB, 1), -EBADMSG);
    place_finish(&p);
}

static void no_more_lies_there_than_the_limit(void **state)
{
    struct place p;

    place_init(&p, 3 * FILE_BYTES);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(put(&p, ALICE, i), 0);
    use(&p, 0, 1);
    assert_int_equal(put(&p, ALICE, 3), 0);
    assert_int_equal(stats_of(&p).bytes, 3 * FILE_BYTES);
    assert_int_equal(stats_of(&p).dropped_blocks, 1);
    assert_true(has(&p, 0));
    assert_false(has(&p, 1));
    p.config.most_bytes = FILE_BYTES;
    restart(&p);
    has(&p, 0);
    assert_int_equal(stats_of(&p).bytes, FILE_BYTES);
    restart(&p); /* and the files are gone */
    has(&p, 0);
    assert_int_equal(stats_of(&p).files, 1);
    assert_int_equal(stats_of(&p).dropped_blocks, 0);
    place_finish(&p);
}

static void a_block_beyond_the_limit_displaces_nothing(void **state)
{
    struct place p;
    struct kv_record r;

    place_init(&p, FILE_BYTES - 1);
    r = record(&p, ALICE, 1);
    r.window_bytes = 0;
    assert_int_equal(do_job(&p, KV_JOB_WRITE, &r), 0);
    assert_int_equal(put(&p, ALICE, 9), -EFBIG);
    assert_int_equal(stats_of(&p).files, 1);
    place_finish(&p);
}

/* Which of a chain of so many are there, all before what is not, after room for so many is left. */
static unsigned n_left_of_chain(struct place *p, unsigned n, unsigned most)
{
    unsigned i = 0;

    p->config.most_bytes = most * FILE_BYTES;
    restart(p);
    while (has(p, i))
        i++;
    for (unsigned k = i; k < n; k++)
        assert_false(has(p, k));
    return i;
}

static void the_end_of_a_conversation_goes_first_after_a_restart(void **state)
{
    struct place p;

    place_init(&p, 1 << 20);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(put_after(&p, ALICE, i), 0);
    for (unsigned most = 8; most-- > 0;)
        assert_int_equal(n_left_of_chain(&p, 8, most), most);
    place_finish(&p);
}

/* A beginning without its end is of use, an end without its beginning is of none. */
static void a_chain_that_is_too_long_keeps_its_beginning(void **state)
{
    struct place p;

    place_init(&p, 4 * FILE_BYTES);
    assert_int_equal(put(&p, ALICE, 90), 0); /* was not used for longest, and makes room */
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(put_after(&p, ALICE, i), 0);
    assert_int_equal(put_after(&p, ALICE, 4), -E2BIG);
    assert_int_equal(put_after(&p, ALICE, 5), -ESTALE);
    assert_true(kv_disk_takes_writes(p.disk));
    assert_int_equal(stats_of(&p).failed_writes, 0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(has(&p, i), i < 4);
    assert_int_equal(put(&p, ALICE, 91), 0); /* of another conversation: the end gives way */
    assert_int_equal(has(&p, 2), true);
    assert_int_equal(has(&p, 3), false);
    place_finish(&p);
}

/* Everybody's part of a chain is another user's in the index. */
static void a_chain_that_is_too_long_keeps_what_is_everybodys_of_it(void **state)
{
    struct kv_job job = {.kind = KV_JOB_WRITE, .parent = key(2), .common = key(1)};
    struct place p;

    place_init(&p, 3 * FILE_BYTES);
    assert_int_equal(put_after(&p, BOB, 0), 0);
    assert_int_equal(put_after(&p, BOB, 1), 0);
    assert_int_equal(put_after(&p, ALICE, 2), 0);
    job.record = record(&p, ALICE, 3);
    kv_disk_start(p.disk, &p.client, &job);
    wait_for(&p, &job);
    assert_int_equal(job.result, -E2BIG);
    for (unsigned i = 0; i < 3; i++)
        assert_true(has(&p, i));
    place_finish(&p);
}

/* Told old ones are marked anew, in the order of the chain. */
static void a_chain_that_is_used_keeps_its_order_over_a_restart(void **state)
{
    struct place p;
    char path[160];

    place_init(&p, 1 << 20);
    for (unsigned i = 0; i < 4; i++) {
        const struct timeval old[2] = {{time(NULL) - 7200 + i, 0}, {time(NULL) - 7200 + i, 0}};

        assert_int_equal(put_after(&p, ALICE, i), 0);
        path_of(&p, ALICE, i, path);
        assert_int_equal(utimes(path, old), 0);
    }
    restart(&p);
    has(&p, 0);
    use(&p, 0, 4);
    for (unsigned most = 4; most-- > 0;)
        assert_int_equal(n_left_of_chain(&p, 4, most), most);
    place_finish(&p);
}

static void to_ask_is_not_to_use(void **state)
{
    struct place p;

    place_init(&p, 2 * FILE_BYTES);
    assert_int_equal(put(&p, ALICE, 0), 0);
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_true(has(&p, 0));
    assert_int_equal(put(&p, ALICE, 2), 0);
    assert_false(has(&p, 0));
    place_finish(&p);
}

/* The clock was ahead when it was written. */
static void a_use_that_lies_in_the_future_counts_as_one_of_now(void **state)
{
    const struct timeval far[2] = {{time(NULL) + 1000000, 0}, {time(NULL) + 1000000, 0}};
    struct stat st;
    struct place p;
    char path[160];

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 0), 0);
    path_of(&p, ALICE, 0, path);
    assert_int_equal(utimes(path, far), 0);
    restart(&p);
    assert_true(has(&p, 0));
    restart(&p);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_mtim.tv_sec <= time(NULL));
    place_finish(&p);
}

static void what_was_not_used_for_so_many_seconds_goes(void **state)
{
    const struct timeval old[2] = {{time(NULL) - 7200, 0}, {time(NULL) - 7200, 0}};
    struct place p;
    char path[160];

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_int_equal(put(&p, ALICE, 2), 0);
    path_of(&p, ALICE, 1, path);
    assert_int_equal(utimes(path, old), 0);
    p.config.keep_seconds = 3600;
    restart(&p);
    assert_false(has(&p, 1));
    assert_true(has(&p, 2));
    restart(&p);
    assert_int_equal(access(path, F_OK), -1);
    place_finish(&p);
}

/* A use in memory counts, or what is used every day would go. */
static void a_use_is_remembered_over_a_restart(void **state)
{
    const struct timeval old[2] = {{time(NULL) - 7200, 0}, {time(NULL) - 7200, 0}};
    struct place p;
    char path[160];

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 1), 0);
    path_of(&p, ALICE, 1, path);
    assert_int_equal(utimes(path, old), 0);
    restart(&p);
    assert_true(has(&p, 1));
    use(&p, 1, 1);
    p.config.keep_seconds = 3600;
    restart(&p);
    assert_true(has(&p, 1));
    place_finish(&p);
}

/* A file limit stands for a drive that is full: the kernel cuts the write short. */
static void a_drive_that_is_full_costs_the_block_and_no_more(void **state)
{
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit small = {1000, RLIM_INFINITY};
    struct place p;

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(put(&p, ALICE, 2), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_int_equal(stats_of(&p).failed_writes, 1);
    assert_int_equal(stats_of(&p).write_error, -EFBIG);
    assert_false(kv_disk_takes_writes(p.disk));
    assert_false(has(&p, 2));
    assert_int_equal(get(&p, ALICE, 1), 0);
    restart(&p);
    assert_int_equal(has(&p, 1) + stats_of(&p).files, 2); /* nothing of the other is left */
    assert_true(kv_disk_takes_writes(p.disk));
    place_finish(&p);
}

static bool reads_fail, removals_fail;

static _Atomic bool looks_wait;

/* How many users' directories there are, whatever they are called. */
static unsigned n_entries(const struct place *p)
{
    DIR *dir = opendir(p->path);
    const struct dirent *e;
    unsigned n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
    while (looks_wait)
        usleep(100);
    return __real_fdopendir(fd);
}

int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags)
{
    if (!removals_fail)
        return __real_unlinkat(fd, name, flags);
    errno = EIO;
    return -1;
}

static bool renames_fail;

int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    if (!renames_fail)
        return __real_renameat(from_fd, from, to_fd, to);
    errno = ENOSPC;
    return -1;
}

enum { N_SYNCED = 4 };

static ino_t synced[N_SYNCED]; /* the last */
static size_t n_synced;

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0)
        synced[n_synced++ % N_SYNCED] = st.st_ino;
    return 0;
}

static atomic_uint n_names_read;

/* readdir() where offsets are of 64 bits */
struct dirent *__real_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir)
{
    struct dirent *e = __real_readdir64(dir);

    n_names_read += e != NULL;
    return e;
}

static ino_t inode_of(int dir_fd, const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
    return st.st_ino;
}

/* However it goes: by a new name, file by file where there is no room for one, or before. */
static void what_is_set_aside_stays_so_over_a_power_failure(void **state)
{
    struct place p;
    ino_t root, own;
    int fd;

    place_init(&p, 1 << 20);
    for (int way = 0; way < 3; way++) {
        if (way < 2)
            assert_int_equal(put(&p, ALICE, 1), 0);
        leave(&p);
        assert_int_equal(kv_directory_open(p.path, &fd, NULL), 0);
        root = inode_of(fd, ".");
        own = way < 2 ? inode_of(fd, "1000") : 0;
        n_synced = 0;
        renames_fail = way == 1;
        assert_int_equal(kv_directory_set_aside(fd, ALICE), 0);
        renames_fail = false;
        assert_int_equal(n_synced, way == 1 ? 2 : 1);
        if (way == 1)
            assert_int_equal(synced[0], own);
        assert_int_equal(synced[n_synced - 1], root);
        while (kv_directory_clean(fd, 8))
            ;
        if (way == 1)
            assert_int_equal(unlinkat(fd, "1000", AT_REMOVEDIR), 0);
        close(fd);
        come(&p);
        assert_int_equal(stats_of(&p).files, 0);
    }
    place_finish(&p);
}

/* A directory of many is not read to its end for each few. */
static void what_was_set_aside_is_removed_a_few_files_at_a_time(void **state)
{
    enum { FILES = 100, MOST = 5 };
    unsigned n_calls = 1;
    struct place p;
    int fd;

    place_init(&p, 1 << 20);
    for (unsigned i = 0; i < FILES; i++)
        assert_int_equal(put(&p, ALICE, i), 0);
    leave(&p);
    assert_int_equal(kv_directory_open(p.path, &fd, NULL), 0);
    assert_int_equal(kv_directory_set_aside(fd, ALICE), 0);
    n_names_read = 0;
    for (; kv_directory_clean(fd, MOST); n_calls++)
        ;
    assert_int_equal(n_calls, FILES / MOST + 1);
    assert_in_range(n_names_read, FILES, FILES + 5 * n_calls); /* ".", ".." and its own */
    close(fd);
    come(&p);
    assert_int_equal(n_entries(&p), 0);
    place_finish(&p);
}

/* However many removals the end of the process cuts short. */
static void what_a_user_wants_forgotten_does_not_come_back_before_its_files_are_gone(void **state)
{
    struct place p;

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, BOB, 50), 0);
    for (int is_again = 0; is_again <= 1; is_again++) {
        for (unsigned i = 0; i < 40; i++)
            assert_int_equal(put_after(&p, ALICE, i), 0);
        removals_fail = true; /* as those that were not reached */
        assert_int_equal(forget(&p, ALICE), 40 * FILE_BYTES);
        restart(&p);
        assert_int_equal(stats_of(&p).files, 1);
        assert_int_equal(get(&p, ALICE, 0), -ENOENT);
        removals_fail = false;
    }
    assert_int_equal(get(&p, BOB, 50), 0);
    restart(&p);
    assert_int_equal(put(&p, ALICE, 1), 0); /* after what was to be removed */
    restart(&p);
    assert_int_equal(n_entries(&p), 2);
    place_finish(&p);
}

/* Before it is known what there is. */
static void what_is_forgotten_while_the_directory_is_looked_through_is_not_found(void **state)
{
    uint64_t bytes;
    struct place p;

    place_init(&p, 1 << 20);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(put(&p, i % 2 ? ALICE : BOB, i), 0);
    for (int is_again = 0; is_again <= 1; is_again++) {
        leave(&p);
        looks_wait = !is_again;
        assert_int_equal(kv_disk_create(&p.config, &p.disk, NULL), 0);
        kv_disk_client_init(&p.client);
        if (!is_again)
            assert_int_equal(kv_disk_forget(p.disk, ALICE, &bytes), 0);
        looks_wait = false;
        while (!kv_disk_user_bytes(p.disk, ALICE, &bytes))
            usleep(100);
        assert_int_equal(bytes, 0);
        assert_int_equal(user_bytes(&p, BOB), 2 * FILE_BYTES);
    }
    place_finish(&p);
}

static void on_wake(void *user)
{
    sem_post(user);
}

static void who_waits_to_write_is_woken_when_the_drive_is_tried_again(void **state)
{
    enum { LOOKED, FAILED, GOES_ON, WAKES, PATIENCE_SECONDS = 20 };
    struct timespec until;
    struct place p;
    sem_t wakes;

    assert_int_equal(sem_init(&wakes, 0, 0), 0);
    place_init(&p, FILE_BYTES - 1);
    leave(&p);
    p.config.pause_ns = 1000000;
    p.config.wake = on_wake;
    p.config.user = &wakes;
    come(&p);
    assert_int_equal(put(&p, ALICE, 1), -EFBIG);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    for (int i = LOOKED; i < WAKES; i++)
        assert_int_equal(sem_timedwait(&wakes, &until), 0);
    assert_true(kv_disk_takes_writes(p.disk));
    place_finish(&p);
    sem_destroy(&wakes);
}

/* Where the disk's thread stops: between its lock and the call that wakes somebody, which is the
 * second time that it gives the lock back after a job began. */
static struct {
    _Atomic int unlocks_left; /* until it stops; of threads other than the test's */
    _Atomic bool has_stopped, may_go_on, has_ended;
    _Atomic bool is_awaited; /* by who gives the disk up, and still uses it */
    _Atomic bool frees_awaited;
    pthread_key_t end; /* of that thread */
    pthread_t tester;
} wakes;

static void on_thread_end(void *value)
{
    wakes.has_ended = true;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
    int r = __real_pthread_mutex_unlock(lock);

    if (wakes.unlocks_left && !pthread_equal(pthread_self(), wakes.tester) &&
        !--wakes.unlocks_left) {
        pthread_setspecific(wakes.end, &wakes);
        wakes.has_stopped = true;
        while (!wakes.may_go_on)
            usleep(100);
    }
    return r;
}

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    int r;

    wakes.is_awaited = true;
    wakes.may_go_on = true;
    r = __real_pthread_cond_wait(cond, lock);
    /* as if the lock were had again last of all */
    __real_pthread_mutex_unlock(lock);
    while (!wakes.has_ended)
        usleep(100);
    pthread_mutex_lock(lock);
    wakes.is_awaited = false;
    return r;
}

void __real_kv_disk_free(struct kv_disk *d);
void __wrap_kv_disk_free(struct kv_disk *d);
void __wrap_kv_disk_free(struct kv_disk *d)
{
    wakes.frees_awaited |= wakes.is_awaited;
    if (!wakes.is_awaited)
        __real_kv_disk_free(d);
}

/* Whoever is about to be woken when the disk is given up is still woken, and nobody after; and what
 * is given up is there for as long as that is waited for. */
static void a_disk_that_is_given_up_waits_for_whom_it_wakes(void **state)
{
    struct place p;
    struct kv_job job = {.kind = KV_JOB_WRITE};
    sem_t n_woken;
    int value, fd = -1;

    assert_int_equal(sem_init(&n_woken, 0, 0), 0);
    place_init(&p, 1 << 20);
    leave(&p);
    p.config.end_ns = 1;
    p.config.wake = on_wake;
    p.config.user = &n_woken;
    come(&p);
    assert_int_equal(sem_wait(&n_woken), 0); /* it has looked */
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_int_equal(sem_wait(&n_woken), 0);
    wakes.tester = pthread_self();
    assert_int_equal(pthread_key_create(&wakes.end, on_thread_end), 0);
    wakes.unlocks_left = 2;
    job.record = record(&p, ALICE, 2);
    kv_disk_start(p.disk, &p.client, &job);
    while (!wakes.has_stopped)
        usleep(100);
    leave(&p);
    pthread_key_delete(wakes.end);
    assert_false(wakes.frees_awaited);
    assert_int_equal(sem_getvalue(&n_woken, &value), 0);
    assert_int_equal(value, 1);
    while (kv_directory_open(p.path, &fd, NULL) < 0) /* its thread has let go */
        usleep(100);
    close(fd);
    come(&p);
    assert_true(has(&p, 2));
    place_finish(&p);
    sem_destroy(&n_woken);
}

ssize_t __real_readv(int fd, const struct iovec *parts, int n);
ssize_t __wrap_readv(int fd, const struct iovec *parts, int n);
ssize_t __wrap_readv(int fd, const struct iovec *parts, int n)
{
    if (!reads_fail)
        return __real_readv(fd, parts, n);
    errno = EIO;
    return -1;
}

/* It takes room, and is a conversation of somebody's. */
static void a_file_that_cannot_be_looked_into_counts_and_can_be_forgotten(void **state)
{
    struct place p;
    char path[160];

    place_init(&p, 1 << 20);
    path_of(&p, ALICE, 1, path);
    assert_int_equal(put(&p, ALICE, 1), 0);
    reads_fail = true;
    restart(&p);
    reads_fail = false;
    assert_int_equal(stats_of(&p).bytes, FILE_BYTES);
    assert_int_equal(forget(&p, ALICE), FILE_BYTES);
    restart(&p);
    assert_int_equal(access(path, F_OK), -1);
    place_finish(&p);
}

static void a_directory_that_takes_no_file_costs_the_block_and_no_more(void **state)
{
    struct place p;
    char path[96];
    int fd;

    place_init(&p, 1 << 20);
    snprintf(path, sizeof(path), "%s/%d", p.path, ALICE);
    fd = open(path, O_CREAT | O_WRONLY, 0600); /* in the directory's place: root may write any */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(put(&p, ALICE, 1), -ENOTDIR);
    assert_int_equal(stats_of(&p).failed_writes, 1);
    assert_int_equal(get(&p, ALICE, 1), -ENOTDIR);
    place_finish(&p);
}

/* Writes without end; killed in the middle of one, wherever that is. */
static void a_writer_that_is_killed_leaves_whole_files_alone(void **state)
{
    struct kv_record r;
    struct place p;
    unsigned n = 0;
    pid_t pid;

    place_init_with(&p, 1 << 30, 8 << 20);
    r = record(&p, ALICE, 0);
    assert_int_equal(do_job(&p, KV_JOB_WRITE, &r), 0);
    leave(&p);
    for (unsigned round = 0; round < 8; round++) {
        pid = fork();
        if (pid == 0) {
            come(&p);
            for (unsigned i = 0;; i = (i + 1) % 4) {
                r.key = key(i);
                r.tokens[0] = i;
                do_job(&p, KV_JOB_WRITE, &r);
            }
        }
        usleep(30000 + 3001 * round);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    come(&p);
    for (unsigned i = 0; i < 4; i++) {
        r = record(&p, ALICE, i);
        if (has(&p, i)) {
            assert_int_equal(do_job(&p, KV_JOB_READ, &r), 0);
            n++;
        }
    }
    assert_true(n > 0);
    assert_int_equal(stats_of(&p).files, n);
    place_finish(&p);
}

static void an_unfinished_file_is_removed_at_the_start(void **state)
{
    struct place p;
    char path[160];
    int fd;

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 1), 0);
    snprintf(path, sizeof(path), "%s/%d/%s%s", p.path, ALICE, KV_FILE_UNFINISHED, key(2).hex);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    restart(&p);
    assert_true(has(&p, 1));
    assert_int_equal(access(path, F_OK), -1);
    place_finish(&p);
}

static void what_a_user_wants_forgotten_is_gone_and_others_stays(void **state)
{
    struct kv_job job = {.kind = KV_JOB_WRITE};
    struct place p;
    char dir[96];

    place_init(&p, 1 << 20);
    assert_int_equal(put(&p, ALICE, 1), 0);
    assert_int_equal(put(&p, BOB, 2), 0);
    assert_int_equal(user_bytes(&p, ALICE), FILE_BYTES);
    job.record = record(&p, ALICE, 3); /* under way, or not begun */
    kv_disk_start(p.disk, &p.client, &job);
    forget(&p, ALICE);
    wait_for(&p, &job);
    assert_int_equal(user_bytes(&p, ALICE), 0);
    assert_false(has(&p, 1));
    assert_false(has(&p, 3));
    restart(&p);
    assert_false(has(&p, 1));
    assert_false(has(&p, 3));
    assert_int_equal(get(&p, BOB, 2), 0);
    snprintf(dir, sizeof(dir), "%s/%d", p.path, ALICE);
    assert_int_equal(access(dir, F_OK), -1);
    place_finish(&p);
}

/* Cut short, as after a power failure; longer; another user's; no block at all. */
static void what_is_no_whole_block_is_removed_at_the_start(void **state)
{
    struct place p;
    char path[8][160];

    place_init(&p, 1 << 20);
    for (unsigned i = 0; i < 8; i++) {
        path_of(&p, ALICE, i, path[i]);
        assert_int_equal(put(&p, ALICE, i), 0);
    }
    assert_int_equal(truncate(path[0], 0), 0);
    assert_int_equal(truncate(path[1], 100), 0);
    assert_int_equal(truncate(path[2], 4096), 0);
    assert_int_equal(truncate(path[3], (off_t)FILE_BYTES + 1), 0);
    restart(&p);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(has(&p, i), i >= 4);
        assert_int_equal(access(path[i], F_OK) == 0, i >= 4);
    }
    assert_int_equal(stats_of(&p).bytes, 4 * FILE_BYTES);
    /* where no other tells that the size is right */
    for (unsigned i = 5; i < 8; i++)
        unlink(path[i]);
    for (unsigned i = 0; i < 3; i++) { /* damaged; under another name; among another user's */
        char dir[96];

        assert_int_equal(put(&p, ALICE, 4), 0);
        snprintf(dir, sizeof(dir), "%s/%d", p.path, i == 2 ? BOB : ALICE);
        mkdir(dir, 0700);
        path_of(&p, i == 2 ? BOB : ALICE, i == 1 ? 5 : 4, path[5]);
        assert_int_equal(rename(path[4], path[5]), 0);
        if (i == 0)
            overwrite(path[5], 20);
        restart(&p);
        assert_int_equal(stats_of(&p).files, 0);
        assert_int_equal(access(path[5], F_OK), -1);
    }
    place_finish(&p);
}

/* The reason, where, and what to do. */
static void a_directory_that_cannot_be_had_is_told(void **state)
{
    struct place p;
    struct kv_disk_config config;
    struct kv_disk *disk;
    struct error err = {0};
    char path[96];

    place_init(&p, 1 << 20);
    config = p.config;
    config.path = path;
    snprintf(path, sizeof(path), "%s/is/missing", p.path);
    assert_int_equal(kv_disk_create(&config, &disk, &err), -ENOENT);
    assert_says(err.text, "is/missing cannot be made: No such file or directory");
    snprintf(path, sizeof(path), "%s/file", p.path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(kv_disk_create(&config, &disk, &err), -ENOTDIR);
    assert_says(err.text, "file cannot be used: Not a directory");
    if (geteuid() == 0) {
        snprintf(path, sizeof(path), "%s/other", p.path);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(chown(path, ALICE, 0), 0);
        assert_int_equal(kv_disk_create(&config, &disk, &err), -EPERM);
        assert_says(err.text, "other belongs to uid 1000");
        assert_says(err.text, "chown it to uid 0");
    }
    place_finish(&p);
}

static void a_directory_that_others_may_look_into_is_refused(void **state)
{
    struct place p;
    struct kv_disk *disk;
    struct error err = {0};

    place_init(&p, 1 << 20);
    assert_int_equal(kv_disk_create(&p.config, &disk, &err), -EBUSY);
    assert_says(err.text, "another hearthd's");
    kv_disk_destroy(p.disk);
    assert_int_equal(chmod(p.path, 0750), 0);
    assert_int_equal(kv_disk_create(&p.config, &disk, &err), -EPERM);
    assert_says(err.text, "chmod 0700");
    assert_int_equal(chmod(p.path, 0700), 0);
    come(&p);
    place_finish(&p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_block_comes_back_as_it_was_after_a_restart),
    cmocka_unit_test(a_block_without_windows_says_so),
    cmocka_unit_test(what_is_not_as_it_was_written_is_thrown_away_and_counted),
    cmocka_unit_test(another_users_file_is_no_users),
    cmocka_unit_test(no_more_lies_there_than_the_limit),
    cmocka_unit_test(a_block_beyond_the_limit_displaces_nothing),
    cmocka_unit_test(the_end_of_a_conversation_goes_first_after_a_restart),
    cmocka_unit_test(a_chain_that_is_too_long_keeps_its_beginning),
    cmocka_unit_test(a_chain_that_is_too_long_keeps_what_is_everybodys_of_it),
    cmocka_unit_test(a_chain_that_is_used_keeps_its_order_over_a_restart),
    cmocka_unit_test(to_ask_is_not_to_use),
    cmocka_unit_test(a_use_that_lies_in_the_future_counts_as_one_of_now),
    cmocka_unit_test(what_was_not_used_for_so_many_seconds_goes),
    cmocka_unit_test(a_use_is_remembered_over_a_restart),
    cmocka_unit_test(a_drive_that_is_full_costs_the_block_and_no_more),
    cmocka_unit_test(what_is_set_aside_stays_so_over_a_power_failure),
    cmocka_unit_test(what_was_set_aside_is_removed_a_few_files_at_a_time),
    cmocka_unit_test(what_a_user_wants_forgotten_does_not_come_back_before_its_files_are_gone),
    cmocka_unit_test(what_is_forgotten_while_the_directory_is_looked_through_is_not_found),
    cmocka_unit_test(who_waits_to_write_is_woken_when_the_drive_is_tried_again),
    cmocka_unit_test(a_disk_that_is_given_up_waits_for_whom_it_wakes),
    cmocka_unit_test(a_file_that_cannot_be_looked_into_counts_and_can_be_forgotten),
    cmocka_unit_test(a_directory_that_takes_no_file_costs_the_block_and_no_more),
    cmocka_unit_test(a_writer_that_is_killed_leaves_whole_files_alone),
    cmocka_unit_test(an_unfinished_file_is_removed_at_the_start),
    cmocka_unit_test(what_a_user_wants_forgotten_is_gone_and_others_stays),
    cmocka_unit_test(what_is_no_whole_block_is_removed_at_the_start),
    cmocka_unit_test(a_directory_that_others_may_look_into_is_refused),
    cmocka_unit_test(a_directory_that_cannot_be_had_is_told),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
