#!/bin/sh
# Runs every test of one build: run.sh BUILD_FOLDER. Unit tests first, then the end-to-end scripts,
# each against the same binary. Exit 1 when any failed.
set -u
build=$1
failed=0
start=$(date +%s)
# libgomp keeps its threads until the process ends.
export LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt:print_suppressions=0"

"$build/tests/all" || failed=$((failed + 1))
export MOTBENCH="$PWD/$build/motbench"
for script in tests/e2e_*.sh; do
    echo "== $script"
    sh "$script" || failed=$((failed + 1))
done
"$MOTBENCH" doctor --db /nonexistent.db 2>/dev/null |
    sed -n -e 's/ *$//' -e 's/^\(backend [a-z0-9, ]*[a-z0-9]\)  *ok .*/\1: tested/p' \
        -e 's/^backend .*  no  *\(.*\)/NOT tested: \1/p'
echo "test time: $(($(date +%s) - start)) s"
[ "$failed" = 0 ]
