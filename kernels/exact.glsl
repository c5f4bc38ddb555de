/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic more exact than a driver's: an exponential of known error, and numbers of about 48
 * bits as unevaluated sums of two floats, x the value and y what rounding lost (Dekker 1971; Knuth,
 * TAOCP 2, 4.2.2). `precise` keeps compilers from regrouping; nothing relies on fma.
 */
#define LN2  vec2(0.6931471824645996, -1.9046542121259336e-09)
#define LOG2E 1.4426950408889634

/* 2^n for n from -126 to 127. */
float exp2_int(int n)
{
    return intBitsToFloat((n + 127) << 23);
}

/* e^x to two units in the last place; 0 and infinity beyond what a float holds. */
float exp_exact(float x)
{
    precise float n, r, p;
    int k;

    x = clamp(x, -104.0, 89.0);
    n = roundEven(x * LOG2E);
    r = x - n * 0.693359375; /* nine bits: the product is exact */
    r = r + n * 2.12194440e-4;
    p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = (p * r) * r + r;
    p = p + 1.0;
    k = int(n) / 2; /* in two steps: the scale itself may be beyond a float */
    return p * exp2_int(k) * exp2_int(int(n) - k);
}

vec2 two_sum(float a, float b)
{
    precise float sum = a + b, part = sum - a, rest = (a - (sum - part)) + (b - part);

    return vec2(sum, rest);
}

vec2 two_product(float a, float b)
{
    precise float product = a * b, ta = 4097.0 * a, tb = 4097.0 * b;
    precise float ah = ta - (ta - a), bh = tb - (tb - b), al = a - ah, bl = b - bh;
    precise float rest = (((ah * bh - product) + ah * bl) + al * bh) + al * bl;

    return vec2(product, rest);
}

vec2 pair_add(vec2 a, vec2 b)
{
    precise vec2 s = two_sum(a.x, b.x);
    precise float rest = s.y + (a.y + b.y);

    return two_sum(s.x, rest);
}

vec2 pair_multiply(vec2 a, vec2 b)
{
    precise vec2 p = two_product(a.x, b.x);
    precise float rest = p.y + (a.x * b.y + a.y * b.x);

    return two_sum(p.x, rest);
}

vec2 pair_divide(vec2 a, vec2 b)
{
    precise float q = a.x / b.x, correction;
    precise vec2 rest = pair_add(a, -pair_multiply(b, vec2(q, 0.0)));

    correction = rest.x / b.x;
    rest = pair_add(rest, -pair_multiply(b, vec2(correction, 0.0)));
    return pair_add(two_sum(q, correction), vec2(rest.x / b.x, 0.0));
}

/* a / b rounded once, as C divides: a driver's quotient may be off by two and a half units. */
float divide_exact(float a, float b)
{
    return pair_divide(vec2(a, 0.0), vec2(b, 0.0)).x;
}

/* 2^x for |x| < 120. */
vec2 pair_exp2(vec2 x)
{
    float n = roundEven(x.x), tail;
    vec2 y = pair_multiply(pair_add(x, vec2(-n, 0.0)), LN2), p;

    /* Taylor's series, 1 + y/1 * (1 + y/2 * (...)): past the sixth term a float is enough */
    tail = 1.0;
    for (float k = 13.0; k > 6.5; k -= 1.0)
        tail = 1.0 + y.x * tail / k;
    p = vec2(tail, 0.0);
    for (float k = 6.0; k > 0.5; k -= 1.0)
        p = pair_add(vec2(1.0, 0.0), pair_divide(pair_multiply(y, p), vec2(k, 0.0)));
    return p * exp2_int(int(n));
}

/* The logarithm to base 2 of x > 0: a float's, then one step of Newton's. */
vec2 pair_log2(float x)
{
    uint bits = floatBitsToUint(x);
    float exponent = float(int(bits >> 23) - 127);
    float mantissa = uintBitsToFloat((bits & 0x7fffff) | 0x3f800000);
    float guess = log2(mantissa);
    vec2 rest = pair_multiply(vec2(mantissa, 0.0), pair_exp2(vec2(-guess, 0.0)));

    rest = pair_divide(pair_add(rest, vec2(-1.0, 0.0)), LN2);
    return pair_add(vec2(exponent, 0.0), pair_add(vec2(guess, 0.0), rest));
}
