#!/bin/sh
# Sees to it that Debian packages are installed: install.sh PACKAGE...
# As root or with sudo it installs what is missing; otherwise it prints the one command that does.
set -eu

if ! command -v dpkg-query >/dev/null 2>&1; then
    exit 0 # not Debian: the compiler will say what is missing
fi
missing=
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo=sudo
else
    echo "motbench needs packages that are not installed. Run this, then make again:" >&2
    echo "    sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
