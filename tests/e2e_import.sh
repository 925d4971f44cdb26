#!/bin/sh
# The user's own data from end to end: each format is imported, verified, listed, trained on; and every
# kind of bad input gives one line and leaves nothing.
set -u
. "$PWD/tests/e2e.lib"
export OMP_NUM_THREADS=1
m=$MOTBENCH
here=$home/tests/import

# ---- fixtures
counted() { # TEXT COUNT: the text once for each number, which stands where it has an @
    awk -v text="$1" -v n="$2" 'BEGIN { for (i = 0; i < n; i++) { t = text; gsub(/@/, i, t); printf "%s", t } }'
}
mkdir pictures sounds
cp "$here"/*.png "$here"/*.jpg pictures
cp "$here"/*.flac sounds
counted '{"text": "a red bag number @", "image": "pictures/red.png", "key": "@"}\n' 20 >mine.jsonl
counted '{"text": "the blue ball @ of them", "image": "pictures/blue.jpg", "key": "@"}\n' 20 >>mine.jsonl
counted '{"segments": [{"text": "first @"}, {"image": "pictures/green.png"}, {"text": " then @"}], "key": "s@"}\n' 5 >>mine.jsonl
counted '{"text": "only words, @ of them", "id": "t@"}\n' 40 >>mine.jsonl
counted '{"text": "says @", "audio": "sounds/low.flac", "key": "a@"}\n' 15 >spoken.jsonl
counted '{"text": "calls @", "audio": "sounds/high.flac", "image": "pictures/red.png", "key": "b@"}\n' 15 >>spoken.jsonl
counted '{"text": "codes @", "image": [1, 2, 3, @], "key": "c@"}\n' 30 >codes.jsonl
counted 'u@|@ 3 3 7|word @\n' 30 >units.txt

mkdir shard
i=0
while [ $i -lt 30 ]; do
    echo "a picture of kind $i" >shard/$i.txt
    cp pictures/red.png shard/$i.png
    echo '{"caption": "passed over"}' >shard/$i.json
    i=$((i + 1))
done
tar --sort=name -cf shard.tar shard

coco() { # an image a line, each with two captions
    printf '{"info": {"year": 2014}, "annotations": ['
    counted '{"id": @, "image_id": @, "caption": "a thing @"},' 30
    printf '{"id": 99, "image_id": 0, "caption": "once more"}], "images": ['
    counted '{"id": @, "file_name": "images/@.png", "x": @},' 30
    printf '{"id": 77, "file_name": "images/none.png"}]}'
}
mkdir images
i=0
while [ $i -lt 30 ]; do
    cp pictures/green.png images/$i.png
    i=$((i + 1))
done
coco >coco.json
{
    printf '{"dataset": "coco", "images": ['
    counted '{"filepath": "images", "filename": "@.png", "split": "restval", "sentences": [{"raw": "thing @"}, {"raw": "it is @"}]},' 20
    printf '{"filepath": "images", "filename": "21.png", "split": "val", "sentences": [{"raw": "held out"}]}]}'
} >karpathy.json

for chapter in 1 2 3 4 5 6; do
    mkdir -p libri/9/$chapter
    for k in 1 2 3 4; do
        cp sounds/low.flac libri/9/$chapter/9-$chapter-000$k.flac
        echo "9-$chapter-000$k CHAPTER $chapter AND LINE $k" >>libri/9/$chapter/9-$chapter.trans.txt
    done
done

printf '{ "name": "own", "vocab": 1030, "text": [0, 1024], "bos": 1024, "eos": 1025,
  "dtype": "u16", "train": "train.bin", "val": "val.bin" }' >map.json
bin() { # COUNT: documents of BOS, four ids, EOS
    i=0
    while [ $i -lt "$1" ]; do
        printf '\000\004\001\000\002\000\003\000'
        printf "\\$(printf %o $i)\\000\\001\\004"
        i=$((i + 1))
    done
}
bin 60 >train.bin
bin 9 >val.bin

latents() { # COUNT CHANNELS SIDE: an array of halves; pairs of digits are finite ones
    printf '\223NUMPY\001\000\166\000%-117s\n' "{'descr': '<f2', 'fortran_order': False, 'shape': ($1, $2, $3, $3), }"
    seq 10000000 | head -c $(($1 * $2 * $3 * $3 * 2))
}
latents 40 4 8 >latents.npy
counted 'a thing of kind @\n' 40 >latents.txt
latents 40 4 8 >bare.npy

# ---- every format: import, verify, list, train
imports() { # NAME KIND ARGUMENT...
    name=$1 kind=$2
    shift 2
    "$m" data import "$name" "$@" >"$work/out" 2>"$work/err" || return 1
    "$m" data verify "$name" >"$work/verified" 2>"$work/err" || return 1
    "$m" data list --format csv | grep -q "data = $name: imported as" || return 1
    "$m" run "$home/workloads/smoke$kind.ini" --db "$name.db" --quiet --threads 1 -a dense,mot -S workload.steps=4 \
        -S workload.eval_every=2 -S workload.data="$name" -S workload.seq_len=128 >"$work/trained" 2>"$work/err" &&
        [ "$(sqlite3 "$name.db" "SELECT count(*) FROM v_run WHERE status = 'ok'")" = 2 ]
}
media=true
"$m" data import try --from jsonl spoken.jsonl 2>&1 | grep -q 'built without' && media=false
if $media; then
    holds "jsonl with pictures" imports pictures '' --from jsonl mine.jsonl --hold-out 4
    holds "it has all kinds of documents" grep -q 'train: [0-9]* pairs' "$work/verified"
    holds "and images" grep -q 'train: [0-9]* image tokens, entropy' "$work/verified"
    holds "jsonl with sounds" imports sounds -speech --from jsonl spoken.jsonl --hold-out 4 --units 16
    holds "webdataset" imports wds '' --from wds shard.tar --hold-out 4 --codes 16 --side 8
    gzip -c shard.tar >zipped.tar.gz
    holds "the same, compressed" imports zipped '' --from wds zipped.tar.gz --hold-out 4 --codes 16 --side 8
    holds "coco" imports coco '' --from coco coco.json --hold-out 4 --codes 16
    holds "karpathy's splits" imports karpathy '' --from coco karpathy.json --codes 16
    holds "41 documents, one held out" grep -q 'train: 40 pairs' "$work/verified"
    holds "librispeech" imports libri -speech --from librispeech libri --hold-out 3 --units 16
    refuses 1 'none.jsonl:1: .*pictures/none.png: No such file' sh -c \
        'sed s/red.png/none.png/ mine.jsonl >none.jsonl; "$0" data import bad --from jsonl none.jsonl' "$m"
else
    refuses 1 'built without .*libjpeg62-turbo-dev' "$m" data import bad --from jsonl mine.jsonl
    refuses 1 'built without .*libarchive-dev' "$m" data import bad --from wds shard.tar
fi
holds "jsonl with ids of images" imports codes '' --from jsonl codes.jsonl --hold-out 4
holds "units" imports units -speech --from units units.txt --hold-out 4
holds "token files" imports tokens '' --from shards map.json
holds "latents with captions" imports latents -transfusion --from latents latents.npy --hold-out 4
holds "they are normalised" grep -q 'train: 16 patches an image, of 16 numbers with mean -\?0.00 and deviation 1.00' \
    "$work/verified"
through_unet() { # NUMBERS: of a position of the latents
    "$m" run "$home/workloads/smoke-transfusion.ini" --db latents.db --quiet -a mot -S workload.data=latents \
        -S model.patch_coder=unet -S model.patch_side=2 -S model.patch_channels="$1" -S model.unet_channels=8 \
        >"$work/out" 2>"$work/err"
}
holds "they go through a U-Net" through_unet 4
refuses 1 'patch_channels = 8, but .* has patches of 16 numbers' through_unet 8
holds "latents alone, in other patches" imports bare -transfusion --from latents bare.npy --hold-out 4 --patch 4
holds "these are larger" grep -q 'train: 4 patches an image, of 64 numbers' "$work/verified"
made() { # its latents are where the user's are, not about 0
    "$m" generate 2 --db latents.db --threads 1 -n 3 --sampler-steps 4 -o made >"$work/out" 2>"$work/err" &&
        grep -q 'text *image .*text-image.{txt,npy}' "$work/out" &&
        head -c 128 made/text-image.npy | grep -q "'<f4', 'fortran_order': False, 'shape': (3, 4, 8, 8)" &&
        [ "$(wc -c <made/text-image.npy)" = $((128 + 3 * 4 * 64 * 4)) ]
}
holds "what a model makes of them is an array, too" made
holds "and they can be measured" "$m" quality 2 --db latents.db --threads 1 --documents 12 --samples 4 >"$work/out" 2>"$work/err"
refuses 1 'latents has images as patches, expected kind = transfusion' "$m" run "$home/workloads/smoke.ini" \
    --db bare.db --quiet -S workload.data=latents

# ---- the same again is the same, and a name is taken once
refuses 1 'units is there already: remove ' "$m" data import units --from units units.txt
hash_of() { # NAME
    sed -n 's/.*"hash": "\(.*\)".*/\1/p' "$MOTBENCH_DATA/imported-v1-$1/manifest.json"
}
holds "a second import" "$m" data import again --from units units.txt --hold-out 4 >"$work/out" 2>"$work/err"
holds "has the same bytes" [ -n "$(hash_of again)" -a "$(hash_of again)" = "$(hash_of units)" ]

