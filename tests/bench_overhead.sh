#!/bin/sh
# What the harness itself costs: bench_overhead.sh MOTBENCH
#
# The same workload on `cpu`, where a step takes some 4 ms, and on `null`, which computes nothing: what is
# left is drawing and packing batches, the operations' front, the ledger, clocks, buffers, the progress
# line and writing rows. Each is timed as the difference between a long and a short run, whole processes
# by the wall clock, so that starting and ending cancel; the median of five. The target is 0.5 %.
set -eu
motbench=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# run_s BACKEND STEPS: wall time of a whole run, ns
run_ns() {
    rm -rf "$folder"/db*
    begun=$(date +%s%N)
    "$motbench" run workloads/smoke.ini -a dense --backend "$1" --threads 1 --db "$folder/db" --quiet \
        -S workload.steps="$2" -S workload.eval_every="$2" -S workload.checkpoint_every="$2" \
        -S workload.seq_len=64 -S workload.batch=8 -S model.width=64 -S model.layers=2 >/dev/null
    echo $(($(date +%s%N) - begun))
}

# step_ns BACKEND FEW MORE: wall time of a step, ns
step_ns() {
    for _ in 1 2 3 4 5; do
        few=$(run_ns "$1" "$2")
        more=$(run_ns "$1" "$3")
        echo $(((more - few) / ($3 - $2)))
    done | sort -n | sed -n 3p
}

run_ns cpu 2 >/dev/null # prepares the data
cpu=$(step_ns cpu 100 400)
null=$(step_ns null 1000 11000)
awk -v cpu="$cpu" -v null="$null" 'BEGIN {
    printf "a step on cpu, one thread   %9.3f ms\n", cpu / 1e6
    printf "the harness alone (null)    %9.3f ms\n", null / 1e6
    printf "of that step                %9.2f %%\n", 100 * null / cpu
    printf "of a 4 ms step              %9.2f %%   (target: below 0.5 %%)\n", 100 * null / 4e6
}'
