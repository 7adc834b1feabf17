#!/usr/bin/env bash
# The study of examples/gpu_study.yaml and what goes with it on a machine with a GPU, in under 10
# minutes a call. Needs gpubench installed (run_all.sh does that).
#
#     tests/gpu/study.sh FOLDER [SECONDS]
#
# Leaves in FOLDER: the run directory study/, its tables, gaps.json, published_client.json, logs. The
# sweep stops after SECONDS (default 360) and goes on in the next call where it stopped, if study/ is
# still there.
set -uo pipefail
if [ $# -lt 1 ]; then
  echo "usage: tests/gpu/study.sh FOLDER [SECONDS]" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
output=$(cd "$1" && pwd)
seconds=${2:-360}
cd "$(dirname "$0")/../.."

timeout --signal=INT --kill-after=20 "$seconds" \
  gpubench sweep examples/gpu_study.yaml --output "$output/study" >"$output/sweep.log" 2>&1
case $? in
  0) sweep=finished ;;
  124 | 130) sweep="stopped after $seconds s: call again to go on" ;;
  *) sweep=failed ;;
esac
tail -n 15 "$output/sweep.log"
for format in markdown csv json; do
  gpubench report "$output/study" --format "$format" --output "$output/study.$format" || sweep=failed
done
timeout 90 python3 tests/benchmarks/gpu_gaps.py --json "$output/gaps.json" 2>&1 | tee "$output/gaps.log"
gaps=${PIPESTATUS[0]}
timeout 80 python3 tests/benchmarks/published_client.py --device cuda:0 \
  --json "$output/published_client.json" 2>&1 | tee "$output/published_client.log"
client=${PIPESTATUS[0]}
echo "sweep: $sweep; gpu_gaps: $gaps; published_client: $client"
[ "$sweep" != failed ] && [ "$gaps" = 0 ] && [ "$client" = 0 ]
