#!/bin/sh
# Installs in an image, by apt, those of the named packages that it does not hold yet; without the network when
# it holds them all. `nodejs` and `npm` count as there when the commands are, however they came.
set -eu
missing=
for package in "$@"; do
  case $package in
    nodejs) command -v node >/dev/null && continue ;;
    npm) command -v npm >/dev/null && continue ;;
  esac
  dpkg-query --status "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # the list is meant to be split
apt-get install -qq -y --no-install-recommends $missing
rm -rf /var/lib/apt/lists/*
