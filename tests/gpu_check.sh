#!/bin/sh
# One command for a machine with a GPU: gpu_check.sh BUILD_FOLDER [FOLDER], from the root of the checkout
# or of what `make gpu-bundle` made. Is every operation right, is it deterministic, do counters and ledger
# agree, how long is a step, and were the targets met? Everything lands in FOLDER (gpu-check) as it comes:
# table.txt, gpu-check.db, log.txt with all that was said, the peers' samples.
# Needs no package manager, no Python, no sqlite3. Ends within $GPU_CHECK_SECONDS (480), each profile
# within $GPU_CHECK_CELL_SECONDS (90); $GPU_CHECK_PARTS says which parts, in which order.
# Exit 1 when anything is wrong, skipped or left, or there is no GPU; missed targets are no failure.
set -u
build=$1
out=${2:-gpu-check}
start=$(date +%s)
end=$((start + ${GPU_CHECK_SECONDS:-480}))
parts=${GPU_CHECK_PARTS:-tests bits 443M counts kernels peers grouping sanitizer 94M 37M 1.5B}
cell_seconds=${GPU_CHECK_CELL_SECONDS:-90}
failed=0
undone=0

# Python has libraries of its own.
torch="env LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-} python3"
# Shared libraries that came along, and CUDA's where only a Python environment has them.
more=$PWD/lib
for folder in $(python3 -c 'import nvidia
for path in nvidia.__path__: print(path + "/*/lib")' 2>/dev/null) /usr/local/cuda/lib64 \
    /usr/local/cuda/extras/CUPTI/lib64 /usr/local/nvidia/lib64; do
    [ -d "$folder" ] && more=$more:$folder
done
export LD_LIBRARY_PATH="$more${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
m=$PWD/$build/motbench

# Models and token data, which are large and tell nothing, stay out of FOLDER.
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# The one line that says why nothing can be checked here.
stop() {
    echo "gpu-check: $*" >&2
    exit 1
}
"$m" --version >/dev/null 2>&1 || "$m" list archs >/dev/null || stop "$m does not run"
"$m" doctor --format csv 2>&1 | tr -d '"' >"$scratch/doctor"
gpu=$(grep '^GPU driver,' "$scratch/doctor")
case $gpu in
"GPU driver,ok,"*) ;;
*) stop "no GPU: ${gpu#GPU driver,no,}" ;;
esac
"$m" list backends --format csv | tr -d '"' | grep -q '^cuda' ||
    stop "this build has no backend cuda: make CUDA=1"
export MOTBENCH_DATA="$scratch/data"
mkdir -p "$out" "$scratch/tokens" || exit 1
db=$out/gpu-check.db
table=$out/table.txt
log=$out/log.txt
rm -f "$db" "$db-wal" "$db-shm" "$table" "$out"/peers.*
cat "$scratch/doctor" >"$log"
nvidia-smi >>"$log" 2>&1
"$build/bench/tokens" "$scratch/tokens" 128 || stop "no token data"

say() { # RESULT...
    printf '%5d s  %s\n' $(($(date +%s) - start)) "$*" | tee -a "$table"
}
why() { # the line that says most of what was said last
    grep -m 1 -e '^motbench:' -e '^\[FAIL\]' "$scratch/said" || tail -n 1 "$scratch/said"
}
allow() { # SECONDS, for what follows
    allowed=$1 stop_at=$(($(date +%s) + $1))
    [ "$stop_at" -lt "$end" ] || stop_at=$end
}
# A command for as long as it is allowed; then 124, or 137 when it would not end.
limited() { # COMMAND...
    left=$((stop_at - $(date +%s)))
    [ "$left" -gt 0 ] || return 124
    timeout -k 5 "$left" "$@"
}
# What a command says goes to the log at once; all of it is in $scratch/said then.
logged() { # WHAT COMMAND...
    printf '\n==== %s\n' "$1" >>"$log"
    said=$(wc -c <"$log")
    shift
    "$@" >>"$log" 2>&1
    result=$?
    tail -c +$((said + 1)) "$log" >"$scratch/said"
    return $result
}
not_done() { # WHAT
    undone=$((undone + 1))
    say "NOT DONE $*"
}
# What became of WHAT, which ended with an exit code other than 0.
wrong() { # EXIT_CODE WHAT
    case $1 in
    124 | 137)
        if [ "$(date +%s)" -ge "$end" ]; then
            not_done "$2: the time is spent"
            return
        fi
        failed=$((failed + 1))
        say "FAILED  $2: ended after $allowed s"
        ;;
    *)
        failed=$((failed + 1))
        say "FAILED  $2: $(why)"
        ;;
    esac
}
check() { # SECONDS CLAIM COMMAND...
    allow "$1"
    claim=$2
    shift 2
    if logged "$claim" "$@"; then say "ok      $claim"; else wrong $? "$claim"; fi
}

