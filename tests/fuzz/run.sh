#!/bin/sh
# Runs every fuzzer: run.sh PROGRAM SECONDS CORPUS_FOLDER. Begins with small good files, and keeps what
# was found in CORPUS_FOLDER for the next time; bytes that break something lie there as crash-*.
set -eu
program=$1 seconds=$2 corpus=$3
here=tests/import
for target in jsonl wds coco units librispeech latents picture sound npy shard map bpe; do mkdir -p "$corpus/$target"; done

echo '{"id": "a", "key": "b", "split": "val", "text": "\u00e9", "image": [1, 2], "audio": [3]}
{"segments": [{"text": "a"}, {"image": "b.png"}, {"audio": [1]}]}' >"$corpus/jsonl/good"
tar cf "$corpus/wds/good" -C $here red.png low.flac
gzip -c "$corpus/wds/good" >"$corpus/wds/zipped"
tar --format=pax --transform="s|^|$(printf '%0150d' 0)/|" -cf "$corpus/wds/pax" -C $here red.png
tar --format=gnu --transform="s|^|$(printf '%0150d' 0)/|" -cf "$corpus/wds/gnu" -C $here red.png
echo '{"info": {}, "images": [{"id": 1, "file_name": "a"}], "annotations": [{"id": 1, "image_id": 1, "caption": "b"}]}' \
    >"$corpus/coco/good"
echo '{"images": [{"filepath": "a", "filename": "b", "split": "restval", "sentences": [{"raw": "c", "sentid": 1}]}]}' \
    >"$corpus/coco/karpathy"
printf 'a|1 2 3\nb|4|two words\n' >"$corpus/units/good"
cp $here/*.png $here/*.jpg "$corpus/picture"
cp $here/*.flac "$corpus/sound"
printf 'RIFF\054\0\0\0WAVEfmt \020\0\0\0\001\0\001\0\100\037\0\0\200\076\0\0\002\0\020\0data\010\0\0\0abcdefgh' \
    >"$corpus/sound/wav"
printf '\223NUMPY\001\000\166\000%-117s\n\001\002' "{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }" \
    >"$corpus/npy/good"
{ printf '9-1-0000 TWO RED BAGS\n\000'; cat $here/low.flac; } >"$corpus/librispeech/good"
for captions in 'a bag\na hat\n' '{"text": "a bag", "id": "7"}\n{"split": "val", "key": "b"}\n'; do
    printf "$captions\\000\\223NUMPY\\001\\000\\166\\000%-117s\\n0123456789abcdef" \
        "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 1, 2, 2), }" >"$corpus/latents/${#captions}"
done
printf '\001\000\002\000' >"$corpus/shard/bare"
{ printf '\210\330\064\001\001\000\000\000\001\000\000\000'; head -c 1012 /dev/zero; printf '\001\000'; } >"$corpus/shard/llmc"
echo '{ "name": "a", "vocab": 9, "text": [0, 4], "image": [4, 5], "bos": 5, "eos": 6, "boi": 7, "eoi": 8,
  "tokens_per_image": 2, "dtype": "u16", "train": ["a"], "val": "b", "test": "c" }' >"$corpus/map/good"
printf '1\n97 98\n' >"$corpus/bpe/good"

for folder in "$corpus"/*/; do
    target=$(basename "$folder")
    printf '%-11s ' "$target"
    FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=2500 \
        -close_fd_mask=1 -artifact_prefix="$corpus/$target-" "$folder" 2>"$corpus/$target.log" ||
        { tail -n 40 "$corpus/$target.log" >&2; exit 1; }
    sed -n 's/^Done \(.*\)/\1/p' "$corpus/$target.log"
done
