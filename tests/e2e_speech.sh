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

refuses 1 "expected kind = chameleon-speech" train c.db -S workload.data=procedural-speech
refuses 1 "expected kind = chameleon$" "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db c.db --quiet \
    -S workload.data=procedural
refuses 64 "speech_share" "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db c.db -S workload.speech_share=2
finish
