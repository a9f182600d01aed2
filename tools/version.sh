#!/bin/sh
# Prints the version as MAJOR.MINOR.PATCH. include/loam/version.h is the one place where it is
# written; meson.build, the soname, loam.pc and the gates read it through this script.
set -eu
header=$(dirname "$0")/../include/loam/version.h
part() {
    sed -n "s/^#define LOAM_VERSION_$1 \([0-9][0-9]*\)\$/\1/p" "$header"
}
version=$(part MAJOR).$(part MINOR).$(part PATCH)
case $version in
.* | *..* | *.)
    echo "version.sh: no complete version in $header" >&2
    exit 1
    ;;
esac
echo "$version"
