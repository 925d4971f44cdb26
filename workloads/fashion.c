/* Source "fashion": Fashion-MNIST (Xiao et al. 2017) with captions made from labels and pixels, and
   WordNet glosses as texts. Nothing is shipped: the files come from Debian packages.

   Images are split by their place in the files: training images 0 .. 54999 train, the rest val, the
   10000 others test. Glosses have no test part. */
#include "workloads/fashion.h"
#include "base/random.h"
#include "workloads/captions.h"
#include "workloads/fetch.h"
#include "workloads/idx.h"
#include "workloads/wordnet.h"

#include <stdlib.h>
#include <string.h>

enum { SEED = 1, CODES = 512, TRAIN_IMAGES = 55000 };

enum { TRAIN_PIXELS, TRAIN_LABELS, TEST_PIXELS, TEST_LABELS, FILES };
static const struct {
    const char *name, *hash;
    int64_t images;
} file[FILES] = {
    { "train-images-idx3-ubyte.gz",
      "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7", 60000 },
    { "train-labels-idx1-ubyte.gz",
      "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056", 60000 },
    { "t10k-images-idx3-ubyte.gz",
      "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa", 10000 },
    { "t10k-labels-idx1-ubyte.gz",
      "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05", 10000 },
};

/* Reads file F of FOLDER once its checksum is the known one. */
static mb_err read_known(const char *folder, int f, mb_set_writer *w, mb_idx *out)
{
    char *path = mb_format("%s/%s", folder, file[f].name), hash[MB_HASH_SIZE];
    mb_err err = mb_hash_file(path, hash);

    if (!err && strcmp(hash, file[f].hash))
        err = mb_fail(MB_ECORRUPT,
                      "%s: SHA-256 %s found, %s expected: not the file of "
                      "dataset-fashion-mnist",
                      path, hash, file[f].hash);
    if (!err)
        err = mb_idx_read(path, out);
    if (!err && (out->rank != (f == TRAIN_PIXELS || f == TEST_PIXELS ? 3 : 1) ||
                 out->shape[0] != file[f].images))
        err = mb_fail(MB_ECORRUPT, "%s: offset 0: not %lld items", path, (long long)file[f].images);
    if (!err)
        err = mb_set_source_file(w, path);
    free(path);
    return err;
}

static json_t *cuts_to_json(const mb_cuts *cuts)
{
    json_t *area = json_array(), *gradient = json_array();

    for (int c = 0; c < MB_CLASSES; c++) {
        json_array_append_new(area, json_pack("[ii]", cuts->area[c][0], cuts->area[c][1]));
        json_array_append_new(gradient,
                              json_pack("[ii]", cuts->gradient[c][0], cuts->gradient[c][1]));
    }
    return json_pack("{so so si si}", "area", area, "gradient", gradient, "row", cuts->row,
                     "column", cuts->column);
}

static mb_look *measure(const uint8_t *image, int64_t n)
{
    mb_look *look = mb_alloc((size_t)n * sizeof *look);

#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        look[i] = mb_look_measure(image + i * MB_IMAGE_PIXELS);
    return look;
}

/* GREY (28, 28) in the middle of OUT, which is black. */
static void place_image(mb_image_shape shape, const uint8_t *grey, uint8_t *out)
{
    int margin = (shape.side - MB_IMAGE_SIDE) / 2;

    for (int i = 0; i < MB_IMAGE_PIXELS; i++) {
        int y = margin + i / MB_IMAGE_SIDE, x = margin + i % MB_IMAGE_SIDE;

        memset(out + (y * shape.side + x) * shape.channels, grey[i], (size_t)shape.channels);
    }
}

/* Fills a split with images and their captions: N of them, number FIRST on of their file. */
static void add_images(mb_corpus *c, enum mb_split split, const mb_idx *pixels,
                       const mb_idx *labels, const mb_look *look, const mb_cuts *cuts,
                       int64_t first, int64_t n)
{
    struct mb_corpus_split *to = &c->split[split];
    char key_name[32], caption[MB_CAPTION_SIZE];
    size_t bytes = mb_image_bytes(c->shape);

    snprintf(key_name, sizeof key_name, "caption %s", mb_split_name[split]);
    to->image = mb_zalloc((size_t)n, bytes);
    for (int64_t i = 0; i < n; i++) {
        place_image(c->shape, pixels->data + (first + i) * MB_IMAGE_PIXELS,
                    to->image + (size_t)i * bytes);
    }
    for (int64_t i = 0; i < n; i++) {
        mb_traits traits = mb_traits_of(&look[first + i], labels->data[first + i], cuts);
        size_t size = mb_caption(&traits, mb_key(SEED, key_name, (uint64_t)i, 0), caption);

        mb_texts_add(&to->caption, caption, size);
    }
}

