#!/bin/sh
# Makes the static library that users link from the archive that the compiler's objects are in.
# usage: localise.sh LD OBJCOPY AR INTERNAL.a OUT.a
#
# All objects become one, then every hidden symbol becomes local: only what is meant to be exported
# can collide with a name of the program. The local names stay in the symbol table for debuggers,
# profilers and tracebacks.
set -eu
ld=$1 objcopy=$2 ar=$3 in=$4 out=$5
object=$out.d/loam.o
mkdir -p "$out.d"
rm -f "$out" "$object"
"$ld" -r --whole-archive "$in" -o "$object"
"$objcopy" --localize-hidden "$object"
"$ar" rcsD "$out" "$object"
rm -r "$out.d"