# ---- (a) operations against ref, (b) whole models against PyTorch's values
# Passes only when there were such tests and none was skipped: the device is here.
cuda_tests() { # PATTERN
    limited "$build/tests/all" --verbose --filter "$1" >"$scratch/tests" 2>&1
    result=$?
    grep -v 'Test is disabled$' "$scratch/tests"
    [ $result = 0 ] || return $result
    if grep '^\[SKIP\]' "$scratch/tests" | grep -qv 'Test is disabled$'; then
        echo "motbench: tests were skipped on a machine with a GPU: $(grep '^\[SKIP\]' "$scratch/tests" |
            grep -v 'Test is disabled$' | head -n 1)" >&2
        return 1
    fi
    grep -q 'Tested: [1-9]' "$scratch/tests" || {
        echo "motbench: no test is called $1" >&2
        return 1
    }
}
fresh_tests() { # PATTERN
    TEST_SEED=$start cuda_tests "$1"
}
tests() {
    check 120 "operations agree with ref, fp32 and bf16, on fresh numbers (TEST_SEED=$start)" \
        fresh_tests 'op/*'
    check 60 "operations and steps are what was worked out by hand" cuda_tests '@(op_hand|cuda)/*'
    check 60 "models agree with the golden values" cuda_tests 'golden/*'
    check 60 "graphs give the bits of single calls; models cost what the formulas say" \
        cuda_tests '@(graph|cost)/*'
}

