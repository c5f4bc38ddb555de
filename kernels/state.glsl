/* SPDX-License-Identifier: MIT */
/* The state of fixed size that sequences have, for shaders whose arguments name it as push.a.state:
 * rows of one sequence are a run, and workgroups of one second dimension take every so many'th. */

/* The end of the run that begins with row t. */
uint run_end(uint t, uint n_tokens)
{
    uint seq = StepTokens(push.a.tokens).v[t].seq;

    [[dont_unroll]] do {
        t++;
    } while (t < n_tokens && StepTokens(push.a.tokens).v[t].seq == seq);
    return t;
}

bool is_own_run(uint run)
{
    return run % gl_NumWorkGroups.y == gl_WorkGroupID.y;
}

/* Where the state of row t's sequence lies; 0 where it has none. */
uint64_t state_of(uint t)
{
    uint seq = StepTokens(push.a.tokens).v[t].seq, slot;

    if (seq >= step_n_seqs(push.a.step))
        return 0;
    slot = StepSeqs(push.a.seqs).v[seq].slot;
    return slot < push.a.state.n_slots ? push.a.state.base + slot * push.a.state.slot_bytes : 0;
}
