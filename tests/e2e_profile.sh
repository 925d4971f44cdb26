#!/bin/sh
# A profile: its times add up, its counts are the ledger's, what cannot be counted is said, and no
# comparison takes it for training.
set -u
. "$PWD/tests/e2e.lib"
m=$MOTBENCH
smoke=$home/workloads/smoke.ini

profile() { # ARGUMENT...
    "$m" profile "$smoke" --db p.db --threads 1 --warm-up 1 --steps 2 --traced 2 "$@" >out 2>"$work/err"
}
ask() { # QUERY
    sqlite3 p.db "$1"
}

train p.db -a dense -S workload.steps=10
holds "a profile is made of every architecture" profile -a dense -p flops
holds "it is for people" grep -q 'outside operations' out
holds "it says which steps were traced and which were timed" grep -q '2 other steps, timed and not traced' out
holds "an expert model, too" profile -a switch -p flops
holds "layers may stand for themselves" profile -a mot --layers --format csv
holds "csv is one table" [ "$(grep -c '^"*op"*,"*part"*,"*layer' out)" = 1 ]
holds "layers are told apart" [ "$(cut -d, -f3 out | sort -u | wc -l)" = 5 ]
holds "the operations add up to the traced steps, to the nanosecond" [ "$(ask \
    'SELECT count(*) FROM v_profile AS p
     WHERE traced_ns = (SELECT sum(wall_ns) FROM v_profile_op WHERE run_id = p.run_id)')" = 3 ]
holds "nothing is negative" [ "$(ask 'SELECT min(wall_ns) >= 0 FROM v_profile_op')" = 1 ]
if "$m" doctor --format csv | grep -q 'sde.*: ok'; then
    holds "software-defined events are the ledger of the timed steps" [ "$(ask \
        "SELECT count(*) FROM v_profile AS p JOIN v_counter AS c USING (run_id)
         WHERE source = 'sde' AND event = 'flops_model' AND value = p.flops_model * p.steps")" = 2 ]
    holds "tokens are routed" [ "$(ask "SELECT max(value) > 0 FROM v_counter
        WHERE event = 'tokens_routed'")" = 1 ]
fi
holds "a count has a value exactly when it is ok" [ "$(ask \
    "SELECT count(*) FROM v_counter WHERE (status = 'ok') <> (value IS NOT NULL)")" = 0 ]
holds "no hardware counter stands at 0" [ "$(ask \
    "SELECT count(*) FROM v_counter WHERE event LIKE 'PAPI%' AND value = 0")" = 0 ]

holds "counts are json, too" profile -a dense -p time --counts --format json
holds "metrics are among them" grep -q 'mfu.exact.product' out
holds "every profile works" profile -a moe-ec -p memory
holds "software events, too" profile -a dense -p software
holds "a GPU's counters have a status everywhere" profile -a dense -p gpu
holds "and steps of their own, as many as were timed" [ "$(ask \
    'SELECT abs(counted / flops_executed / steps - 1) < 0.2 FROM v_profile WHERE counted > 0')" = 1 ]

holds "no comparison sees them" [ "$(ask 'SELECT count(*) FROM v_latest')" = 1 ]
train p.db -a dense -S workload.steps=10 --resume
holds "nor does --resume" grep -q 'ok before' out
holds "the database is sound" sound p.db
for kind in svg png pdf txt; do
    holds "a roofline is drawn as $kind" "$m" plot roofline --db p.db -o roof.$kind >out 2>"$work/err"
done

# ---- what is wrong
refuses 64 'expected a workload' "$m" profile
refuses 64 'steps 0: expected' "$m" profile "$smoke" --steps 0
refuses 64 'expected one architecture to profile (-a), found 4' "$m" profile "$smoke" --db x.db
refuses 1 'no profile is called "fast"' "$m" profile "$smoke" -a dense -p fast --db x.db
refuses 1 '103 steps to profile, expected at most' \
    "$m" profile "$smoke" -a dense --warm-up 1 --steps 100 --traced 2 --db x.db
printf '[clock walls]\n' >bad.ini
refuses 1 'bad.ini:1: source clock has no event' "$m" profile "$smoke" -a dense -p bad.ini --db x.db
printf '[metric m]\nunit = 1\nsql = oops\n' >bad.ini
refuses 1 'bad.ini:1: metric m: .*no such column' "$m" profile "$smoke" -a dense -p bad.ini --db x.db
train q.db -a dense -S workload.steps=2
refuses 1 'nothing to plot: no profile' "$m" plot roofline --db q.db -o x.svg
finish
