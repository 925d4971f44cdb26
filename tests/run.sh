#!/bin/sh
# Runs every test of one build: run.sh BUILD_FOLDER. Unit tests first, then the end-to-end scripts,
# each against the same binary. What failed is said once more at the end. Exit 1 when any failed.
set -u
build=$1
said=$build/tests/said
failures=$build/tests/failures
start=$(date +%s)
# libgomp keeps its threads until the process ends.
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt:print_suppressions=0"
export MOTBENCH="$PWD/$build/motbench"
rm -f "$failures" "$said.code"

try() { # COMMAND...
    { "$@" 2>&1 || echo "$*: exit code $?" >"$said.code"; } | tee "$said"
    [ -e "$said.code" ] || return
    cat "$said.code" >>"$failures" && rm "$said.code"
    grep -aE '^\[(----|FAIL|CRASH|ERR)|^FAILED|^ *(SUMMARY|ERROR):|runtime error:' "$said" |
        head -n 40 >>"$failures"
}

try "$build/tests/all"
for script in tests/e2e_*.sh; do
    echo "== $script"
    try sh "$script"
done
"$MOTBENCH" doctor --db /nonexistent.db 2>/dev/null |
    sed -n -e 's/ *$//' -e 's/^\(backend [a-z0-9, ]*[a-z0-9]\)  *ok .*/\1: tested/p' \
        -e 's/^backend .*  no  *\(.*\)/NOT tested: \1/p'
echo "test time: $(($(date +%s) - start)) s"
[ ! -e "$failures" ] || { echo "== failed" && cat "$failures" && exit 1; }
