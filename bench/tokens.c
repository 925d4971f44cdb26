/* Makes token data of the paper's sizes for the GPU check, whose speed does not depend on meaning:

       tokens FOLDER DOCUMENTS

   Documents of 4096 ids, one a sequence: two images of 896, the others text, every id drawn by key.
   So groups by modality are unequal, as those of real batches are, and of the same sizes in every
   batch, so that steps can be graphs. FOLDER, which exists, gets modality.json, the map for `data =
   shards`. */
#include "base/file.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { LEN = 4096, IMAGE = 896, TEXT_IDS = 57344, IMAGE_IDS = 8188, VALIDATION = 16 };
enum { BOS = TEXT_IDS + IMAGE_IDS, EOS, BOI, EOI, VOCAB };

static const char map[] = "{ \"name\": \"gpu-check\", \"vocab\": %d, \"text\": [0, %d],\n"
                          "  \"image\": [%d, %d], \"bos\": %d, \"eos\": %d, \"boi\": %d,\n"
                          "  \"eoi\": %d, \"tokens_per_image\": %d, \"dtype\": \"u16\",\n"
                          "  \"train\": \"train.bin\", \"val\": \"val.bin\" }\n";

static void draw_document(uint16_t id[LEN], uint64_t key)
{
    enum { HALF = LEN / 2, TEXT = HALF - IMAGE - 3 }; /* before an image; 1 after it */
    uint64_t i;

    for (i = 0; i < LEN; i++)
        id[i] = (uint16_t)mb_below(key, i, TEXT_IDS);
    for (i = TEXT; i < LEN; i += HALF) {
        id[i] = BOI;
        for (uint64_t k = i + 1; k <= i + IMAGE; k++)
            id[k] = (uint16_t)(TEXT_IDS + mb_below(key, k, IMAGE_IDS));
        id[i + IMAGE + 1] = EOI;
    }
    id[0] = BOS;
    id[LEN - 1] = EOS;
}

static mb_err write_documents(const char *folder, const char *name, int n)
{
    char *path = mb_format("%s/%s", folder, name);
    uint16_t id[LEN];
    mb_replace out;
    mb_err err = mb_replace_open(path, &out);

    for (int i = 0; !err && i < n; i++) {
        draw_document(id, mb_key(1, name, (uint64_t)i, 0));
        fwrite(id, sizeof id, 1, out.file); /* a failure shows with the commit */
    }
    free(path);
    return err ? err : mb_replace_commit(&out);
}

static mb_err write_map(const char *folder)
{
    char *path = mb_format("%s/modality.json", folder);
    mb_replace out;
    mb_err err = mb_replace_open(path, &out);

    if (!err)
        fprintf(out.file, map, VOCAB, TEXT_IDS, TEXT_IDS, TEXT_IDS + IMAGE_IDS, BOS, EOS, BOI, EOI,
                IMAGE);
    free(path);
    return err ? err : mb_replace_commit(&out);
}

int main(int argc, char **argv)
{
    int n = argc == 3 ? atoi(argv[2]) : 0;
    mb_err err;

    if (n < 1) {
        fprintf(stderr, "usage: tokens FOLDER DOCUMENTS\n");
        return 64;
    }
    err = write_documents(argv[1], "train.bin", n);
    if (!err)
        err = write_documents(argv[1], "val.bin", VALIDATION);
    if (!err)
        err = write_map(argv[1]);
    if (err)
        fprintf(stderr, "tokens: %s\n", mb_message());
    return err != MB_OK;
}