# ---- the command line
refuses 64 'expected NAME and at least one FILE' "$m" data import
refuses 64 'expected --from FORMAT' "$m" data import x y
refuses 64 'from tarball: expected a format' "$m" data import x --from tarball y
refuses 64 'side 30: expected a multiple of 4' "$m" data import x --from wds --side 30 y
refuses 64 'patch 0: expected' "$m" data import x --from latents --patch 0 y
refuses 64 'hold-out 1: expected at least 2' "$m" data import x --from wds --hold-out 1 y
refuses 1 '"a/b": expected a name of' "$m" data import a/b --from units units.txt
refuses 1 '"fashion" is a source of motbench' "$m" data import fashion --from units units.txt
refuses 1 'no data set "fashon": neither a source (fashion, ' "$m" data prepare fashon
refuses 1 'shards.* not prepared: run .motbench data prepare shards -S workload.path=map.json' \
    "$m" data verify shards -S workload.path=map.json

# ---- bad input: one line, where it is, nothing left
bad() { # PATTERN FORMAT FILE...
    pattern=$1 format=$2
    shift 2
    refuses 1 "$pattern" "$m" data import bad --from "$format" "$@"
    [ -z "$(find "$MOTBENCH_DATA" -path '*imported-v1-bad*' ! -name '*.lock')" ] ||
        not_ok "$format $*: something is left"
}
line() { # JSON: bad.jsonl with a good line before it
    printf '{"text": "good"}\n%s\n' "$1" >bad.jsonl
}
line '{"text": "cut'
bad 'bad.jsonl:2: column 13: premature end\|bad.jsonl:2: column 13: unexpected newline\|bad.jsonl:2: column' jsonl bad.jsonl
line '[1, 2]'
bad 'bad.jsonl:2: expected an object' jsonl bad.jsonl
line '{"text": "a", "picture": "b"}'
bad 'bad.jsonl:2: "picture" is not a known key' jsonl bad.jsonl
line '{"text": "a", "text": "b"}'
bad 'bad.jsonl:2: column .* duplicate object key' jsonl bad.jsonl
line '{"text": 7}'
bad 'bad.jsonl:2: "text": expected a string' jsonl bad.jsonl
line '{"text": " "}'
bad 'bad.jsonl:2: an empty text' jsonl bad.jsonl
line '{}'
bad 'bad.jsonl:2: neither text nor image nor sound' jsonl bad.jsonl
line '{"text": "a", "image": "../up.png"}'
bad 'bad.jsonl:2: "image": expected the name of a file below \.$' jsonl bad.jsonl
line '{"text": "a", "image": "/etc/passwd"}'
bad 'bad.jsonl:2: "image": expected the name of a file below' jsonl bad.jsonl
line '{"text": "a", "image": [1, 512]}'
bad 'bad.jsonl:2: image: id 1 is 512, expected 0 to 511 (--codes)' jsonl bad.jsonl
line '{"text": "a", "image": [1, -1]}'
bad 'bad.jsonl:2: "image": item 1 is no id' jsonl bad.jsonl
line '{"text": "a", "audio": []}'
bad 'bad.jsonl:2: audio without ids' jsonl bad.jsonl
line '{"text": "a", "split": "dev"}'
bad 'bad.jsonl:2: "split": expected train, val or test' jsonl bad.jsonl
printf '{"text": "a", "image": [1, 2]}\n{"text": "b", "image": [1, 2, 3]}\n' >bad.jsonl
bad 'bad.jsonl:2: image: 3 ids, expected 2 as in the first image' jsonl bad.jsonl
printf '{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}\n{"text": "c", "split": "val"}\n' >bad.jsonl
bad 'bad.jsonl:2: the same id as bad.jsonl:1' jsonl bad.jsonl
printf '{"text": "a"}\n{"text": "b"}\n' >train.jsonl
printf '{"text": "b"}\n' >val.jsonl
bad 'train.jsonl:2: the same document in another split as val.jsonl:1\|val.jsonl:1: the same document' \
    jsonl train.jsonl --val val.jsonl
