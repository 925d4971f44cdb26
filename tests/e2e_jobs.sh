#!/bin/sh
# Jobs side by side are the same jobs: the curves of one at a time, bit for bit, also after Ctrl-C and
# kill -9 of all of them; and each tells of itself in lines of its own.
set -u
. "$PWD/tests/e2e.lib"

count() { # DATABASE CONDITION: its runs
    sqlite3 "$1" "SELECT count(*) FROM v_run WHERE $2"
}

train one.db --seed 1,2
train two.db --seed 1,2 --jobs 2
holds "jobs run side by side" [ $? = 0 ]
holds "their curves are those of one at a time" same_curves one.db two.db
holds "and so are their operations" same_operations one.db two.db
holds "each ran once" [ "$(count two.db "status = 'ok'") of $(count two.db 1)" = '8 of 8' ]
train two.db --seed 1,2 --jobs 3 --resume
holds "what is done is not done again" [ "$(count two.db 1)" = 8 ]

# More workers than jobs, and more threads than one each: each team is its own.
train whole.db --threads 2 -a dense,mot
train teams.db --threads 2 -a dense,mot --jobs 9 --fast
holds "jobs of two threads run side by side, too" same_curves whole.db teams.db
holds "that bits may differ on a GPU is recorded" [ "$(count teams.db "attention = 'fast'")" = 2 ]

# Two cores, and nothing said: what is seen while they run, and what is recorded.
OMP_NUM_THREADS=2 "$MOTBENCH" run "$home/workloads/smoke.ini" --seed 1,2 --db free.db >"$work/out" 2>"$work/err"
holds "by default two cores take two jobs of one thread" same_curves one.db free.db
holds "and that is recorded" \
    [ "$(count free.db "device LIKE '%1 thread a job, 2 jobs side by side'")" = 8 ]
line='^\[[1-8]/8\] smoke [a-z-]* seed [12]  [0-9]*/30  \(val text [0-9.]* image [0-9.]*\( .*\)\?\|ok in .*\)$'
holds "each line is of one run" [ "$(grep -c -v "$line" "$work/err")" = 0 ]
holds "and there is one for every evaluation and every end" [ "$(wc -l <"$work/err")" = 32 ]

# One that fails leaves the one beside it alone, and those after both.
sed -e 's/^lr = .*/lr = 10/' -e 's/^\[model\]/weight_decay = 10\n[model]/' "$home/workloads/smoke.ini" \
    >diverge.ini
refuses 1 '2 of 6 runs failed (recorded in mixed.db), the first: the .* is not finite' "$MOTBENCH" run \
    diverge.ini "$home/workloads/smoke.ini" "$home/workloads/smoke.ini" -a dense,mot --db mixed.db \
    --quiet --jobs 2
holds "two failed, the others did not" \
    [ "$(count mixed.db "status = 'failed'"), $(count mixed.db "status = 'ok'")" = '2, 4' ]

long="-S workload.steps=200 -S workload.checkpoint_every=10 -S workload.eval_every=50"
train long.db $long
start() { # DATABASE: in the background, as $pid
    "$MOTBENCH" run "$home/workloads/smoke.ini" --db "$1" --quiet --threads 1 --jobs 2 --resume $long \
        >"$work/out" 2>"$work/err" &
    pid=$!
}
# Until runs of the database have begun or been taken up N times, at most 10 s.
wait_for_begun() { # DATABASE N
    tries=0
    while [ "$tries" -lt 500 ] && [ "$(sqlite3 -readonly "$1" \
        "SELECT count(*) FROM event WHERE status = 'running'" 2>/dev/null)" != "$2" ]; do
        sleep 0.02
        tries=$((tries + 1))
    done
}

begun=0
for signal in INT TERM; do # the second finds what the first has left
    start stopped.db
    begun=$((begun + 2))
    wait_for_begun stopped.db "$begun"
    kill -$signal "$pid"
    wait "$pid"
    code=$?
    holds "$signal ends them all, with 130 ($code)" [ "$code" = 130 ]
    holds "$signal: it says how to go on, once" [ "$(grep -c -e '--resume goes on' "$work/err")" = 1 ]
    holds "$signal: two were under way, and no other began" \
        [ "$(count stopped.db "status = 'interrupted'") of $(count stopped.db 1)" = '2 of 2' ]
    holds "$signal: both saved their state" \
        [ "$(find stopped.checkpoints -name '*.state.safetensors' | wc -l)" = 2 ]
done
train stopped.db $long --jobs 2 --resume
holds "they go on to the same curves" same_curves long.db stopped.db
holds "and the same operations" same_operations long.db stopped.db
holds "in the same runs" [ "$(count stopped.db 1)" = 4 ]

sound_each=0
for delay in 0.15 0.45 0.3; do
    start killed.db
    sleep "$delay"
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    if [ ! -e killed.db ] || sound killed.db; then sound_each=$((sound_each + 1)); fi
done
holds "after each of 3 kills the database is sound ($sound_each)" [ "$sound_each" = 3 ]
train killed.db $long --jobs 2 --resume
holds "killed runs go on to the end" [ $? = 0 ]
holds "to the same curves" same_curves long.db killed.db
holds "and the same operations" same_operations long.db killed.db
holds "some kill found a run under way" \
    [ "$(sqlite3 killed.db "SELECT count(*) FROM event WHERE detail = 'resumed'")" -gt 0 ]
holds "nothing half-written is left" no_leftovers killed.db
finish
