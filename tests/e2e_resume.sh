#!/bin/sh
# The same seed gives the same curve, bit for bit: twice in a row, after Ctrl-C, and after any number
# of kill -9; and nothing that a killed run leaves is broken.
set -u
. "$PWD/tests/e2e.lib"

for backend in cpu ref; do
    train "$backend.db" --backend "$backend"
    holds "$backend runs" [ $? = 0 ]
    train again.db --backend "$backend"
    holds "$backend: the same seed gives the same curve" same_curves "$backend.db" again.db
    holds "$backend: and the same operations" same_operations "$backend.db" again.db
    rm -rf again.*
done
train bf16.db --precision bf16
train again.db --precision bf16
holds "bf16: the same seed gives the same curve" same_curves bf16.db again.db
holds "and not that of fp32" [ "$(curves cpu.db | md5sum)" != "$(curves bf16.db | md5sum)" ]
holds "it is recorded" [ "$(sqlite3 bf16.db 'SELECT DISTINCT precision FROM v_run')" = bf16 ]
train bf16.db --resume
holds "another precision is other work" [ "$(sqlite3 bf16.db 'SELECT count(*) FROM v_run')" = 8 ]
rm -rf again.*
train recomputed.db -S model.recompute=layer
holds "layers that are computed again give the same curve" same_curves cpu.db recomputed.db
holds "the memory that a run took is within 10 % of the formula, and less with recompute" \
    [ "$(sqlite3 cpu.db "ATTACH 'recomputed.db' AS r; SELECT
        (SELECT min(abs(1.0 * memory_bytes / memory_predicted_bytes - 1) < 0.1) FROM v_run) AND
        (SELECT sum(memory_bytes) FROM r.v_run) < (SELECT sum(memory_bytes) FROM main.v_run)")" = 1 ]
train other.db --seed 2
holds "another seed gives another curve" [ "$(curves cpu.db | cut -d'|' -f7 | md5sum)" != \
    "$(curves other.db | cut -d'|' -f7 | md5sum)" ]

# Micro-batches and resuming are steps of the same size in other pieces: only themselves to compare.
train whole.db -a mot -S workload.accumulate=3
train whole2.db -a mot -S workload.accumulate=3
holds "accumulated steps repeat" same_curves whole.db whole2.db

# As if killed between being "ok" and tidying up.
left=$(sqlite3 cpu.db 'SELECT checkpoint FROM v_run LIMIT 1')
: >"${left%.safetensors}.state.safetensors"
: >"${left%.safetensors}.lock"
: >cpu.checkpoints/00000000-0000-4000-8000-000000000000.lock # killed before it was recorded
: >cpu.checkpoints/00000000-0000-4000-8000-000000000000.state.safetensors.1.tmp
train cpu.db --resume
holds "what a kill left of a finished run, and of one never recorded, is tidied up" \
    no_leftovers cpu.db
holds "what is done is not done again" \
    [ "$(sqlite3 cpu.db 'SELECT count(*) FROM v_run')" = 4 ]
train cpu.db --resume -S workload.steps=10
holds "other settings are other work" \
    [ "$(sqlite3 cpu.db 'SELECT count(*) FROM v_run')" = 8 ]

# Ctrl-C: long runs, so that the signal finds one under way.
long="-S workload.steps=300 -S workload.checkpoint_every=7 -S workload.eval_every=25 -a switch,mot"
train long.db $long
interrupt() { # DATABASE SECONDS SIGNAL
    "$MOTBENCH" run "$home/workloads/smoke.ini" --db "$1" --quiet --threads 1 --resume $long >"$work/out" \
        2>"$work/err" &
    pid=$!
    sleep "$2"
    kill "-$3" "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}
seen=0
for delay in 0.6 0.7 0.9; do
    interrupt ctrl.db "$delay" INT
    code=$?
    [ "$code" = 130 ] && seen=$((seen + 1))
    holds "Ctrl-C exits 130 (or came before or after: $code)" \
        [ "$code" = 130 -o "$code" = 0 ]
    [ "$code" = 130 ] && holds "it says how to go on" grep -q -e '--resume goes on' "$work/err"
    [ -e ctrl.db ] && holds "the database is sound" sound ctrl.db
done
holds "at least one Ctrl-C found a run under way" [ "$seen" -gt 0 ]
train ctrl.db --resume $long
holds "it goes on to the same curve" same_curves long.db ctrl.db
holds "and the same operations" same_operations long.db ctrl.db
holds "in the same run" [ "$(sqlite3 ctrl.db 'SELECT count(*) FROM v_run')" = 2 ]

# kill -9 at 20 moments: the delays are spread over start, training, evaluation and saving.
sound_each=0
i=0
while [ "$i" -lt 20 ]; do
    interrupt killed.db "0.$((10 + (i * 37) % 71))" KILL
    if [ ! -e killed.db ] || sound killed.db; then sound_each=$((sound_each + 1)); fi
    i=$((i + 1))
done
holds "after each of 20 kills the database is sound ($sound_each)" [ "$sound_each" = 20 ]
train killed.db --resume $long
holds "a killed run goes on to the end" [ $? = 0 ]
holds "to the same curve" same_curves long.db killed.db
holds "and the same operations" same_operations long.db killed.db
holds "no state was unreadable" \
    [ "$(sqlite3 killed.db "SELECT count(*) FROM event WHERE status = 'failed'")" = 0 ]
holds "some kill found a run under way" \
    [ "$(sqlite3 killed.db "SELECT count(*) FROM event WHERE detail = 'resumed'")" -gt 0 ]
holds "nothing half-written is left" no_leftovers killed.db

# A step of several micro-batches skips as many batches when it is taken up again.
long="-S workload.steps=300 -S workload.checkpoint_every=7 -S workload.accumulate=2 -a mot --precision bf16"
train several.db $long
interrupt again.db 0.6 KILL
train again.db --resume $long
holds "a killed run of several micro-batches, in bf16, goes on to the same curve" same_curves several.db again.db
finish