holds "or left out when asked" "$m" data import dropped --from jsonl train.jsonl --val val.jsonl --drop-overlap \
    >"$work/out" 2>"$work/err"
holds "one is left" grep -q 'train: 1 texts' "$work/out"
refuses 1 'no document for train is left' "$m" data import bad --from jsonl val.jsonl --val train.jsonl --drop-overlap
bad 'no document for val' jsonl train.jsonl --hold-out 1000000
: >empty.jsonl
bad 'no document for train' jsonl empty.jsonl
bad 'none.jsonl: No such file' jsonl none/none.jsonl
bad 'sounds: not a regular file' jsonl sounds
printf '{"text": "a\\u0000b"}\n' >bad.jsonl
bad 'bad.jsonl:1: column' jsonl bad.jsonl
bad "train.jsonl:1: expected NAME|UNITS" units train.jsonl
printf 'u|1 x 3\n' >bad.txt
bad 'bad.txt:1: unit 1: found "x", expected a whole number' units bad.txt
printf 'u|1 256\n' >bad.txt
bad 'bad.txt:1: audio: id 1 is 256, expected 0 to 255 (--units)' units bad.txt
printf 'u|\n' >bad.txt
bad 'bad.txt:1: audio without ids' units bad.txt

printf '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"id": 1, "image_id": 2, "caption": "a"}]}' >bad.json
bad 'bad.json: offset 62: its image_id is not among the images' coco bad.json
printf '{"images": [{"id": 1, "file_name": "../a.png"}], "annotations": [{"id": 1, "image_id": 1, "caption": "a"}]}' >bad.json
bad 'bad.json: offset 65: "file_name": expected the name of a file below' coco bad.json
printf '{"images": [{"id": 1}, {"id": 1}], "annotations": [{"image_id": 1}]}' >bad.json
bad 'bad.json: offset [0-9]*: a second image of this id' coco bad.json
printf '{"images": [{"id": 1}], "annotations": [' >bad.json
bad 'bad.json: offset [0-9]*: ' coco bad.json
printf '{"images": 7}' >bad.json
bad 'bad.json: offset 11: expected a list' coco bad.json
printf '{"images": []}' >bad.json
bad 'no captions: neither annotations nor sentences' coco bad.json


