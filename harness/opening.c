#include "harness/opening.h"

#include "base/file.h"

#include <string.h>

/* Marks that a set does not have are -1. */
static void add(mb_opening *o, int32_t id)
{
    if (id >= 0)
        o->token[o->n++] = id;
}

void mb_opening_make(const mb_loaded *l, int prompt_modality, const mb_segment *prompt,
                     int answer_modality, int64_t extra, mb_opening *out)
{
    mb_segment_kind kind = mb_data_segment_kind(l->data, prompt_modality);
    int64_t n = prompt ? prompt->n : 0;

    *out = (mb_opening){ .token = mb_alloc((size_t)(n + extra + 4) * sizeof *out->token) };
    add(out, mb_data_bos(l->data));
    if (prompt) {
        add(out, kind.begin);
        out->first = out->n;
        out->patch = prompt->patch;
        out->patches = prompt->patch ? n : 0;
        memcpy(out->token + out->n, prompt->token, (size_t)n * sizeof *out->token);
        out->n += n;
        if (kind.begin >= 0)
            add(out, kind.end);
    }
    add(out, mb_data_segment_kind(l->data, answer_modality).begin);
}
