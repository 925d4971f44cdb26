#!/bin/sh
# make demo: runs workloads/demo.ini, compares, plots. An interrupted demo goes on where it stopped.
set -eu
motbench=$1
out=demo
mkdir -p "$out"
start=$(date +%s)

"$motbench" run workloads/demo.ini --db "$out/motbench.db" --resume
echo
"$motbench" cmp --db "$out/motbench.db"
for type in svg png; do
    "$motbench" plot curves --db "$out/motbench.db" -o "$out/curves.$type"
done

cat <<END

What ran: workloads/demo.ini, in $(($(date +%s) - start)) s. Where it is now:
    $out/curves.svg, $out/curves.png   the loss curves
    $out/motbench.db                   every measurement (sqlite3 $out/motbench.db 'SELECT * FROM v_run')
One seed at this size decides nothing about the architectures. The workload that would:
    $motbench run workloads/chameleon.ini     (three seeds, a larger model, 20 minutes on two cores)
END
