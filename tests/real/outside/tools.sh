#!/usr/bin/env bash
# Installs the Debian packages that `make conformance` can use and that are missing, where it may;
# says which are missing where it may not. Never fails: what is not there is skipped later.
set -uo pipefail

declare -A packages=([wrk]=wrk [h2load]=nghttp2-client [slowhttptest]=slowhttptest [sslscan]=sslscan)
missing=()
for tool in "${!packages[@]}"; do
  command -v "$tool" > /dev/null || missing+=("${packages[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends "${missing[@]}" > /dev/null 2>&1 ||
    { apt-get update > /dev/null 2>&1 &&
      apt-get install -y --no-install-recommends "${missing[@]}" > /dev/null 2>&1; } ||
    echo "apt-get could not install them"
else
  echo "not installed: ${missing[*]}; on Debian: apt-get install ${missing[*]}"
fi
exit 0
