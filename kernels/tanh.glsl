/* SPDX-License-Identifier: MIT */
/* Of a small x without cancellation. */
float tanh_exact(float x)
{
    float s = x * x, e = exp(-2.0 * abs(x));

    if (s < 0.04)
        return x * (1.0 - s / 3.0 * (1.0 - s * 0.4 * (1.0 - s * 17.0 / 42.0)));
    return sign(x) * (1.0 - e) / (1.0 + e);
}