head -c 5000 latents.npy >cut.npy
bad 'cut.npy: offset 128: 4872 bytes of elements where the shape needs 10240 x 2' latents cut.npy
sed "s/'<f2'/'>f2'/" bare.npy >big.npy
bad "big.npy: offset 20: npy header: found '>f2', .*, expected a type out of" latents big.npy
sed 's/False/True /' bare.npy >fortran.npy
bad 'fortran.npy: offset 44: npy header: found True .*, expected fortran_order False (C order)' latents fortran.npy
cp bare.npy nan.npy && printf '\000\176' | dd of=nan.npy bs=1 seek=$((128 + 2 * (4 * 64 + 64 + 9))) conv=notrunc 2>"$work/err"
bad 'nan.npy: latent 1: channel 1, row 1, column 1: found nan, expected a number' latents nan.npy
bad 'bare.npy: shape (40, 4, 8, 8), expected (N, H, H, C)' latents --channels-last bare.npy
bad 'bare.npy: latent 0: 8 x 8 positions cannot be cut into patches of 3 x 3' latents --patch 3 bare.npy
head -n 39 latents.txt >bare.txt
bad 'bare.txt: 39 lines, expected 40, one for each latent of bare.npy' latents bare.npy
bad 'mine.jsonl: offset 0: npy header: found .*, expected .x93NUMPY' latents mine.jsonl