static void add_all_images(const mb_idx idx[FILES], mb_corpus *c, mb_set_writer *w)
{
    const mb_idx *train = &idx[TRAIN_PIXELS], *test = &idx[TEST_PIXELS];
    mb_look *look = measure(train->data, train->shape[0]);
    mb_look *test_look = measure(test->data, test->shape[0]);
    mb_cuts cuts = mb_cuts_fit(look, idx[TRAIN_LABELS].data, TRAIN_IMAGES);

    mb_set_parameter(w, "caption_cuts", cuts_to_json(&cuts));
    add_images(c, MB_TRAIN, train, &idx[TRAIN_LABELS], look, &cuts, 0, TRAIN_IMAGES);
    add_images(c, MB_VAL, train, &idx[TRAIN_LABELS], look, &cuts, TRAIN_IMAGES,
               train->shape[0] - TRAIN_IMAGES);
    add_images(c, MB_TEST, test, &idx[TEST_LABELS], test_look, &cuts, 0, test->shape[0]);
    free(look);
    free(test_look);
}

static mb_err read_images(const char *folder, mb_corpus *c, mb_set_writer *w)
{
    mb_idx idx[FILES] = { 0 };
    mb_err err = MB_OK;

    for (int f = 0; !err && f < FILES; f++)
        err = read_known(folder, f, w, &idx[f]);
    if (!err)
        add_all_images(idx, c, w);
    for (int f = 0; f < FILES; f++)
        free(idx[f].data);
    return err;
}

static mb_err read_glosses(const char *folder, mb_corpus *c, mb_set_writer *w)
{
    mb_err err = mb_wordnet_read_all(folder, &c->split[MB_TRAIN].text, &c->split[MB_VAL].text);

    for (int i = 0; !err && mb_wordnet_files[i]; i++) {
        char *path = mb_format("%s/%s", folder, mb_wordnet_files[i]);

        err = mb_set_source_file(w, path);
        free(path);
    }
    return err;
}

mb_err mb_fashion_read(const mb_data_request *r, mb_corpus *c, mb_set_writer *w,
                       const mb_progress *p)
{
    char *images = NULL, *glosses = NULL;
    mb_err err = mb_fetch("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist",
                          r->fashion_dir, p, &images);

    if (!err)
        err = mb_fetch("wordnet-base", "usr/share/wordnet", r->wordnet_dir, p, &glosses);
    if (!err) {
        mb_progress_tell(p, "reading images and writing captions", 0.3);
        err = read_images(images, c, w);
    }
    if (!err) {
        mb_progress_tell(p, "reading glosses", 0.8);
        err = read_glosses(glosses, c, w);
    }
    free(images);
    free(glosses);
    return err;
}

static mb_err prepare_kind(const mb_data_request *r, int codes, mb_set_writer *w,
                           const mb_progress *p)
{
    mb_corpus c = { .text_vocab = r->text_vocab, .codes = codes, .shape = { MB_IMAGE_SIDE, 1 } };
    mb_progress reading = mb_progress_share(p, 0, 0.3), writing = mb_progress_share(p, 0.3, 1);
    mb_err err;

    mb_set_parameter(w, "text_vocab", json_integer(r->text_vocab));
    mb_set_parameter(w, "image_codes", json_integer(codes));
    mb_set_parameter(w, "seed", json_integer(SEED));
    err = mb_fashion_read(r, &c, w, &reading);
    if (!err)
        err = mb_corpus_write(&c, w, &writing);
    mb_corpus_free(&c);
    return err;
}

static mb_err prepare(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    return prepare_kind(r, CODES, w, p);
}

static mb_err prepare_patches(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    return prepare_kind(r, 0, w, p);
}

const mb_source mb_fashion = {
    .name = "fashion",
    .about = "Fashion-MNIST images with captions, WordNet glosses (Debian packages, 37 MB)",
    .version = 1,
    .text_vocab = 4096,
    .identify = mb_identify_by_vocab,
    .prepare = prepare,
};

const mb_source mb_fashion_patches = {
    .name = "fashion-patches",
    .about = "fashion with images as patches of pixels in place of ids",
    .version = 1,
    .text_vocab = 4096,
    .identify = mb_identify_by_vocab,
    .prepare = prepare_patches,
};
