/* SPDX-License-Identifier: MIT */
/*
 * A row's candidates in order of likelihood without sorting them: search() finds the element at
 * which a running count or mass passes a threshold, in the order (greater logits first, among
 * equals lower ids).
 *
 * An element's place in that order is a 64-bit number, order_of(). Its mass is its weight
 * exp((logit - greatest) / temperature) as an integer, 2^44 for the first, so that sums are exact
 * and do not depend on who adds first. A first histogram of 256 bins is by the weight's exponent;
 * the elements of the bin where the threshold lies are listed, and histograms of eight bits of the
 * order at a time narrow them down to one. All invocations of the workgroup take part in every
 * function here.
 */

#define BINS       256u
#define COARSE     0u   /* first bin of the histogram by exponents */
#define FINE       BINS /* of the one by eight bits */
#define MASS_BITS  44
#define ORDER_NONE 0xff800000u /* the upper half of the order of minus infinity, as its bits are */
#define AT_ONCE    8u /* logits that an invocation reads before it looks at them */

layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer Words { uint v[]; };

shared uint bin_count[2 * BINS], bin_low[2 * BINS], bin_high[2 * BINS];
shared uint n_listed;
/* What find_bin says: the bin, how many are in it, and what lies before it. */
shared uint found_bin, found_count, before_count;
shared uint64_t before_mass, found_order;

/* Of the row. */
uint64_t row_logits; /* bits of f32[n_vocab] */
uint64_t row_list;   /* u32[n_vocab]: ids of the elements of coarse bin listed_bin */
uint listed_bin;
/* What is being ordered. */
uint64_t ordered_mask; /* as step_sample.allowed */
float ordered_greatest, ordered_inverse;

/* Makes the workgroup's writes to memory and to shared memory known to it. */
void synchronize()
{
    memoryBarrierBuffer();
    barrier();
}

bool is_allowed(uint64_t mask, uint id)
{
    return mask == 0 || (U32(mask).v[id / 32] >> (id % 32) & 1) != 0;
}

/* Less is more likely. -0 and 0 are equals. */
uint64_t order_of(uint bits, uint id)
{
    bits = bits == 0x80000000 ? 0 : bits;
    bits = (bits & 0x80000000) != 0 ? bits : ~bits & 0x7fffffff;
    return uint64_t(bits) << 32 | id;
}

bool is_ordered(uint bits, uint id)
{
    return bits != ORDER_NONE && is_allowed(ordered_mask, id);
}

/* Logits first + invocation + k * WORKGROUP_SIZE; minus infinity past the end. */
void load_logits(uint first, out uint bits[AT_ONCE])
{
    [[unroll]] for (uint k = 0; k < AT_ONCE; k++) {
        uint i = first + k * WORKGROUP_SIZE + gl_LocalInvocationID.x;

        bits[k] = Words(row_logits).v[min(i, push.a.n_vocab - 1)];
        bits[k] = i < push.a.n_vocab ? bits[k] : ORDER_NONE;
    }
}

/* By how many powers of e an element is less likely than the first. */
float distance_of(uint bits)
{
    precise float d = (ordered_greatest - uintBitsToFloat(bits)) * ordered_inverse;

    return min(d, 1000.0);
}

uint64_t mass_of(uint bits)
{
    float d = distance_of(bits);

    return d < 32.0 ? uint64_t(exp_exact(-d) * exp2_int(MASS_BITS)) : uint64_t(0);
}

uint coarse_bin_of(uint bits)
{
    return uint(min(distance_of(bits) * 8.0, float(BINS - 1)));
}

void clear_bins(uint base)
{
    for (uint i = gl_LocalInvocationID.x; i < BINS; i += WORKGROUP_SIZE)
        bin_count[base + i] = bin_low[base + i] = bin_high[base + i] = 0;
    barrier();
}

void add_to_bin(uint bin, uint64_t mass)
{
    uint low = uint(mass), high = uint(mass >> 32), old;

    atomicAdd(bin_count[bin], 1);
    if (low != 0) {
        old = atomicAdd(bin_low[bin], low);
        high += old + low < old ? 1 : 0;
    }
    if (high != 0)
        atomicAdd(bin_high[bin], high);
}

uint64_t bin_mass(uint bin)
{
    return uint64_t(bin_high[bin]) << 32 | bin_low[bin];
}

/* Begins to order: the elements that a mask allows, by their distance from the greatest. */
void order_elements(uint64_t mask, float greatest, float inverse)
{
    ordered_mask = mask;
    ordered_greatest = greatest;
    ordered_inverse = inverse;
    listed_bin = BINS;
    clear_bins(COARSE);
    for (uint first = 0; first < push.a.n_vocab; first += AT_ONCE * WORKGROUP_SIZE) {
        uint bits[AT_ONCE];

        load_logits(first, bits);
        [[unroll]] for (uint k = 0; k < AT_ONCE; k++)
            if (is_ordered(bits[k], first + k * WORKGROUP_SIZE + gl_LocalInvocationID.x))
                add_to_bin(COARSE + coarse_bin_of(bits[k]), mass_of(bits[k]));
    }
    barrier();
}

