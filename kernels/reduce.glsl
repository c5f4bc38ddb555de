/* SPDX-License-Identifier: MIT */
/* Sums and maxima over a workgroup, for shaders in which every invocation takes part. */

/* One place for each subgroup there can be. */
shared float reduce_places[N_SUBGROUPS];

/* The sum of every invocation's v, told to all. */
float workgroup_sum(float v)
{
    v = subgroupAdd(v);
    if (N_SUBGROUPS == 1)
        return v;
    barrier(); /* what was read of an earlier reduction */
    if (LANE == 0)
        reduce_places[SUBGROUP] = v;
    barrier();
    v = 0.0;
    for (uint i = 0; i < N_SUBGROUPS; i++)
        v += reduce_places[i];
    return v;
}

/* The greatest of every invocation's v, told to all. */
float workgroup_max(float v)
{
    v = subgroupMax(v);
    if (N_SUBGROUPS == 1)
        return v;
    barrier();
    if (LANE == 0)
        reduce_places[SUBGROUP] = v;
    barrier();
    v = reduce_places[0];
    for (uint i = 1; i < N_SUBGROUPS; i++)
        v = max(v, reduce_places[i]);
    return v;
}

/* ---- the same of whole numbers ---- */

shared uint reduce_uints[N_SUBGROUPS];

uint workgroup_sum(uint v)
{
    v = subgroupAdd(v);
    barrier();
    if (LANE == 0)
        reduce_uints[SUBGROUP] = v;
    barrier();
    v = 0;
    for (uint i = 0; i < N_SUBGROUPS; i++)
        v += reduce_uints[i];
    return v;
}

uint workgroup_min(uint v)
{
    v = subgroupMin(v);
    barrier();
    if (LANE == 0)
        reduce_uints[SUBGROUP] = v;
    barrier();
    v = reduce_uints[0];
    for (uint i = 1; i < N_SUBGROUPS; i++)
        v = min(v, reduce_uints[i]);
    return v;
}
