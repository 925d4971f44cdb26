#!/bin/sh
# One command for a machine with a GPU: gpu_check.sh BUILD_FOLDER, from the root of the checkout or of
# what `make gpu-bundle` made. Is every operation right, is it deterministic, do counters and ledger
# agree, how long is a step? Writes gpu-check/ (the database, the table, logs) and prints the table.
# Needs no package manager, no Python, no sqlite3. Ends within $GPU_CHECK_SECONDS (480); what is then
# left is said. Exit 1 when anything is wrong, skipped or left, or there is no GPU.
set -u
build=$1
start=$(date +%s)
end=$((start + ${GPU_CHECK_SECONDS:-480}))
failed=0
undone=0
out="gpu-check"

# Python has libraries of its own.
torch="env LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-} python3"
# Shared libraries that came along, and CUDA's where only a Python environment has them.
more=$PWD/lib
python=$(command -v python3 || true)
for folder in "${python%/bin/*}"/lib/python3*/site-packages/nvidia/*/lib /usr/local/cuda/lib64 \
    /usr/local/cuda/extras/CUPTI/lib64; do
    [ -d "$folder" ] && more=$more:$folder
done
export LD_LIBRARY_PATH="$more${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
m=$PWD/$build/motbench

# The one line that says why nothing can be checked here.
stop() {
    echo "gpu-check: $*" >&2
    exit 1
}
"$m" --version >/dev/null 2>&1 || "$m" list archs >/dev/null || stop "$m does not run"
"$m" doctor --format csv 2>&1 | tr -d '"' >doctor.$$
gpu=$(grep '^GPU driver,' doctor.$$)
case $gpu in
"GPU driver,ok,"*) ;;
*)
    rm -f doctor.$$
    stop "no GPU: ${gpu#GPU driver,no,}"
    ;;
esac
"$m" list backends --format csv | tr -d '"' | grep -q '^cuda' || {
    rm -f doctor.$$
    stop "this build has no backend cuda: make CUDA=1"
}
rm -rf "$out"
mkdir -p "$out/tokens"
mv doctor.$$ "$out/doctor.csv"
export MOTBENCH_DATA="$PWD/$out/data"
db=$out/gpu-check.db
table=$out/table.txt

say() { # RESULT...
    printf '%5d s  %s\n' $(($(date +%s) - start)) "$*" | tee -a "$table"
}
why() { # LOG: the line of it that says most
    grep -m 1 -e '^motbench:' -e '^\[FAIL\]' "$1" || tail -n 1 "$1"
}
left() { # seconds
    echo $((end - $(date +%s)))
}
# A command for as long as there is time; then 124.
limited() { # COMMAND...
    [ "$(left)" -gt 0 ] || return 124
    timeout -k 5 "$(left)" "$@"
}
not_done() { # WHAT
    undone=$((undone + 1))
    say "NOT DONE $*: the time is spent"
}
wrong() { # WHAT LOG
    failed=$((failed + 1))
    say "FAILED  $1: $(why "$2")"
}
check() { # CLAIM LOG COMMAND...
    claim=$1 log=$out/$2.log
    shift 2
    "$@" >"$log" 2>&1
    case $? in
    0) say "ok      $claim" ;;
    124) not_done "$claim" ;;
    *) wrong "$claim" "$log" ;;
    esac
}

# ---- (a) operations against ref, (b) whole models against PyTorch's values
# Passes only when there were such tests and none was skipped: the device is here.
cuda_tests() { # PATTERN
    limited "$build/tests/all" --verbose --filter "$1" >"$out/tests.part" 2>&1
    result=$?
    grep -v 'Test is disabled$' "$out/tests.part"
    [ $result = 0 ] || return $result
    if grep '^\[SKIP\]' "$out/tests.part" | grep -qv 'Test is disabled$'; then
        echo "motbench: tests were skipped on a machine with a GPU: $(grep '^\[SKIP\]' "$out/tests.part" |
            grep -v 'Test is disabled$' | head -n 1)" >&2
        return 1
    fi
    grep -q 'Tested: [1-9]' "$out/tests.part" || {
        echo "motbench: no test is called $1" >&2
        return 1
    }
}
check "operations agree with ref, fp32 and bf16" operations cuda_tests '@(op|op_hand|cuda)/*'
check "models agree with the golden values" golden cuda_tests 'golden/*'
check "graphs give the bits of single calls; models cost what the formulas say" models \
    cuda_tests '@(graph|cost)/*'

# ---- (c) the same bits twice, at training size
"$build/bench/tokens" "$out/tokens" 128 || stop "no token data"
run() { # VERB ARGUMENT...
    verb=$1
    shift
    limited "$m" "$verb" workloads/gpu.ini --backend cuda --precision bf16 \
        -S "workload.path=$PWD/$out/tokens" "$@"
}
size() { # NAME: its settings, as the paper has them
    case $1 in
    37M) echo model.width=256 model.layers=4 model.heads=8 workload.batch=12 ;;
    94M) echo model.width=512 model.layers=8 model.heads=8 workload.batch=8 ;;
    443M) echo model.width=1024 model.layers=24 model.heads=16 workload.batch=6 ;;
    1.5B) echo model.width=2048 model.layers=24 model.heads=16 workload.batch=4 ;;
    esac | sed 's/[a-z]*\.[a-z_]*=/-S &/g'
}
losses() { # FOLDER: every value of every curve of a database, without what is measured in seconds
    "$m" db export --db "$1.db" -o "$1" >&2 && cut -d, -f1-7 "$1/v_curve.csv"
}
# shellcheck disable=SC2046
twice() {
    for turn in 1 2; do
        trained "bits$turn" -S gpu.graph=false || return
    done
    [ -s "$out/bits1.csv" ] && cmp "$out/bits1.csv" "$out/bits2.csv"
}
# shellcheck disable=SC2046
trained() { # NAME ARGUMENT...: five steps of 94M, its curves in NAME.csv
    name=$1
    shift
    run run --db "$out/$name.db" --quiet $(size 94M) -S workload.steps=5 -S workload.eval_every=5 \
        "$@" || return
    losses "$out/$name" >"$out/$name.csv"
}
check "94M of every architecture gives the same bits twice" bits twice
as_graphs() {
    trained padded -S model.pad=128 && trained graphs -S model.pad=128 -S gpu.graph=true &&
        cmp "$out/padded.csv" "$out/graphs.csv"
}
check "and the same bits in graphs" graphs as_graphs
attentions() {
    trained own -a dense -S gpu.attention=own && trained cudnn -a dense -S gpu.attention=cudnn &&
        paste -d, "$out/own.csv" "$out/cudnn.csv" | awk -F, '{ gsub(/"/, "") }
            $5 == "loss" { n++; if ($6 - $13 > 0.02 * $13 || $13 - $6 > 0.02 * $13) bad = $0 }
            END { if (bad || !n) { print "motbench: own attention differs from cuDNN: " bad; exit 1 } }'
}
check "own attention trains as that of cuDNN, within 2 %" attention attentions

# ---- (g) bad memory accesses
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -n "$sanitizer" ]; then
    check "compute-sanitizer finds nothing in a tiny model" sanitizer \
        limited "$sanitizer" --error-exitcode 9 "$m" run workloads/smoke.ini -a mot,switch \
        --backend cuda --precision bf16 --quiet --db "$out/tiny.db" -S workload.steps=2
else
    undone=$((undone + 1))
    say "NOT DONE compute-sanitizer: not installed"
fi

# ---- (d) counters against the ledger, (e) steps
value() { # METRIC LOG
    awk -F, -v name="$1" '{ gsub(/"/, "") } $1 == "metric" && $2 == name { v = $4 } END {
        if (v == "") print "-"; else printf "%.4g", v }' "$2"
}
# shellcheck disable=SC2046
cell() { # SIZE ARCH eager|graph
    name=$1-$2-$3 graph=false
    [ "$3" = eager ] || graph=true
    run profile -a "$2" -p gpu --db "$db" --counts --format csv --warm-up 3 --steps 10 --traced 2 \
        $(size "$1") -S model.pad=128 -S gpu.graph=$graph >"$out/$name.csv" 2>"$out/$name.log"
    case $? in
    0) ;;
    124)
        not_done "$1 $2 $3"
        return
        ;;
    *)
        wrong "$1 $2 $3" "$out/$name.log"
        return
        ;;
    esac
    hardware=$(value hardware "$out/$name.csv")
    say "$(printf '%-5s %-7s %-5s %9s ms %10s token/s  MFU %% of the datasheet: %s exact, %s palm12, %s causal6; of a product: %s  hardware/executed %s %%, graphs a step %s' \
        "$1" "$2" "$3" "$(value step "$out/$name.csv")" "$(value throughput "$out/$name.csv")" \
        "$(value mfu.exact.datasheet "$out/$name.csv")" \
        "$(value mfu.palm12.datasheet "$out/$name.csv")" \
        "$(value mfu.causal6.datasheet "$out/$name.csv")" \
        "$(value mfu.exact.product "$out/$name.csv")" "$hardware" \
        "$(value graphs "$out/$name.csv")")"
    awk -v h="$hardware" 'BEGIN { exit h == "-" || h < 98 || h > 102 }' || {
        failed=$((failed + 1))
        say "FAILED  $1 $2 $3: hardware and executed FLOPs differ by more than 2 %, or were not counted"
    }
}
rows() { # SIZE
    for a in dense mot switch moe-ec; do
        cell "$1" $a eager
        cell "$1" $a graph
    done
}
rows 443M

# ---- (f) PyTorch, where it is installed, in turns with ours
# shellcheck disable=SC2086
if $torch -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    check "dense and MoT steps in turns with compiled PyTorch (see peers.log)" peers \
        limited "$build/bench/driver" -s gpu -r 5 -p "$torch" -o "$out/peers"
    cat "$out/peers.log" >>"$table"
else
    say "not run PyTorch: not installed"
fi

for s in 94M 37M 1.5B; do
    rows $s
done
say "$failed failed, $undone not done; $db, $table, logs beside them"
[ "$failed" = 0 ] && [ "$undone" = 0 ]