# ---- (c) the same bits twice, at training size
run() { # VERB ARGUMENT...
    verb=$1
    shift
    limited "$m" "$verb" workloads/gpu.ini --backend cuda --precision bf16 \
        -S "workload.path=$scratch/tokens" "$@"
}
size() { # NAME: its settings, as the paper has them
    case $1 in
    37M) echo model.width=256 model.layers=4 model.heads=8 workload.batch=12 ;;
    94M) echo model.width=512 model.layers=8 model.heads=8 workload.batch=8 ;;
    443M) echo model.width=1024 model.layers=24 model.heads=16 workload.batch=6 ;;
    1.5B) echo model.width=2048 model.layers=24 model.heads=16 workload.batch=4 ;;
    esac | sed 's/[a-z]*\.[a-z_]*=/-S &/g'
}
losses() { # NAME: every value of every curve of its database, without what is measured in seconds
    "$m" db export --db "$scratch/$1.db" -o "$scratch/$1" >&2 && cut -d, -f1-7 "$scratch/$1/v_curve.csv"
}
# shellcheck disable=SC2046
trained() { # NAME ARGUMENT...: five steps of 94M, its curves in NAME.csv
    name=$1
    shift
    run run --db "$scratch/$name.db" --quiet $(size 94M) -S workload.steps=5 -S workload.eval_every=5 \
        "$@" || return
    losses "$name" >"$scratch/$name.csv" && [ -s "$scratch/$name.csv" ] || return
    rm -rf "$scratch/$name.checkpoints"
}
same() { # NAME NAME: their curves
    cmp "$scratch/$1.csv" "$scratch/$2.csv"
}
twice() {
    trained bits1 && trained bits2 && same bits1 bits2
}
as_graphs() {
    trained padded -S model.pad=128 && trained graphs -S model.pad=128 -S gpu.graph=true &&
        same padded graphs
}
alike() { # NAME NAME: losses within 2 %
    paste -d, "$scratch/$1.csv" "$scratch/$2.csv" | awk -F, -v one="$1" -v other="$2" '
        { gsub(/"/, "") }
        $5 == "loss" { n++; if ($6 - $13 > 0.02 * $13 || $13 - $6 > 0.02 * $13) bad = $0 }
        END { if (bad || !n) { print "motbench: " one " differs from " other ": " bad; exit 1 } }'
}
attentions() {
    trained own -a dense -S gpu.attention=own && trained cudnn -a dense -S gpu.attention=cudnn &&
        alike own cudnn
}
groupings() { # whose groups are unequal without padding
    trained library -a mot -S gpu.grouping=library && trained library2 -a mot -S gpu.grouping=library &&
        same library library2 && trained streams -a mot && alike library streams
}
bits() {
    check 120 "94M of every architecture gives the same bits twice" twice
    check 120 "and the same bits in graphs" as_graphs
    check 60 "own attention trains as that of cuDNN, within 2 %" attentions
    check 60 "grouped products of the library give the same bits twice, and train as streams" groupings
}

# ---- (g) bad memory accesses
sanitizer() {
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    if [ -z "$tool" ]; then
        not_done "compute-sanitizer: not installed"
        return
    fi
    check 90 "compute-sanitizer finds nothing in a tiny model" limited "$tool" --error-exitcode 9 \
        "$m" run workloads/smoke.ini -a mot,switch --backend cuda --precision bf16 --quiet \
        --db "$scratch/tiny.db" -S workload.steps=2
}

# ---- (e) steps: no counters and no records, so that nothing of these can spoil the times
value() { # METRIC: of the last profile
    awk -F, -v name="$1" '{ gsub(/"/, "") } $1 == "metric" && $2 == name { v = $4 } END {
        if (v == "") print "-"; else printf "%.4g", v }' "$scratch/profile.csv"
}
# shellcheck disable=SC2046
profile() { # SIZE ARCH ARGUMENT...
    of=$1 arch=$2 room=
    shift 2
    # without it, a step of eight experts of 1.5B takes more than an H200 has
    [ "$of $arch" != "1.5B switch" ] || room="-S model.recompute=layer"
    # cuDNN or an error: our own attention would only use up the time
    # shellcheck disable=SC2086
    run profile -a "$arch" --db "$db" --counts --format csv $(size "$of") $room -S model.pad=128 \
        -S gpu.attention=cudnn "$@" >"$scratch/profile.csv"
    result=$?
    cat "$scratch/profile.csv"
    return $result
}
cell() { # SIZE ARCH eager|graph|streams|library
    case $3 in
    eager) how=gpu.graph=false ;;
    graph) how=gpu.graph=true ;;
    *) how="gpu.grouping=$3 -S model.pad=1" ;; # unequal groups
    esac
    allow "$cell_seconds"
    # shellcheck disable=SC2086
    logged "$1 $2 $3" profile "$1" "$2" -p gpu-time --bare --warm-up 4 --steps 20 --traced 1 -S $how || {
        wrong $? "$1 $2 $3"
        return
    }
    echo "$1 $2 $3 $(value step) $(value mfu.exact.datasheet)" >>"$scratch/cells"
    say "$(printf '%-5s %-7s %-7s %9s ms %10s token/s  MFU %% of the datasheet: %s exact, %s palm12, %s causal6; of a product: %s  graphs a step %s, %s W %s' \
        "$1" "$2" "$3" "$(value step)" "$(value throughput)" "$(value mfu.exact.datasheet)" \
        "$(value mfu.palm12.datasheet)" "$(value mfu.causal6.datasheet)" \
        "$(value mfu.exact.product)" "$(value graphs)" "$(value power)" "${room#-S }")"
}
rows() { # SIZE
    for arch_of in dense mot switch moe-ec; do
        cell "$1" $arch_of eager
        cell "$1" $arch_of graph
    done
}

# The same unequal groups in two ways.
grouping() {
    cell 443M mot streams
    cell 443M mot library
}

# ---- (d) counters against the ledger: of whole steps, then of each operation in two layers
each_operation() { # ARCH
    profile 443M "$1" -S model.layers=2 -p gpu --bare --each --warm-up 1 --steps 4 --traced 1 ||
        return
    grep -q '^"*hardware/executed' "$scratch/profile.csv" || {
        echo "motbench: no operation was counted"
        return 1
    }
}
counts() {
    for arch_of in dense mot switch moe-ec; do
        allow "$cell_seconds"
        logged "443M $arch_of counted" profile 443M $arch_of -p gpu --bare --warm-up 1 --steps 8 \
            --traced 1 || {
            wrong $? "443M $arch_of counted"
            continue
        }
        hardware=$(value hardware)
        echo "$arch_of $hardware" >>"$scratch/hardware"
        if awk -v h="$hardware" 'BEGIN { exit h == "-" || h < 98 || h > 102 }'; then
            say "ok      443M $arch_of: hardware/executed $hardware %, DRAM $(value dram) B a step"
        else
            failed=$((failed + 1))
            [ "$hardware" != - ] || hardware="not counted: $(why);"
            say "FAILED  443M $arch_of: hardware/executed $hardware %, wanted 98 to 102"
        fi
    done
    for arch_of in dense mot switch moe-ec; do
        check "$cell_seconds" "operations of two layers of $arch_of are counted one by one" \
            each_operation $arch_of
        grep '^"*hardware/executed.*differs' "$scratch/said" | tr -d '"' | while IFS=, read -r _ op _ share _; do
            say "differs $arch_of, $op: hardware/executed $share %"
        done
    done
}

