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
refuses 1 "expected kind = chameleon-speech" train c.db -S workload.data=procedural-speech
refuses 1 "expected kind = chameleon$" "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db c.db --quiet \
    -S workload.data=procedural
refuses 64 "speech_share" "$MOTBENCH" run "$home/workloads/smoke-speech.ini" --db c.db -S workload.speech_share=2
finish
