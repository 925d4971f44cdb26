#!/bin/sh
# Makes a Python environment with PyTorch from PyPI for bench/peer.py: peers.sh FOLDER
#
# PyPI has one wheel for Linux, built for CUDA. Its libraries do not load without those of CUDA, so
# they come too, some 6 GB in all; only triton, which makes code for GPUs, can be left out. The
# compiled rows need a C++ compiler.
set -eu
folder=$1
torch=2.8.0

if [ -e "$folder/ready-$torch" ]; then
    exit 0
fi
python3 -m venv "$folder"
"$folder/bin/pip" install -q --no-deps torch==$torch
# What it asks for itself, under the conditions of this machine.
"$folder/bin/python" - >"$folder/requirements.txt" <<'END'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for line in requires("torch"):
    r = Requirement(line)
    if r.name != "triton" and (r.marker is None or r.marker.evaluate({"extra": ""})):
        print(f"{r.name}{r.specifier}")
END
"$folder/bin/pip" install -q numpy==2.2.6 -r "$folder/requirements.txt" 2>&1 | grep -v triton >&2 || :
"$folder/bin/python" -c 'import torch; print("PyTorch", torch.__version__)'
touch "$folder/ready-$torch"
