#!/bin/sh
# What `make gpu-check` makes of what it finds, on a machine without a GPU: every program that it
# runs is a stand-in, told by the environment what to do wrong.
set -u
. "$PWD/tests/e2e.lib"
check=$home/tests/gpu_check.sh

mkdir -p build/tests build/bench bin
# Of the program: HARDWARE is its share of the executed FLOPs in %, OWN the loss of own attention, MOT_MS
# what a step of mot takes.
cat >build/motbench <<'END'
#!/bin/sh
case $1 in
doctor) echo "GPU driver,${DRIVER:-ok,a stand-in}" ;;
list) echo cuda ;;
run)
    case $* in *attention=own*) loss=${OWN:-2} ;; *) loss=2 ;; esac
    while [ $# -gt 0 ]; do
        [ "$1" != --db ] || echo $loss >"$2"
        shift
    done
    ;;
db)
    mkdir -p "$6"
    echo "1,1,train,all,loss,$(cat "$4"),8,0.1" >"$6/v_curve.csv"
    ;;
profile)
    sleep "${PROFILE_SECONDS:-0}"
    case $* in *'-a mot'*) echo "metric,step,ok,${MOT_MS:-5.2},ms" ;; *) echo "metric,step,ok,5,ms" ;; esac
    case $* in
    *'-p gpu-time'*)
        echo "metric,mfu.exact.datasheet,ok,51,%"
        [ -z "${NO_KERNELS:-}" ] || echo "motbench: no kernels are recorded: refused" >&2
        ;;
    *)
        echo "metric,hardware,ok,${HARDWARE-100},%"
        if [ -n "${HARDWARE-100}" ]; then
            echo "hardware/executed,gemm attention fwd,${SHARE:-ok},97,% of executed"
        else
            echo "motbench: events are not counted: not permitted" >&2
        fi
        ;;
    esac
    ;;
esac
END
cat >build/tests/all <<'END'
#!/bin/sh
echo '[SKIP] bpe::other: Test is disabled'
[ -z "${SKIPPED:-}" ] || echo "[SKIP] cuda::one: no device"
echo "[====] Synthesis: Tested: ${TESTED:-3} | Passing: 3 | Failing: 0 | Crashing: 0"
exit "${TESTS_EXIT:-0}"
END
printf '#!/bin/sh\n' >build/bench/tokens
cat >bin/compute-sanitizer <<'END'
#!/bin/sh
exit "${SANITIZER_EXIT:-0}"
END
printf '#!/bin/sh\nexit 1\n' >bin/python3 # no PyTorch
chmod +x build/motbench build/tests/all build/bench/tokens bin/*
PATH=$work/bin:$PATH
export PATH

cat >build/bench/driver <<'END'
#!/bin/sh
echo "gpu: the same on a GPU" >&2
echo "gpu: dense 443M: tokens/s over PyTorch, compiled: 1.2, wanted >= 1.1: met" >&2
END
chmod +x build/bench/driver

gpu_check() { # EXIT_CODE PATTERN ASSIGNMENT...: of a line of the table
    code=$1 pattern=$2
    shift 2
    env "$@" sh "$check" build >out 2>"$work/err"
    [ $? = "$code" ] && grep -q -e "$pattern" out
}
holds "all is well where all is" gpu_check 0 '0 failed, 0 not done'
holds "every size and architecture has a row call by call" [ "$(grep -c ' eager ' out)" = 16 ]
holds "and one as graphs" [ "$(grep -c ' graph ' out)" = 16 ]
holds "and unequal groups one in each way" [ "$(grep -c 'mot  *\(streams\|library\) ' out)" = 2 ]
holds "counts have theirs" [ "$(grep -c 'ok .* hardware/executed 100 %' out)" = 4 ]
holds "the sanitizer was there" grep -q 'ok      compute-sanitizer' out
holds "a target that was reached is met" grep -q 'dense, as a graph.* 51  >= 50 *met' out
holds "ratios are of one way of launching" grep -q 'mot over dense, as graphs.* 1.040  <= 1.05 *met' out
holds "without PyTorch nothing is measured against it" grep -q 'compiled PyTorch .*not measured' out
holds "what was printed is kept" cmp -s out gpu-check/table.txt
holds "and what was said" grep -q 'metric,step,ok,5,ms' gpu-check/log.txt
holds "little else is" [ "$(find gpu-check -type f | wc -l)" -le 4 ]
holds "a target that was missed is said, and no failure" \
    gpu_check 0 'mot over dense, call by call.* 1.200 .*MISSED' MOT_MS=6 GPU_CHECK_PARTS=443M
holds "parts can be chosen" [ "$(grep -c ' token/s ' out)" = 8 ]
holds "what was not asked for is not measured" grep -q 'hardware from executed.*not measured' out
holds "operations that differ are named" gpu_check 0 'differs mot, gemm attention fwd' \
    SHARE=differs GPU_CHECK_PARTS=counts
holds "a failed test is a failure" gpu_check 1 'FAILED  operations agree' TESTS_EXIT=1
holds "so is a skipped one" gpu_check 1 'FAILED  operations agree.*skipped' SKIPPED=1 GPU_CHECK_PARTS=tests
holds "and a pattern that no test has" gpu_check 1 'FAILED  models agree.*no test is called' TESTED=0 \
    GPU_CHECK_PARTS=tests
holds "other FLOPs than the ledger's are" gpu_check 1 'FAILED  443M dense: hardware/executed 90' HARDWARE=90 \
    GPU_CHECK_PARTS=counts
holds "and none, with the reason" gpu_check 1 'FAILED  443M dense: .*not permitted' HARDWARE= \
    GPU_CHECK_PARTS=counts
holds "nor are operations" grep -q 'FAILED  operations of two layers of mot.*not permitted' out
holds "nor are kernels that were not recorded" \
    gpu_check 1 'FAILED  kernels of 443M mot are recorded: .*refused' NO_KERNELS=1 GPU_CHECK_PARTS=kernels
holds "attention that trains otherwise is" gpu_check 1 'FAILED  own attention' OWN=2.1 GPU_CHECK_PARTS=bits
holds "bad accesses are" gpu_check 1 'FAILED  compute-sanitizer' SANITIZER_EXIT=9 GPU_CHECK_PARTS=sanitizer
mkdir torch
printf '#!/bin/sh\n' >torch/python3
chmod +x torch/python3
holds "PyTorch is in the table where it is" gpu_check 0 'over compiled PyTorch .* 1.2  >= 1.10 *met' \
    PATH="$work/torch:$PATH" GPU_CHECK_PARTS=peers
began=$(date +%s)
holds "what time does not allow is not done" gpu_check 1 'NOT DONE 1.5B moe-ec graph' \
    GPU_CHECK_SECONDS=3 PROFILE_SECONDS=60
holds "and the time is kept to" [ $(($(date +%s) - began)) -lt 20 ]
holds "a profile that hangs ends alone" gpu_check 1 'FAILED  443M dense eager: ended after 1 s' \
    GPU_CHECK_CELL_SECONDS=1 PROFILE_SECONDS=60 GPU_CHECK_PARTS='443M sanitizer'
holds "and what follows is done" grep -q 'ok      compute-sanitizer' out
holds "a machine without a GPU is told so" [ "$(DRIVER='no,none here' sh "$check" build 2>&1)" = \
    "gpu-check: no GPU: none here" ]
finish
