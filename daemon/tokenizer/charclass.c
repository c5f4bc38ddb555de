/* SPDX-License-Identifier: MIT */
#include "tokenizer/charclass.h"

#include "base/utf8.h"

#include <pthread.h>
#include <string.h>
#include <utf8proc.h>

struct range {
    uint32_t first, last;
};

static const struct range cased[] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},
    {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},
    {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x377},     {0x37b, 0x37d},
    {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},     {0x38c, 0x38c},
    {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},     {0x48a, 0x52f},
    {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},   {0x13f8, 0x13fd},
    {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},
    {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},
    {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},   {0x1f5b, 0x1f5b},
    {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},   {0x1fb6, 0x1fbc},
    {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},   {0x1ff6, 0x1ffc},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},   {0x213c, 0x213f},
    {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2184},   {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf3},   {0xa640, 0xa66d},
    {0xa680, 0xa69b},   {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},
    {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},
    {0xff41, 0xff5a},   {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb},
    {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};
static const struct range mark_ranges[] = {
    {0x21, 0x2f},     {0x3a, 0x7e},     {0x2018, 0x201f},
    {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e},
};
static const struct range han[] = {
    {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
    {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f},
};
static const struct range white[] = {
    {0x9, 0xd},       {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
};

static bool is_in(const struct range *ranges, size_t n, uint32_t cp)
{
    for (size_t i = 0; i < n && ranges[i].first <= cp; i++)
        if (cp <= ranges[i].last)
            return true;
    return false;
}
#define IS_IN(ranges, cp) is_in(ranges, sizeof(ranges) / sizeof((ranges)[0]), cp)

static uint32_t category_traits(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
        return CHAR_LU;
    case UTF8PROC_CATEGORY_LL:
        return CHAR_LL;
    case UTF8PROC_CATEGORY_LT:
        return CHAR_LT;
    case UTF8PROC_CATEGORY_LM:
        return CHAR_LM;
    case UTF8PROC_CATEGORY_LO:
        return CHAR_LO;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return CHAR_M;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CHAR_N;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return CHAR_P;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return CHAR_S;
    default:
        return 0;
    }
}

static uint32_t ascii_traits(uint32_t cp)
{
    uint32_t traits = 0;

    if (cp == '\r')
        traits |= CHAR_CR;
    if (cp == '\n')
        traits |= CHAR_LF;
    if (cp == ' ')
        traits |= CHAR_SPACE;
    if (cp == '/')
        traits |= CHAR_SLASH;
    if (cp == '`')
        traits |= CHAR_BACKTICK;
    if (cp && strchr("$+<=>^~|", (int)cp))
        traits |= CHAR_MATH;
    if ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z')
        traits |= CHAR_ASCII_ALPHA;
    else if (cp >= '0' && cp <= '9')
        traits |= CHAR_ASCII_DIGIT;
    else if (cp > ' ' && cp < 0x7f)
        traits |= CHAR_ASCII_MARK;
    return traits;
}

static uint32_t find_traits(uint32_t cp)
{
    uint32_t traits = category_traits(cp);

    if (cp < 0x80)
        traits |= ascii_traits(cp);
    if (IS_IN(white, cp))
        traits |= CHAR_WHITE;
    if ((cp >= 0x4e00 && cp <= 0x9fa5) || (cp >= 0x3040 && cp <= 0x30ff))
        traits |= CHAR_KANJI_KANA;
    if ((cp >= 0x800 && cp <= 0x9fa5) || (cp >= 0xac00 && cp <= 0xd7ff))
        traits |= CHAR_EAST;
    if (IS_IN(cased, cp))
        traits |= CHAR_CASED;
    if (IS_IN(mark_ranges, cp))
        traits |= CHAR_MARK_RANGES;
    if (IS_IN(han, cp))
        traits |= CHAR_HAN;
    return traits;
}

/* Nothing is assigned beyond, but for the tags and variation selectors of plane 14. */
enum { N_LOW_PAGES = 0x335, TAG_PAGE = 0xe00, N_TAG_PAGES = 2, N_PAGES = N_LOW_PAGES + 3 };

static uint8_t blocks[N_PAGES][256];
static struct charclass table = {.blocks = blocks};
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Class 0 is CHARCLASS_INSIDE, class 1 has no traits. There are some 60; 255 holds what is over. */
static uint8_t intern(uint32_t traits, unsigned *n_classes)
{
    for (unsigned i = 1; i < *n_classes; i++)
        if (table.traits[i] == traits)
            return (uint8_t)i;
    if (*n_classes < 255) {
        table.traits[*n_classes] = traits;
        return (uint8_t)(*n_classes)++;
    }
    return 1;
}

static void fill_page(uint32_t page, unsigned *n_blocks, unsigned *n_classes)
{
    uint8_t *block = table.blocks[*n_blocks];
    uint32_t last_traits = 0;
    uint8_t last = 1;

    for (uint32_t i = 0; i < 256; i++) {
        uint32_t traits = find_traits(page << 8 | i);

        if (traits != last_traits) {
            last_traits = traits;
            last = intern(traits, n_classes);
        }
        block[i] = last;
    }
    for (unsigned b = 0; b < *n_blocks; b++) {
        if (memcmp(table.blocks[b], block, 256) == 0) {
            table.page[page] = (uint16_t)b;
            return;
        }
    }
    table.page[page] = (uint16_t)(*n_blocks)++;
}

static void make_table(void)
{
    unsigned n_blocks = 1, n_classes = 2;

    memset(table.blocks[0], 1, 256);
    for (uint32_t page = 0; page < N_LOW_PAGES; page++)
        fill_page(page, &n_blocks, &n_classes);
    for (uint32_t page = TAG_PAGE; page < TAG_PAGE + N_TAG_PAGES; page++)
        fill_page(page, &n_blocks, &n_classes);
}

const struct charclass *charclass_get(void)
{
    pthread_once(&once, make_table);
    return &table;
}

void charclass_fill(const struct charclass *c, const char *text, size_t len, uint8_t *ret_classes)
{
    const uint8_t *ascii = c->blocks[c->page[0]];
    size_t i = 0;

    while (i < len) {
        uint32_t cp;
        int n;

        if ((unsigned char)text[i] < 0x80) {
            ret_classes[i] = ascii[(unsigned char)text[i]];
            i++;
            continue;
        }
        n = utf8_decode(text + i, len - i, &cp);
        if (n <= 0) {
            ret_classes[i++] = 1;
            continue;
        }
        ret_classes[i] = charclass_of(c, cp);
        memset(ret_classes + i + 1, CHARCLASS_INSIDE, (size_t)n - 1);
        i += (size_t)n;
    }
}
