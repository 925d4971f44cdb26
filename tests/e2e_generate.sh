#!/bin/sh
# Samples of trained runs: files that people can look at, the same again from the same seed, speeds in
# the database, and bad requests refused.
set -u
. "$PWD/tests/e2e.lib"
m=$MOTBENCH

generate() { # ARGUMENT...
    "$m" generate "$@" --db g.db --threads 1 >out 2>"$work/err"
}
ask() { # QUERY
    sqlite3 g.db "$1"
}
is_png() { # FILE
    [ "$(head -c 4 "$1" | tail -c 3)" = PNG ]
}

train g.db -a dense,moe-ec,mot -S workload.steps=20
for run in 1 2 3; do
    holds "run $run answers prompts" generate $run -n 5
done
holds "the folder has texts for every direction" [ "$(ls g.samples/1/*.txt | wc -l)" = 2 ]
holds "every sample is in the text" [ "$(grep -c 'model' g.samples/3/image-text.txt)" = 5 ]
if [ -e g.samples/1/text-image.png ]; then
    holds "grids are PNG" is_png g.samples/1/text-image.png
    holds "prompts that are images, too" is_png g.samples/1/image-text.png
fi
holds "speeds and memory are in the database" [ "$(ask \
    "SELECT count(*) FROM v_quality WHERE metric LIKE '%tokens_per_s' AND value > 0
     OR metric LIKE '%bytes' AND value > 0")" = 24 ]
holds "the same seed gives the same files" generate 3 -n 5 -o again
holds "indeed" diff -r g.samples/3 again
holds "no matter how many at once" generate 3 -n 5 --at-once 2 -o other
holds "indeed not" diff -r again other
holds "another seed gives others" generate 3 -n 5 --seed 2 -o other
holds "they differ" [ "$(cmp -s again/image-text.txt other/image-text.txt; echo $?)" = 1 ]
holds "one direction can be asked for" generate 1 -n 1 --prompt image -o one
holds "that is one text" [ "$(ls one/*.txt | wc -l)" = 1 ]
holds "a run goes by its uuid, too" generate "$(ask 'SELECT substr(uuid, 1, 12) FROM v_run LIMIT 1')" \
    -n 1 --temperature 0 --format csv
holds "measured again, the newest is shown" [ "$(ask \
    "SELECT count(*) FROM v_quality WHERE run_id = 1 AND how LIKE '%at once%'")" = 8 ]

# ---- quality
holds "quality is measured" "$m" quality 1 2 3 --db g.db --threads 1 --samples 40 --documents 40 --format csv \
    >out 2>"$work/err"
holds "of every architecture the same" [ "$(ask "SELECT count(DISTINCT n) FROM (SELECT count(*) AS n
    FROM v_quality WHERE how LIKE '%documents%' GROUP BY run_id)")" = 1 ]
holds "each value has a bound" [ "$(ask "SELECT count(*) FROM v_quality
    WHERE how LIKE '%documents%' AND bound_is IS NULL AND run_id = 1")" = 0 ]
holds "a model that has learned hardly anything is below what it could be" [ "$(ask "SELECT count(*)
    FROM v_quality WHERE metric LIKE 'class%' AND value >= bound")" = 0 ]
holds "the judge is kept with the data" [ -n "$(find "$MOTBENCH_DATA" -name 'judge-v1.npy')" ]
holds "what counts predict is there of every run" [ "$(ask "SELECT count(*) FROM v_quality
    WHERE metric IN ('unigram loss', 'position loss')")" = 9 ]
holds "curves are drawn with it" "$m" plot curves --db g.db -o curves.svg >out 2>"$work/err"
holds "it is in the figure" grep -q unigram curves.svg
"$m" quality 3 --db g.db --threads 1 --samples 40 --documents 40 --format csv >again.csv 2>"$work/err"
"$m" quality 3 --db g.db --threads 1 --samples 40 --documents 40 --format csv >out 2>"$work/err"
holds "measured again it is the same" cmp out again.csv
holds "the database is sound" sound g.db
holds "nothing half-written is left" [ -z "$(find g.samples again other one -name '*.tmp')" ]

# ---- what is wrong
refuses 64 'expected a run' "$m" generate --db g.db
refuses 64 'temperature -1: expected' "$m" generate 1 --db g.db --temperature -1
refuses 64 'top-p 0: expected' "$m" generate 1 --db g.db --top-p 0
refuses 64 'prompt smell: expected text, image or speech' "$m" generate 1 --db g.db --prompt smell
refuses 64 'expected runs' "$m" quality --db g.db
refuses 64 'samples 0: expected' "$m" quality 1 --db g.db --samples 0
refuses 1 "run '99': expected a run_id" "$m" quality 99 --db g.db
refuses 1 "run '99': expected a run_id" "$m" generate 99 --db g.db
refuses 1 'have no such prompts and answers' "$m" generate 1 --db g.db --prompt speech
: >file
refuses 1 'file/there' "$m" generate 3 --db g.db -o file/there
for f in g.checkpoints/*.safetensors; do printf x >"$f"; done
refuses 1 'safetensors' "$m" generate 1 --db g.db
sqlite3 g.db "INSERT INTO event SELECT max(id) + 1, 2, 0, 0, 'failed', NULL, NULL FROM event"
sqlite3 g.db "UPDATE event SET checkpoint = NULL"
refuses 1 'run 2 has no weights' "$m" generate 2 --db g.db
finish
