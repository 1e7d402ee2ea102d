#!/usr/bin/env bash
# The Node.js client's own steps: `ci.sh build` installs what is needed and compiles; `ci.sh test` runs its tests as well, on the
# machine's Node.js and on a newer one from npm; `ci.sh bench` prints the table of costs on both. Nothing is written outside this folder.
set -euo pipefail
cd "$(dirname "$0")"
newer="${METLOG_NEWER_NODE:-22}"

fetch() { npm install --silent --no-audit --no-fund --no-save --no-package-lock "$@"; }

build() {
    [ -x node_modules/.bin/tsc ] && [ node_modules -nt package.json ] || { fetch && touch node_modules; }
    node_modules/.bin/tsc
}

nodes() {
    echo node
    local folder=".nodes/$newer"
    [ -x "$folder/node_modules/node/bin/node" ] || { mkdir -p "$folder" && fetch --prefix "$folder" "node@$newer" >&2; }
    echo "$folder/node_modules/node/bin/node"
}

case "${1:-test}" in
    build) build ;;
    nodes) nodes ;;
    test)
        build
        for each in $(nodes); do
            echo "Node.js $("$each" --version)"
            "$each" --test --test-reporter=dot test/*.test.mjs
        done
        ;;
    bench)
        build
        for each in $(nodes); do "$each" --expose-gc bench/bench.mjs "${@:2}"; done
        ;;
    *) echo "ci.sh build, nodes, test or bench" >&2; exit 2 ;;
esac
