#!/bin/sh
# Checks the arrows of ARCHITECTURE.md: which folder may include which, and which libraries belong to
# which folder. Prints every line that breaks one; exit 1 when there is any.
set -u

list=$(mktemp)
trap 'rm -f "$list"' EXIT
grep -rn --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh' '^ *# *include' \
    base models workloads profiles results harness tests bench >"$list"

awk -F: '
function folder(path) {
    if (path ~ /^models\/kernels\//) return "models/kernels"
    sub(/\/.*/, "", path)
    return path
}
BEGIN {
    own = "base models models/kernels workloads profiles results harness plots tests bench"
    split(own, a, " "); for (i in a) ours[a[i]] = 1
    may["base"] = ""
    may["models/kernels"] = "base"
    may["models"] = "base models/kernels"
    may["workloads"] = "base"
    may["profiles"] = "base models/kernels"
    may["results"] = "base"
    may["harness"] = "base models models/kernels workloads profiles results plots"
    may["tests"] = "base models models/kernels workloads profiles results harness"
    may["bench"] = may["tests"]
    door["sqlite3.h"] = "results"; door["papi.h"] = "profiles"; door["sde_lib.h"] = "profiles"
    door["cupti.h"] = "profiles"
    door["cupti_profiler_host.h"] = door["cupti_range_profiler.h"] = door["cupti_target.h"] = "profiles"
    door["cuda.h"] = "models/kernels"
    door["cuda_runtime.h"] = "models/kernels"; door["cudnn_graph.h"] = "models/kernels"; door["ini.h"] = "harness"; door["hwloc.h"] = "harness"
    door["sndfile.h"] = "workloads"; door["png.h"] = "workloads"; door["jpeglib.h"] = "workloads"; door["flite/flite.h"] = "workloads"
    door["archive.h"] = door["archive_entry.h"] = "workloads"
}
{
    from = folder($1); line = $0; header = $3
    if (header ~ /"/) {
        sub(/^[^"]*"/, "", header); sub(/".*/, "", header)
        to = folder(header)
        if (!(to in ours) || header !~ /\//) { bad = bad line ": includes are written from the root\n"; next }
        if (to != from && index(" " may[from] " ", " " to " ") == 0)
            bad = bad line ": " from " may not include " to "\n"
    } else {
        sub(/^[^<]*</, "", header); sub(/>.*/, "", header)
        if (header in door && door[header] != from && from != "tests")
            bad = bad line ": only " door[header] " includes <" header ">\n"
    }
}
END { printf "%s", bad > "/dev/stderr"; exit bad != "" }
' "$list" || exit 1

# One door is narrower than its folder.
grep -E '<cu(da|dnn|blas).*>' "$list" | grep -v -e '^models/kernels/cuda/' -e '^tests/emulate/' && exit 1
# A machine without CUDA has none of its headers: what it compiles may not ask for them.
plain=$(MAKEFLAGS= make -s CUDA=0 CUDA_HOME=/nonexistent sources) || exit 1
# shellcheck disable=SC2086
grep -nE '"models/kernels/cuda/(cuda|kernels)\.h"|<cu(da|dnn|blas|pti).*>' $plain && exit 1
echo "layers: every include follows the arrows"
