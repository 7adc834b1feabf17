#!/usr/bin/env bash
# The study of examples/gpu_study.yaml and what goes with it on a machine with a GPU, in under 10
# minutes a call. Needs gpubench installed (run_all.sh does that).
#
#     tests/gpu/study.sh FOLDER [SECONDS]
#
# Leaves in FOLDER: the run directory study/, its tables, gaps.json, published_client.json, logs; and
# all of that as FOLDER.tar.gz. The sweep stops after SECONDS (default 360) and goes on in the next
# call where it stopped, if study/ is still there. GPUBENCH_STUDY names another sweep file.
set -uo pipefail
if [ $# -lt 1 ]; then
  echo "usage: tests/gpu/study.sh FOLDER [SECONDS]" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
output=$(cd "$1" && pwd)
seconds=${2:-360}
cd "$(dirname "$0")/../.."
export PYTHONUNBUFFERED=1
gpubench=(python3 -P -m gpubench.cli)
failed=""

timeout --signal=INT --kill-after=20 "$seconds" \
  "${gpubench[@]}" sweep "${GPUBENCH_STUDY:-examples/gpu_study.yaml}" --output "$output/study" \
  >"$output/sweep.log" 2>&1
case $? in
  0) sweep=finished ;;
  124 | 130 | 137) sweep="stopped after $seconds s: call again to go on" ;;
  *) sweep=failed failed="sweep" ;;
esac
for format in markdown csv json; do
  timeout 30 "${gpubench[@]}" report "$output/study" --format "$format" \
    --output "$output/study.$format" >>"$output/report.log" 2>&1 || failed="$failed report"
done
timeout --signal=INT --kill-after=5 80 python3 tests/benchmarks/gpu_gaps.py \
  --json "$output/gaps.json" >"$output/gaps.log" 2>&1 || failed="$failed gaps"
timeout --signal=INT --kill-after=5 80 python3 tests/benchmarks/published_client.py \
  --device cuda:0 --requests 200 --json "$output/published_client.json" \
  >"$output/published_client.log" 2>&1 || failed="$failed published_client"

for name in gaps published_client; do
  echo "== $name"
  tail -n 25 "$output/$name.log" | cut -c1-300
done
echo "== sweep"
tail -n 6 "$output/sweep.log" | cut -c1-300
python3 -P tests/gpu/problems.py "$output/study" 2>&1 | tee "$output/problems.txt" | tail -n 40 | cut -c1-300
tar -czf "$output.tar.gz" -C "$(dirname "$output")" "$(basename "$output")"
echo "in $output and $output.tar.gz; sweep: $sweep; failed:${failed:- nothing}"
[ -z "$failed" ]
