#!/bin/sh
# A disk that fills up in the middle of a run: a clear error, and what was written before is sound. The
# disk is a small tmpfs where we may mount one; elsewhere a limit on the size of files.
set -u
. "$PWD/tests/e2e.lib"

mkdir disk
if mount -t tmpfs -o size=2m none disk 2>/dev/null; then
    head -c 1000000 /dev/zero >disk/filler
    train disk/full.db -a dense -S workload.steps=20000 -S workload.eval_every=50
    code=$?
    rm disk/filler # reading the database takes a little room too
else
    (
        ulimit -f 1200
        train disk/full.db -a dense -S workload.steps=20000 -S workload.eval_every=50
    )
    code=$?
fi
holds "a full disk is an error (exit code $code)" [ "$code" = 1 ]
holds "said in one line" [ "$(wc -l <"$work/err")" = 1 ]
holds "which says what could not be written" grep -q 'disk' "$work/err"
holds "the database is sound" sound disk/full.db
holds "what was measured before is there" \
    [ "$(sqlite3 disk/full.db 'SELECT count(*) FROM v_curve')" -gt 0 ]
finish
