#!/bin/sh
# Installs what is missing of tools/packages.txt. usage: install.sh run|check
#
# Says nothing if all is there. As root it calls apt-get itself; otherwise through sudo, whose
# question for the password stays visible; without sudo it prints the line to type and exits 1.
# "run" takes the packages marked run, "check" all.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
want=$1
log=${TMPDIR:-/tmp}/loam-install.$$.log

missing=
while read -r package for probe _; do
    case $package in '' | '#'*) continue ;; esac
    [ "$for" = run ] || [ "$want" = check ] || continue
    case $probe in
    cmd:*) command -v "${probe#cmd:}" >/dev/null 2>&1 && continue ;;
    file:*) [ -e "${probe#file:}" ] && continue ;;
    *)
        echo "install.sh: $package: unknown probe $probe" >&2
        exit 1
        ;;
    esac
    missing="$missing $package"
done <"$here/packages.txt"
missing=${missing# }
[ -n "$missing" ] || exit 0

line="apt-get update && apt-get install -y --no-install-recommends $missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing, by their Debian names: $missing" >&2
    echo "Install them with your system's package manager, then run this again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null 2>&1; then
    root=sudo
else
    echo "Some packages are missing. As root, type:" >&2
    echo "    $line" >&2
    exit 1
fi

apt() {
    # Standard error stays where it is for sudo's question; apt-get itself writes to the log.
    # shellcheck disable=SC2016,SC2086
    $root sh -c 'DEBIAN_FRONTEND=noninteractive exec apt-get -y -qq -o Dpkg::Use-Pty=0 "$@" 2>&1' \
        apt "$@" >>"$log"
}
failed() {
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "Could not install the missing packages. As root, type:" >&2
    echo "    $line" >&2
    exit 1
}

echo "Installing: $missing"
: >"$log"
# The question for the password comes here, once; a refusal ends it.
[ -z "$root" ] || $root true || failed
# The package lists may be absent (a fresh system) or too old to fetch from: update, try again.
# shellcheck disable=SC2086
if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 ||
    ! apt install --no-install-recommends $missing; then
    apt update || failed
    apt install --no-install-recommends $missing || failed
fi
rm -f "$log"
