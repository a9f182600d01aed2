#!/bin/sh
# Sets up a build directory if need be and builds libraries, tool and examples in it, quietly.
# usage: build.sh DIR [SETUP OPTIONS]
set -eu
dir=$1
shift
log=$dir/build.log
mkdir -p "$dir"

quietly() {
    if ! "$@" >"$log" 2>&1; then
        grep -v '^\[[0-9]*/[0-9]*\] Compiling' "$log" >&2 || true
        echo "failed: $*" >&2
        exit 1
    fi
}

if [ ! -f "$dir/build.ninja" ]; then
    echo "Setting up $dir"
    quietly meson setup "$dir" "$@"
elif [ $# -gt 0 ]; then
    quietly meson configure "$dir" "$@"
fi
# -n: is there anything to do at all?
if ! ninja -C "$dir" -n programs | grep -q 'no work to do'; then
    echo "Building $dir"
fi
quietly ninja -C "$dir" programs