# ---- what was launched, for v_kernel and the GPU's time of each operation
recorded() { # ARCH
    profile 443M "$1" -p gpu-time --warm-up 1 --steps 4 --traced 2 2>"$scratch/recorded"
    result=$?
    cat "$scratch/recorded" >&2
    [ $result = 0 ] || return $result
    ! grep -q '^motbench: no kernels are recorded' "$scratch/recorded"
}
kernels() {
    for arch_of in dense mot switch moe-ec; do
        check "$cell_seconds" "kernels of 443M $arch_of are recorded" recorded $arch_of
    done
}

# ---- (f) PyTorch, where it is installed, in turns with ours
peers() {
    # shellcheck disable=SC2086
    if ! $torch -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        say "not run PyTorch: not installed"
        return
    fi
    check 220 "dense and MoT steps in turns with compiled PyTorch" \
        limited "$build/bench/driver" -s gpu -r 9 -p "$torch" -o "$scratch/peers"
    grep '^gpu: .*, wanted ' "$scratch/said" | tee -a "$table" >"$scratch/figures"
    cat "$scratch/figures"
    for file in "$scratch"/peers/bench.*; do
        [ ! -f "$file" ] || cp "$file" "$out/peers.${file##*.}"
    done
    rm -rf "$scratch/peers"
}

# ---- the targets
target() { # WHAT VALUE SIGN LIMIT
    awk -v what="$1" -v v="$2" -v sign="$3" -v limit="$4" 'BEGIN {
        verdict = v == "" || v == "-" ? "not measured" : \
            (sign == "<=" ? v + 0 <= limit : v + 0 >= limit) ? "met" : "MISSED"
        printf "  %-62s %8s  %s %-5s  %s\n", what, v == "" ? "-" : v, sign, limit, verdict }' |
        tee -a "$table"
}
of_cell() { # ARCH eager|graph COLUMN: of 443M
    awk -v arch="$1" -v how="$2" -v k="$3" '$1 == "443M" && $2 == arch && $3 == how { print $k }' \
        "$scratch/cells"
}
over_dense() { # ARCH eager|graph
    awk -v a="$(of_cell "$1" "$2" 4)" -v b="$(of_cell dense "$2" 4)" 'BEGIN {
        if (a > 0 && b > 0) printf "%.3f", a / b }'
}
targets() {
    touch "$scratch/cells" "$scratch/hardware" "$scratch/figures"
    echo "Targets, 443M, sequences of 4096, bf16:" | tee -a "$table"
    target "dense, call by call: exact MFU, % of the datasheet" "$(of_cell dense eager 5)" ">=" 50
    target "dense, as a graph: exact MFU, % of the datasheet" "$(of_cell dense graph 5)" ">=" 50
    target "dense, call by call: tokens/s over compiled PyTorch" \
        "$(sed -n 's/^gpu: dense[^:]*: [^:]*: \([0-9.]*\),.*/\1/p' "$scratch/figures")" ">=" 1.10
    target "mot over dense, call by call: step time" "$(over_dense mot eager)" "<=" 1.05
    target "mot over dense, as graphs: step time" "$(over_dense mot graph)" "<=" 1.05
    target "switch over dense, call by call: step time" "$(over_dense switch eager)" "<=" 1.35
    target "switch over dense, as graphs: step time" "$(over_dense switch graph)" "<=" 1.35
    for arch_of in dense mot switch moe-ec; do
        off=$(awk -v arch=$arch_of '$1 == arch && $2 != "-" {
            printf "%.2f", $2 < 100 ? 100 - $2 : $2 - 100 }' "$scratch/hardware")
        target "$arch_of: hardware from executed FLOPs, % apart" "$off" "<=" 2
    done
}

for part in $parts; do
    case $part in
    tests | bits | counts | kernels | peers | grouping | sanitizer) $part ;;
    37M | 94M | 443M | 1.5B) rows "$part" ;;
    *) stop "GPU_CHECK_PARTS: found '$part', expected tests, bits, counts, kernels, peers, grouping, sanitizer or a size" ;;
    esac
done
targets
say "$failed failed, $undone not done; in $out: gpu-check.db, table.txt, log.txt"
[ "$failed" = 0 ] && [ "$undone" = 0 ]
