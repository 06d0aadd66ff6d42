#!/bin/sh
# Builds hello world, starts its server, and runs its client until that has met the server. Exit status 0 if it was greeted.
set -eu
cd "$(dirname "$0")"
cargo build --quiet
target=${CARGO_TARGET_DIR:-target}
"$target/debug/server" &
server=$!
trap 'kill $server 2>/dev/null' EXIT
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $server # A server that could not start has said why.
    if greeting=$("$target/debug/client" 2>/dev/null); then
        echo "$greeting"
        [ "$greeting" = "Hello, world!" ]
        exit
    fi
    sleep 0.2
done
"$target/debug/client"
