#!/usr/bin/env bash
# lab-candidate.sh --config FILE: Switchback in the shape that a lab of fixed listeners wants.
#
# Such a lab (peers/compare.sh BIN CONFIG) starts one program that answers on one address per
# case. A Switchback listener has no models of its own, so this starts one process per case from
# FILE, which is lab-candidate.conf with the lab's addresses filled in, and waits for them.
#
#   SWITCHBACK_BIN=target/release/switchback CAND_ROLES=plain,split,mirror,tls,h2 \
#       peers/compare.sh load-tests/compare/lab-candidate.sh load-tests/compare/lab-candidate.conf
set -euo pipefail
[ "${1:-}" = --config ] || { echo "usage: $0 --config FILE" >&2; exit 2; }
# shellcheck source=/dev/null
. "$2"
binary=${SWITCHBACK_BIN:-$(cd "$(dirname "$0")/../.." && pwd)/target/release/switchback}
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT

upstream() { echo "upstream: {url: \"http://$1\", protocol: ${2:-http1}, maxIdle: 1024, maxConnections: 4096}"; }

# start NAME ADDRESS TLS VERSIONS [MIRROR]
start() {
    cat >"$folder/$1.yaml" <<YAML
workers: $THREADS
listeners: [{name: main, address: "$2"$3}]
admin: {address: "127.0.0.1:0"}
models:
  - name: model
    versions: [$4]
${5:-}
YAML
    "$binary" serve --config "$folder/$1.yaml" >/dev/null &
}

one="{name: v1, weight: 100%, $(upstream "$A")}"
two="{name: v1, weight: 90%, $(upstream "$A")}, {name: v2, weight: 10%, $(upstream "$B")}"
start plain "$PLAIN" "" "$one"
start split "$SPLIT" "" "$two"
start mirror "$MIRROR_AT" "" "$two, {name: v3, $(upstream "$C")}" "    mirror: [{to: v3}]"
start tls "$TLS" ", tls: {certificate: \"$CERT\", key: \"$KEY\"}" "$one"
start h2 "$H2" "" "{name: v1, weight: 100%, $(upstream "$H" http2)}"
wait
