#!/bin/sh
# Three modalities from end to end on made-up data: prepare, train every architecture, read the losses.
set -u
. "$PWD/tests/e2e.lib"
export OMP_NUM_THREADS=1

three() { # DATABASE: every run has its losses, speech among them, and human and synthetic apart
    [ "$(sqlite3 "$1" "SELECT count(DISTINCT run_id) || ' ' || count(DISTINCT modality) || ' ' ||
                              count(DISTINCT split) || ' ' || sum(value IS NULL OR value > 7)
                       FROM v_curve WHERE step = 30 AND metric = 'loss' AND modality <> 'all'
                       AND split <> 'train'")" = "4 3 3 0" ]
}
speech() {
    "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db "$1" --quiet --threads 1 >"$work/out" 2>"$work/err"
}

holds "chameleon-speech runs" speech a.db
holds "it measures three modalities, and voices apart" three a.db
holds "it runs again" speech b.db
holds "to the same bits" same_curves a.db b.db
holds "the summary has a column for speech" grep -q "speech loss" "$work/out"

# ---- samples: six directions, speech among them as sound
samples() { # ARGUMENT...
    "$MOTBENCH" generate 4 --db a.db --threads 1 -n 3 "$@" >"$work/out" 2>"$work/err"
}
is_wav() { # FILE: 16 bits, one channel, 16 kHz, as long as it says
    [ "$(od -An -tu4 -j24 -N4 "$1" | tr -d ' ')" = 16000 ] &&
        [ "$(od -An -tu4 -j40 -N4 "$1" | tr -d ' ')" = "$(($(wc -c <"$1") - 44))" ]
}
lasts() { # FILE SECONDS: at least
    [ "$(wc -c <"$1")" -gt $(($2 * 32000)) ]
}
holds "prompts of all modalities are answered" samples
holds "in six directions" [ "$(ls a.samples/4/*.txt | wc -l)" = 6 ]
holds "speech is heard" is_wav a.samples/4/text-speech.wav
holds "three times twice" lasts a.samples/4/text-speech.wav 4
holds "prompts are heard, too" is_wav a.samples/4/speech-text.wav
holds "an image has no sound" [ ! -e a.samples/4/text-image.wav ]
holds "the text says when" grep -q '^   2  (document [0-9]*, heard at [1-9]' a.samples/4/text-speech.txt
holds "the table names the files" grep -q 'text *speech .*text-speech.{txt,wav}' "$work/out"
holds "the same seed gives the same sound" samples -o again
holds "indeed" diff -r a.samples/4 again

# ---- quality: each direction between modalities, voices apart
quality() {
    "$MOTBENCH" quality 4 --db a.db --threads 1 --documents 12 --samples 8 --format csv >"$1" 2>"$work/err"
}
ask() { # CONDITION: what is counted of the run's quality
    sqlite3 a.db "SELECT count(DISTINCT metric || modality || split) FROM v_quality WHERE how LIKE '%documents%'
        AND value IS NOT NULL AND $1"
}
holds "quality is measured" quality one.csv
holds "in each direction" [ "$(ask "metric GLOB 'loss given [tis]*' AND split = 'val-human'")" = 6 ]
holds "bits per second, human and synthetic, after a text and after nothing" [ "$(ask "metric IN
    ('bits per second given text', 'bits per second given nothing') AND split IN ('val-human', 'val-synthetic')
    AND bound_is = 'baseline' AND abs(value) < 1000")" = 4 ]
holds "an unseen voice is held against those of training" [ "$(ask "split = 'test-unseen' AND bound_is = 'floor'
    AND metric LIKE '%per second%'")" = 2 ]
holds "which is their own value" [ "$(sqlite3 a.db "SELECT u.bound = s.value FROM v_quality u JOIN v_quality s
    USING (run_id, metric, modality) WHERE u.split = 'test-unseen' AND s.split = 'test-synthetic'
    AND metric = 'loss given text'")" = 1 ]
holds "speech finds its text and its image, and these find it" [ "$(ask "metric LIKE 'recall at 1 given %'
    AND split = 'val-human' AND bound_is = 'ceiling' AND value BETWEEN 0 AND bound AND
    (modality = 'speech' OR metric LIKE '%speech')")" = 4 ]
holds "it is measured again" quality two.csv
holds "to the same numbers" cmp one.csv two.csv

refuses 1 "expected kind = chameleon-speech" train c.db -S workload.data=procedural-speech
refuses 1 "expected kind = chameleon$" "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db c.db --quiet \
    -S workload.data=procedural
refuses 64 "speech_share" "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db c.db -S workload.speech_share=2
finish
