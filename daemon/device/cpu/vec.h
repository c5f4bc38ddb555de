/* SPDX-License-Identifier: MIT */
/* Vectors as wide as the level has them, in the compiler's own vector types. */
#ifndef HEARTH_DEVICE_CPU_VEC_H
#define HEARTH_DEVICE_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));

static inline vf vec_load(const float *p)
{
    vf v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void vec_store(float *p, vf v)
{
    memcpy(p, &v, sizeof(v));
}

static inline vf vec_set(float f)
{
    return f - (vf){0};
}

/* 0, 1, 2 ... */
static inline vu vec_numbers(void)
{
    static const uint32_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vu v;

    memcpy(&v, numbers, sizeof(v));
    return v;
}

static inline vf vec_select(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* b where either is NaN, as the instruction has it. */
static inline vf vec_max(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vec_select(a > b, a, b);
#endif
}

/* Halves added to one another; in intrinsics, as compilers make it of the loop lane by lane. */
static inline float vec_sum(vf v)
{
#if defined(__AVX2__)
#if defined(__AVX512F__)
    __m256 halves =
        _mm256_add_ps(_mm512_extractf32x8_ps((__m512)v, 0), _mm512_extractf32x8_ps((__m512)v, 1));
#else
    __m256 halves = (__m256)v;
#endif
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));

    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
#else
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
#endif
}

/* Of numbers: where one is NaN, any or NaN. */
static inline float vec_greatest(vf v)
{
#if defined(__AVX2__)
#if defined(__AVX512F__)
    __m256 halves =
        _mm256_max_ps(_mm512_extractf32x8_ps((__m512)v, 0), _mm512_extractf32x8_ps((__m512)v, 1));
#else
    __m256 halves = (__m256)v;
#endif
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));

    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
#else
    float m = v[0];

    for (int i = 1; i < LANES; i++)
        m = v[i] > m ? v[i] : m;
    return m;
#endif
}

static inline vf vec_min(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vec_select(a < b, a, b);
#endif
}

static inline vf vec_load_f16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)p));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)p));
#else
    vh h;
    vu wide, magnitude, special;
    vf f;

    memcpy(&h, p, sizeof(h));
    wide = __builtin_convertvector(h, vu);
    magnitude = (wide & 0x7fff) << 13;
    special = (vu)((wide & 0x7c00) == 0x7c00); /* infinity, NaN */
    f = (vf)magnitude * 0x1p112f;
    return (vf)(((vu)f & ~special) | ((magnitude | 0x7f800000) & special) | (wide & 0x8000) << 16);
#endif
}

/* An f16 in each lane. */
static inline vf vec_set_f16(uint16_t h)
{
    vh all = h - (vh){0};

    return vec_load_f16((const uint16_t *)&all);
}