if $media; then
    tar --sort=name -cf words.tar shard/*.txt
    head -c 5000 words.tar >cut.tar
    bad 'cut.tar: offset [0-9]*: Truncated ' wds cut.tar
    gzip -c words.tar | head -c 400 >cut.tar.gz
    bad 'cut.tar.gz: offset [0-9]*: ' wds cut.tar.gz
    bad 'mine.jsonl: offset 0: Unrecognized archive format' wds mine.jsonl
    echo up >up.txt
    tar cPf up.tar shard/../up.txt
    bad 'up.tar: offset 0: a name that is absolute, leads upwards' wds up.tar
    tar cPf absolute.tar "$work/up.txt"
    bad 'absolute.tar: offset 0: a name that is absolute' wds absolute.tar
    ln -s up.txt link.txt
    tar cf link.tar link.txt
    bad 'link.tar: offset 0: neither a file nor a folder' wds link.tar
    mkdir twice && echo a >twice/1.txt && tar --hard-dereference -cf twice.tar twice/1.txt twice/1.txt
    bad 'twice.tar: offset 1024: twice/1.txt: a second file of its kind' wds twice.tar
    : >twice/1.txt && tar cf nothing.tar twice/1.txt
    bad 'nothing.tar: offset 0: twice/1: an empty text' wds nothing.tar
    printf 'a\377b' >twice/1.txt && tar cf latin.tar twice/1.txt
    bad 'latin.tar: offset 0: twice/1: text: byte 1 is not UTF-8' wds latin.tar

    line '{"text": "a", "image": "mine.jsonl"}'
    bad 'bad.jsonl:2: ./mine.jsonl: neither PNG nor JPEG' jsonl bad.jsonl
    head -c 100 pictures/red.png >cut.png
    line '{"text": "a", "image": "cut.png"}'
    bad 'bad.jsonl:2: ./cut.png: ' jsonl bad.jsonl
    head -c 600 pictures/blue.jpg >cut.jpg
    line '{"text": "a", "image": "cut.jpg"}'
    bad 'bad.jsonl:2: ./cut.jpg: ' jsonl bad.jsonl
    line '{"text": "a", "audio": "cut.png"}'
    bad 'bad.jsonl:2: ./cut.png: no sound' jsonl bad.jsonl
    printf 'RIFF\044\0\0\0WAVEfmt \020\0\0\0\001\0\001\0\100\037\0\0\200\076\0\0\002\0\020\0data\0\0\0\0' >zero.wav
    line '{"text": "a", "audio": "zero.wav"}'
    bad 'bad.jsonl:2: ./zero.wav: 0 samples at 8000 Hz' jsonl bad.jsonl
    printf '{"text": "a", "image": "pictures/red.png"}\n{"text": "b", "image": [1]}\n' >bad.jsonl
    bad 'bad.jsonl:2: some images are files and some are ids' jsonl bad.jsonl
    printf '{"audio": "sounds/low.flac"}\n{"audio": "sounds/high.flac", "split": "val"}\n' >bad.jsonl
    bad 'sounds need texts in train' jsonl bad.jsonl
    cp -r libri more && cp sounds/low.flac more/9/2/9-2-0009.flac
    bad 'more/9/2/9-2.trans.txt: 4 lines, but 1 recordings more' librispeech more
    rm more/9/2/9-2-0009.flac more/9/3/9-3-0002.flac
    bad 'more/9/3/9-3.trans.txt:2: more/9/3/9-3-0002.flac: No such file' librispeech more
fi
mkfifo pipe
bad 'pipe: not a regular file' jsonl pipe
bad 'mine.jsonl: not a folder' librispeech mine.jsonl
bad 'train.bin: not a regular file\|expected one modality map' shards map.json --val train.bin
bad 'shard.tar:1:' shards shard.tar

# ---- large files in little memory: more than the sample that is kept, in less than it would fill as ids
large() { # a text of some 23 MB
    awk 'BEGIN { for (i = 0; i < 100000; i++) {
        printf "{\"text\": \"line %d", i
        for (k = 0; k < 24; k++) printf " word%d", (i * 31 + k * k * 7) % 5000
        print "\"}" } }'
}
small() { # MiB COMMAND...: with so much memory of its own (files that are mapped do not count)
    (ulimit -d $(($1 * 1024)) && shift && "$@") >"$work/out" 2>"$work/err"
}
if { small 50 "$m" --version; } 2>"$work/err"; then # not with sanitizers
    large >large.jsonl
    holds "a large file is imported in 50 MiB" small 50 "$m" data import large --from jsonl large.jsonl --text-vocab 512
    latents 16384 8 16 >many.npy
    holds "and one of 67 MB in 30" small 30 "$m" data import many --from latents many.npy
fi
finish
