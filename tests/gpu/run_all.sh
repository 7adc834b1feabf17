#!/usr/bin/env bash
# Build, test and benchmark on a machine with a GPU and without a network, in under 9 minutes.
#
#     tests/gpu/run_all.sh FOLDER
#
# Needs Python with torch, pybind11, scikit-build-core, cmake and ninja installed. Leaves in FOLDER:
# machine.txt, a log of each step, steps.txt (which passed, in how many seconds), gpu_replay.json,
# gpu_models.json and the results of a small sweep. A step that fails or takes too long does not keep
# the next from running; the exit status is 1 if any did.
set -uo pipefail
if [ $# -ne 1 ]; then
  echo "usage: tests/gpu/run_all.sh FOLDER   (where figures and logs are to go)" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
output=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
export GPUBENCH_REQUIRE_GPU=1 PYTHONUNBUFFERED=1
: >"$output/steps.txt"
failed=0

step() { # NAME LIMIT_SECONDS COMMAND...
  local name=$1 limit=$2 began=$SECONDS status
  shift 2
  echo "== $name (at most ${limit}s): $*"
  timeout --kill-after=5 "$limit" "$@" >"$output/$name.log" 2>&1
  status=$?
  tail -n 15 "$output/$name.log"
  case $status in
    0) verdict=passed ;;
    124 | 137) verdict="took too long" ;;
    *) verdict="failed ($status)" ;;
  esac
  [ "$status" = 0 ] || failed=1
  echo "$name: $verdict, $((SECONDS - began))s" | tee -a "$output/steps.txt"
}

{
  date -u
  uname -srm
  grep -m1 "model name" /proc/cpuinfo
  echo "cores: $(nproc)"
  nvidia-smi || echo "nvidia-smi: not there, or it fails"
  python3 -c 'import platform, torch; print("python", platform.python_version(), "torch", torch.__version__, "cuda", torch.version.cuda)'
  git log -1 --format='commit %H' 2>/dev/null || echo "commit: unknown"
} >"$output/machine.txt" 2>&1
cat "$output/machine.txt"

step build 100 python3 -m pip install --no-build-isolation --no-deps .
step driver_tests 50 python3 -P -m pytest -q -p no:cacheprovider tests/gpu --ignore=tests/gpu/test_gpu_run.py
if command -v compute-sanitizer >/dev/null; then
  step sanitizer 60 compute-sanitizer --error-exitcode 1 python3 -P -m pytest -q -p no:cacheprovider \
    tests/gpu/test_gpu_driver.py
else
  echo "sanitizer: left out, compute-sanitizer is not installed" | tee -a "$output/steps.txt"
fi
step model_tests 120 python3 -P -m pytest -q -p no:cacheprovider tests/gpu/test_gpu_run.py
step benchmarks 60 python3 tests/benchmarks/gpu_replay.py --rounds 3 --json "$output/gpu_replay.json"
step model_benchmarks 80 python3 tests/benchmarks/gpu_models.py --json "$output/gpu_models.json"
step sweep 45 gpubench sweep --model resnet50,bert-base --precision fp16 --batch 1,32 \
  --device cuda:0 --warmup 500ms --duration 3s --output "$output/sweep"
step report 10 gpubench report "$output/sweep" --format markdown

echo "== in $output"
cat "$output/steps.txt"
exit "$failed"
