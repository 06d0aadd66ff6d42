#!/usr/bin/env bash
# What a null call costs, in instructions of user code: both ends in one process, 64 in flight. It does not depend on the machine's speed
# or on what else it does, and moves by less than one in a hundred from run to run.
#   benches/instructions.sh                 prints the figure, and fails where it is more than benches/instructions.txt allows
#   benches/instructions.sh --keep          writes it there
#   benches/instructions.sh --profile [N]   prints the N functions that take the most, with what they call (default 40)
# PEER=floor, IN_FLIGHT=1 measure another peer of the benchmark, or fewer calls in flight, OBJECTS=1 an object that is made, called and dropped in the place of a
# call; those are only printed. FEATURES=peers builds more peers.
set -euo pipefail
cd "$(dirname "$0")/.."

peer=${PEER:-ours}
in_flight=${IN_FLIGHT:-64}
objects=${OBJECTS:+--objects}
what=${OBJECTS:+cycle}
kept=benches/instructions.txt
margin_percent=5
few=2048
many=12288

command -v valgrind >/dev/null || { echo "valgrind is missing: this counts with its callgrind" >&2; exit 1; }
cargo build --quiet --release --manifest-path benches/Cargo.toml --bin bench --features "${FEATURES:-}"
bench=${CARGO_TARGET_DIR:-benches/target}/release/bench
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions of a whole run with so many calls. What start and end take stands in both, and in no difference.
instructions() {
  valgrind --tool=callgrind --callgrind-out-file="$scratch/$1" \
    "$bench" solo "$peer" --calls "$1" --in-flight "$in_flight" $objects >"$scratch/out" 2>&1 || { cat "$scratch/out" >&2; exit 1; }
  sed -n 's/^summary: \([0-9]*\).*/\1/p; s/^totals: \([0-9]*\).*/\1/p' "$scratch/$1" | head -1
}
fewer=$(instructions "$few")
more=$(instructions "$many")
each=$(((more - fewer) / (many - few)))
echo "$each instructions a ${what:-call}: $peer, $in_flight in flight, both ends"

case "${1:-}" in
  --keep) echo "$each" >"$kept" ;;
  --profile) callgrind_annotate --inclusive=yes --threshold=100 "$scratch/$many" | sed -n "1,$((${2:-40} + 20))p" ;;
  *)
    [ "$peer $in_flight$objects" = "ours 64" ] || exit 0
    most=$(($(cat "$kept") * (100 + margin_percent) / 100))
    if [ "$each" -gt "$most" ]; then
      echo "FAILED: more than $most, which is $margin_percent % beyond the $(cat "$kept") of $kept. Where it is worth it: $0 --keep" >&2
      exit 1
    fi
    ;;
esac