/* The sum of a 64-bit number below 2^62 of each invocation, told to all. */
uint64_t workgroup_sum64(uint64_t v)
{
    uint low = workgroup_sum(uint(v) & 0x1fffff);
    uint middle = workgroup_sum(uint(v >> 21) & 0x1fffff);
    uint high = workgroup_sum(uint(v >> 42));

    return (uint64_t(high) << 42) + (uint64_t(middle) << 21) + low;
}

/* The mass of all that is ordered. */
uint64_t ordered_mass()
{
    uint64_t sum = 0;

    for (uint i = gl_LocalInvocationID.x; i < BINS; i += WORKGROUP_SIZE)
        sum += bin_mass(COARSE + i);
    return workgroup_sum64(sum);
}

/* The first of a histogram's bins at which what lies before it and in it passes the threshold;
 * there must be one. count and mass: what lies before the histogram. */
void find_bin(uint base, bool by_count, uint64_t threshold, uint count, uint64_t mass)
{
    const uint run = BINS / SUBGROUP_SIZE;
    uint first = base + LANE * run, own_count = 0;
    uint64_t own_mass = 0;

    barrier(); /* what was found before has been read */
    if (SUBGROUP == 0) {
        for (uint k = 0; k < run; k++) {
            own_count += bin_count[first + k];
            own_mass += bin_mass(first + k);
        }
        for (uint lane = 0; lane + 1 < SUBGROUP_SIZE; lane++) {
            uint n = subgroupBroadcast(own_count, lane);
            uint low = subgroupBroadcast(uint(own_mass), lane);
            uint high = subgroupBroadcast(uint(own_mass >> 32), lane);

            count += lane < LANE ? n : 0;
            mass += lane < LANE ? uint64_t(high) << 32 | low : uint64_t(0);
        }
        for (uint k = 0; k < run; k++) {
            uint64_t before = by_count ? uint64_t(count) : mass;
            uint64_t own = by_count ? uint64_t(bin_count[first + k]) : bin_mass(first + k);

            if (before <= threshold && threshold < before + own) {
                found_bin = first + k - base;
                found_count = bin_count[first + k];
                before_count = count;
                before_mass = mass;
            }
            count += bin_count[first + k];
            mass += bin_mass(first + k);
        }
    }
    barrier();
}

/* Lists the ids of the elements of the coarse bin that find_bin found. */
void list_bin()
{
    uint bin = found_bin;

    if (bin == listed_bin)
        return;
    listed_bin = bin;
    if (gl_LocalInvocationID.x == 0)
        n_listed = 0;
    barrier();
    for (uint first = 0; first < push.a.n_vocab; first += AT_ONCE * WORKGROUP_SIZE) {
        uint bits[AT_ONCE];

        load_logits(first, bits);
        [[unroll]] for (uint k = 0; k < AT_ONCE; k++) {
            uint id = first + k * WORKGROUP_SIZE + gl_LocalInvocationID.x;

            if (is_ordered(bits[k], id) && coarse_bin_of(bits[k]) == bin)
                Words(row_list).v[atomicAdd(n_listed, 1)] = id;
        }
    }
    synchronize();
}

/* Adds the listed elements whose order begins with the known bits to the histogram of the next
 * eight; with all 64 known, or one element left, names it instead. */
void look_through_list(uint64_t prefix, uint known, bool is_last)
{
    for (uint i = gl_LocalInvocationID.x; i < n_listed; i += WORKGROUP_SIZE) {
        uint id = Words(row_list).v[i], bits = Words(row_logits).v[id];
        uint64_t order = order_of(bits, id);

        if (known != 0 && order >> (64 - known) != prefix)
            continue;
        if (is_last)
            found_order = order;
        else
            add_to_bin(FINE + (uint(order >> (56 - known)) & (BINS - 1)), mass_of(bits));
    }
    barrier();
}

/* Finds the first element at which the running count (or mass), itself included, passes the
 * threshold: its order is in found_order, what lies before it in before_count and before_mass. */
void search(bool by_count, uint64_t threshold)
{
    uint64_t prefix = 0;
    uint known = 0;

    find_bin(COARSE, by_count, threshold, 0, 0);
    list_bin();
    while (found_count > 1 && known < 64) {
        uint count = before_count;
        uint64_t mass = before_mass;

        if (known >= 32 && known < 56 && push.a.n_vocab <= 1u << (56 - known)) {
            prefix <<= 8; /* no id has these bits */
            known += 8;
            continue;
        }
        clear_bins(FINE); /* its barrier: what is read above has been */
        look_through_list(prefix, known, false);
        find_bin(FINE, by_count, threshold, count, mass);
        prefix = prefix << 8 | found_bin;
        known += 8;
    }
    look_through_list(prefix, known, true);
}
