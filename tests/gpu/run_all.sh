#!/usr/bin/env bash
# Build, test and benchmark on a machine with a GPU and without a network, in under 9 minutes.
#
#     tests/gpu/run_all.sh FOLDER [STEP...]
#
# Needs Python with what gpubench imports, and pytest, pybind11, scikit-build-core, cmake and ninja.
# Leaves in FOLDER machine.txt, a log of each step, steps.txt (which passed, in how many seconds) and
# the figures; and all of that as FOLDER.tar.gz. A step that fails or takes too long does not keep the
# next from running; the exit status is 1 if any did. SECONDS_IN_ALL (default 530) bounds them
# together. Steps, all but the last by default:
#
#     build driver synthetic doctor graphs run replay models runtimes sweep sanitizer tensorrt
set -uo pipefail
all="build driver synthetic doctor graphs run replay models runtimes sweep sanitizer"
if [ $# -lt 1 ]; then
  echo "usage: tests/gpu/run_all.sh FOLDER [STEP...]   (FOLDER is where figures and logs go)" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
output=$(cd "$1" && pwd)
shift
wanted=" ${*:-$all} "
for name in $wanted; do
  if [[ " $all tensorrt " != *" $name "* ]]; then
    echo "there is no step $name; choose of: $all tensorrt" >&2
    exit 2
  fi
done
in_all=${SECONDS_IN_ALL:-530}
cd "$(dirname "$0")/../.."
export GPUBENCH_REQUIRE_GPU=${GPUBENCH_REQUIRE_GPU:-1} PYTHONUNBUFFERED=1
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # those of others may be there
: >"$output/steps.txt"
failed=""

note() { echo "$*" | tee -a "$output/steps.txt"; }

step() { # NAME LIMIT_SECONDS COMMAND...
  local name=$1 limit=$2 began=$SECONDS left=$((in_all - SECONDS)) status verdict
  shift 2
  [[ $wanted == *" $name "* ]] || return 0
  if [ "$left" -lt 10 ]; then
    failed="$failed $name"
    note "$name: left out, no time was left"
    return 0
  fi
  [ "$limit" -le "$left" ] || limit=$left
  echo "== $name (at most ${limit}s): $*"
  # Ctrl-C first, so that a test run that is cut off says what had passed.
  timeout --signal=INT --kill-after=8 "$limit" "$@" >"$output/$name.log" 2>&1
  status=$?
  case $status in
    0) verdict=passed ;;
    124 | 137) verdict="took too long" ;;
    *) verdict="failed ($status)" ;;
  esac
  [ "$status" = 0 ] || failed="$failed $name"
  tail -n 4 "$output/$name.log" | cut -c1-300
  note "$name: $verdict, $((SECONDS - began))s"
}

tests() { # NAME LIMIT_SECONDS: tests/gpu/test_gpu_NAME.py
  step "$1" "$2" python3 -P -m pytest -v -p no:cacheprovider --tb=short --show-capture=no \
    -o faulthandler_timeout=60 "tests/gpu/test_gpu_$1.py"
}

gpubench=(python3 -P -m gpubench.cli)

{
  date -u
  uname -srm
  grep -m1 "model name" /proc/cpuinfo
  echo "cores: $(nproc)"
  nvidia-smi || echo "nvidia-smi: not there, or it fails"
  python3 -c 'import platform, torch; print("python", platform.python_version(), "torch", torch.__version__, "cuda", torch.version.cuda, "cudnn", torch.backends.cudnn.version())'
  python3 -m pip list 2>/dev/null | grep -iE '^(click|fsspec|numpy|nvidia-ml-py|pyarrow|pybind11|pydantic|pytest|pyyaml|rich|scikit-build-core|torch|torchvision|transformers|triton) '
  git log -1 --format='commit %H' 2>/dev/null || echo "commit: unknown"
} >"$output/machine.txt" 2>&1
cat "$output/machine.txt"

# What gpubench imports and does not bring; without it no step can pass.
if ! python3 -c 'import click, fsspec, numpy, pyarrow, pydantic, pytest, rich, torch, torchvision, transformers, yaml'; then
  echo "a package that gpubench needs is missing: bring it as a wheel" >&2
  exit 2
fi

step build 120 python3 -m pip install --no-build-isolation --no-deps --no-index .
tests driver 40
tests synthetic 60
step doctor 30 "${gpubench[@]}" doctor --gpu
tests graphs 110
tests run 200
step replay 80 python3 tests/benchmarks/gpu_replay.py --rounds 3 --json "$output/gpu_replay.json"
step models 130 python3 tests/benchmarks/gpu_models.py --rounds 2 --json "$output/gpu_models.json"
tests runtimes 200
step sweep 60 "${gpubench[@]}" sweep --model resnet50,bert-base --precision fp16 --batch 1,32 \
  --device cuda:0 --warmup 500ms --duration 3s --output "$output/sweep"
if [ -d "$output/sweep" ]; then
  "${gpubench[@]}" report "$output/sweep" --format markdown >"$output/sweep.md" 2>&1 ||
    failed="$failed report"
  python3 -P tests/gpu/problems.py "$output/sweep" 2>&1 | tee "$output/problems.txt" | cut -c1-300
fi

if command -v compute-sanitizer >/dev/null; then
  step sanitizer 60 compute-sanitizer --report-api-errors no --error-exitcode 9 \
    "${gpubench[@]}" run --model synthetic --device cuda:0 --service-time 100us --clients 4 \
    --requests 200 --warmup 0s
elif [[ $wanted == *" sanitizer "* ]]; then
  note "sanitizer: left out, compute-sanitizer is not installed"
fi
tests tensorrt 150

# What a reader of the last lines wants to know.
for name in $failed; do
  [ -f "$output/$name.log" ] || continue
  echo "== $name failed:"
  if grep -qE "^(FAILED|ERROR) " "$output/$name.log"; then
    grep -E "^(FAILED|ERROR) |^E  " "$output/$name.log" | cut -c1-400 | tail -n 30
  else
    tail -n 12 "$output/$name.log" | cut -c1-400
  fi
done
tar -czf "$output.tar.gz" -C "$(dirname "$output")" "$(basename "$output")"
echo "== in $output and $output.tar.gz"
cat "$output/steps.txt"
[ -z "$failed" ]