static inline vf vec_load_bf16(const uint16_t *p)
{
    vh h;

    memcpy(&h, p, sizeof(h));
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

/* LANES integers of 8 bits. */
static inline vf vec_load_i8(const int8_t *p)
{
#if defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i_u *)p)));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadu_si64(p)));
#else
    int8_t b __attribute__((vector_size(LANES)));

    memcpy(&b, p, sizeof(b));
    return __builtin_convertvector(b, vf);
#endif
}

/* Lane i is the sum of all lanes of v[i]. */
static inline vf vec_sums(const vf v[LANES])
{
#if defined(__AVX512F__)
    __m512 t[8], u[4], lower, upper;

    for (int i = 0; i < 8; i++) { /* in each quarter: pairs of lanes of two vectors */
        __m512 a = (__m512)v[2 * i], b = (__m512)v[2 * i + 1];

        t[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
    for (int i = 0; i < 4; i++) { /* a lane of four vectors */
        __m512d a = _mm512_castps_pd(t[2 * i]), b = _mm512_castps_pd(t[2 * i + 1]);

        u[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    lower = _mm512_add_ps(_mm512_shuffle_f32x4(u[0], u[1], 0x88),
                          _mm512_shuffle_f32x4(u[0], u[1], 0xdd));
    upper = _mm512_add_ps(_mm512_shuffle_f32x4(u[2], u[3], 0x88),
                          _mm512_shuffle_f32x4(u[2], u[3], 0xdd));
    return (vf)_mm512_add_ps(_mm512_shuffle_f32x4(lower, upper, 0x88),
                             _mm512_shuffle_f32x4(lower, upper, 0xdd));
#elif defined(__AVX2__)
    __m256 lower = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[0], (__m256)v[1]),
                                  _mm256_hadd_ps((__m256)v[2], (__m256)v[3]));
    __m256 upper = _mm256_hadd_ps(_mm256_hadd_ps((__m256)v[4], (__m256)v[5]),
                                  _mm256_hadd_ps((__m256)v[6], (__m256)v[7]));

    return (vf)_mm256_add_ps(_mm256_permute2f128_ps(lower, upper, 0x20),
                             _mm256_permute2f128_ps(lower, upper, 0x31));
#else
    vf sum = {0};

    for (int k = 0; k < LANES; k++) {
        vf column;

        for (int i = 0; i < LANES; i++)
            column[i] = v[i][k];
        sum = k ? sum + column : column;
    }
    return sum;
#endif
}

/* Within 2 ulp of exp for x in [-103, 88]; 0 below, infinity above. NaN stays NaN. */
static inline vf vec_exp(vf x)
{
    const vf magic = vec_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf clamped = vec_min(vec_set(89.0f), vec_max(vec_set(-104.0f), x)); /* NaN is the second */
    vf shifted = clamped * 1.44269504088896341f + magic, n = shifted - magic, r, p;

    r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    {
        vi whole = (vi)shifted - (vi)magic, half = whole >> 1;

        p = p * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
        return vec_select(x != x, x, p);
    }
#endif
}

/* Each pair of neighbours the other way round. */
static inline vf vec_swap_pairs(vf v)
{
    typedef uint64_t pairs __attribute__((vector_size(LANES * 4)));

    return (vf)((pairs)v << 32 | (pairs)v >> 32);
}

/* Angles need 64 bits: a turn is small against a late position. */
#define DOUBLE_LANES (LANES / 2)
typedef double vd __attribute__((vector_size(LANES * 4)));

static inline vd vec_load_f64(const double *p)
{
    vd v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* sin and cos of x within 2^-24, for |x| < 2^28. The angle less whole quarters of a turn, then
 * Taylor's series to r^11 and r^12; f32[DOUBLE_LANES] each. */
static inline void vec_sincos(vd x, float *sines, float *cosines)
{
    typedef int64_t whole __attribute__((vector_size(LANES * 4)));
    typedef float half __attribute__((vector_size(LANES * 2)));
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
    vd n = x * 0.63661977236758134308 + magic, r, r2, s, c;
    whole quarter = (whole)n, is_odd = -(quarter & 1);
    half f;

    n -= magic;
    /* pi / 2 in two parts, of which the first has 33 bits: its multiples are exact up to 2^20, and
     * off by 2^-26 at the end */
    r = x - n * 1.57079632673412561417 - n * 6.07710050650619224932e-11;
    r2 = r * r;
    s = r2 * (-1.0 / 39916800) + 1.0 / 362880;
    s = s * r2 - 1.0 / 5040;
    s = s * r2 + 1.0 / 120;
    s = s * r2 - 1.0 / 6;
    s = s * r2 * r + r;
    c = r2 * (1.0 / 479001600) - 1.0 / 3628800;
    c = c * r2 + 1.0 / 40320;
    c = c * r2 - 1.0 / 720;
    c = c * r2 + 1.0 / 24;
    c = c * r2 - 0.5;
    c = c * r2 + 1.0;
    /* sin of the quarters: s, c, -s, -c; cos: c, -s, -c, s */
    f = __builtin_convertvector(
        (vd)((((whole)s & ~is_odd) | ((whole)c & is_odd)) ^ (quarter & 2) << 62), half);
    memcpy(sines, &f, sizeof(f));
    f = __builtin_convertvector(
        (vd)((((whole)c & ~is_odd) | ((whole)s & is_odd)) ^ ((quarter + 1) & 2) << 62), half);
    memcpy(cosines, &f, sizeof(f));
}

/* x / (1 + e^-z), of z below -88 as x * e^z: where e^-z overflows the result is 0, also for x =
 * -infinity. */
static inline vf vec_gate(vf x, vf z)
{
    return vec_select(z < -88.0f, x * vec_exp(z), x / (1.0f + vec_exp(-z)));
}

#endif
