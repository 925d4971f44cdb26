#!/bin/sh
# What `make gpu-check` makes of what it finds, on a machine without a GPU: every program that it
# runs is a stand-in, told by the environment what to do wrong.
set -u
. "$PWD/tests/e2e.lib"
check=$home/tests/gpu_check.sh

mkdir -p build/tests build/bench bin
# Of the program: HARDWARE is its share of the executed FLOPs in %, OWN the loss of own attention.
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
    echo "metric,step,ok,5,ms"
    echo "metric,hardware,ok,${HARDWARE-100},%"
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

gpu_check() { # EXIT_CODE PATTERN ASSIGNMENT...: of a line of the table
    code=$1 pattern=$2
    shift 2
    env "$@" sh "$check" build >out 2>"$work/err"
    [ $? = "$code" ] && grep -q -e "$pattern" out
}
holds "all is well where all is" gpu_check 0 '0 failed, 0 not done'
holds "every size and architecture has a row call by call" [ "$(grep -c ' eager ' out)" = 16 ]
holds "and one as graphs" [ "$(grep -c ' graph ' out)" = 16 ]
holds "rows have their numbers" grep -q 'hardware/executed 100 %' out
holds "the sanitizer was there" grep -q 'ok      compute-sanitizer' out
holds "a failed test is a failure" gpu_check 1 'FAILED  operations agree' TESTS_EXIT=1
holds "so is a skipped one" gpu_check 1 'FAILED  operations agree.*skipped' SKIPPED=1
holds "and a pattern that no test has" gpu_check 1 'FAILED  models agree.*no test is called' TESTED=0
holds "other FLOPs than the ledger's are" gpu_check 1 'FAILED  443M dense eager: hardware' HARDWARE=90
holds "and none" gpu_check 1 'FAILED  443M dense eager: hardware' HARDWARE=
holds "attention that trains otherwise is" gpu_check 1 'FAILED  own attention' OWN=2.1
holds "bad accesses are" gpu_check 1 'FAILED  compute-sanitizer' SANITIZER_EXIT=9
began=$(date +%s)
holds "what time does not allow is not done" gpu_check 1 'NOT DONE 1.5B moe-ec graph' \
    GPU_CHECK_SECONDS=3 PROFILE_SECONDS=60
holds "and the time is kept to" [ $(($(date +%s) - began)) -lt 20 ]
holds "a machine without a GPU is told so" [ "$(DRIVER='no,none here' sh "$check" build 2>&1)" = \
    "gpu-check: no GPU: none here" ]
finish
