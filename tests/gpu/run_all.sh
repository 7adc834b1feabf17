#!/usr/bin/env bash
# Builds, tests and measures on a machine with a GPU that is at hand for a short time.
#
#     tests/gpu/run_all.sh FOLDER [STEP...]
#
# It needs no network, but Python with the packages that gpubench imports, and pytest, pybind11,
# scikit-build-core, cmake and ninja. Wheels of missing packages can lie in the folder WHEELS
# (default: .whl); CONTRIBUTING.md says how to fetch them.
#
# The steps that only check run at the same time, each on its share of the cores. Then the steps that
# measure, and one that takes all memory of the GPU, run alone, the most informative ones first. On an
# H100 with 16 cores, build took 15 s, memory 15, doctor 17, models 56 and replay 25 a round. The checks
# took 90 to 165 s with 3 cores each, when formats was a part of run.
#
#     build
#     checks:  core graphs sizes precisions run formats runtimes
#     alone:   memory doctor models replay study client gaps overhead
#     checks that run only if they are named: aotinductor onnxruntime sanitizer tensorrt
#
# Leaves in FOLDER machine.txt, a log of each step, steps.txt (which passed, in how many seconds), the
# figures and the run directory study/. FOLDER.tar.gz holds all of that; it is written again after
# each step, so nothing is lost if the machine goes away. A step that fails or takes too long does not
# keep the next from running. The exit status is 1 if any did. SECONDS_IN_ALL (default 530) bounds all
# steps together, and STUDY_SECONDS (default 90) the study. A study that was stopped goes on in the next
# call, if FOLDER/study is still there.
set -uo pipefail
checks="core graphs sizes precisions run formats runtimes"
alone="memory doctor models replay study client gaps overhead"
others="aotinductor onnxruntime sanitizer tensorrt"
if [ $# -lt 1 ]; then
  echo "usage: tests/gpu/run_all.sh FOLDER [STEP...]   (FOLDER is where figures and logs go)" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
output=$(cd "$1" && pwd)
shift
wanted=" ${*:-build $checks $alone} "
for name in $wanted; do
  if [[ " build $checks $alone $others " != *" $name "* ]]; then
    echo "there is no step $name; choose of: build $checks $alone $others" >&2
    exit 2
  fi
done
in_all=${SECONDS_IN_ALL:-530}
study_seconds=${STUDY_SECONDS:-90}
cd "$(dirname "$0")/../.."
wheels=${WHEELS:-.whl}
export GPUBENCH_REQUIRE_GPU=${GPUBENCH_REQUIRE_GPU:-1} PYTHONUNBUFFERED=1
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # those of others may be there
: >"$output/steps.txt"

note() { echo "$*" | tee -a "$output/steps.txt"; }

archive() { tar -czf "$output.tar.gz" -C "$(dirname "$output")" "$(basename "$output")"; }

# Runs COMMAND, and writes its log and its line in steps.txt.
step() { # NAME LIMIT_SECONDS COMMAND...
  local name=$1 limit=$2 began=$SECONDS left=$((in_all - SECONDS)) status verdict
  shift 2
  if [ "$left" -lt 10 ]; then
    note "$name: left out, no time was left"
    return 1
  fi
  [ "$limit" -le "$left" ] || limit=$left
  # Ctrl-C first, so that a test run that is cut off says what had passed.
  timeout --signal=INT --kill-after=8 "$limit" "$@" >"$output/$name.log" 2>&1
  status=$?
  case $status in
    0) verdict=passed ;;
    124 | 130 | 137) verdict="took too long" ;;
    *) verdict="failed ($status)" ;;
  esac
  note "$name: $verdict, $((SECONDS - began))s"
  return "$status"
}

wants() { [[ $wanted == *" $1 "* ]]; }

# Several processes with a thread for each core would slow each other down by a factor of 30.
cores=($(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)))'))
wanted_checks=0
for name in $checks $others; do wants "$name" && wanted_checks=$((wanted_checks + 1)); done
share=$((${#cores[@]} / (wanted_checks > 0 ? wanted_checks : 1)))
[ "$share" -gt 0 ] || share=1
begun=0

check() { # NAME LIMIT_SECONDS COMMAND...: at the same time as the other checks
  wants "$1" || return 0
  local name=$1 limit=$2 first=$((begun * share % ${#cores[@]})) mine
  shift 2
  begun=$((begun + 1))
  mine=$(IFS=, && echo "${cores[*]:first:share}")
  step "$name" "$limit" taskset --cpu-list "$mine" "$@" &
}

run_alone() { # NAME LIMIT_SECONDS COMMAND...
  wants "$1" || return 0
  step "$@"
  tail -n "${lines:-25}" "$output/$1.log" | cut -c1-300
  archive
}

pytest=(python3 -P -m pytest -v -p no:cacheprovider --tb=short --show-capture=no --durations=5
  -o faulthandler_timeout=100)
gpubench=(python3 -P -m gpubench.cli)

# Parts of test_gpu_run.py.
first_half="every_precision or tf32 or ctrl_c or detector"
formats="channels_last or joined or python"

# A wrapper around a compiler can link libstdc++ statically. Libraries that TorchInductor compiles with
# it end the process when they are loaded beside torch.
if [ -x /usr/bin/g++ ] && [ -n "${CXX:-}" ] &&
  [ "$(readlink -f "$(command -v "$CXX")")" != "$(readlink -f /usr/bin/g++)" ]; then
  note "compiler: /usr/bin/g++ instead of $CXX"
  export CXX=/usr/bin/g++ CC=/usr/bin/gcc
fi
if compgen -G "$wheels/*.whl" >/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade \
    --target "$output.packages" "$wheels"/*.whl
fi
[ -d "$output.packages" ] && export PYTHONPATH="$output.packages${PYTHONPATH:+:$PYTHONPATH}"

{
  date -u
  uname -srm
  grep -m1 "model name" /proc/cpuinfo
  echo "cores: $(nproc)"
  nvidia-smi || echo "nvidia-smi: not there, or it fails"
  python3 -c 'import platform, torch; print("python", platform.python_version(), "torch", torch.__version__, "cuda", torch.version.cuda, "cudnn", torch.backends.cudnn.version())'
  python3 -m pip list 2>/dev/null | grep -iE '^(click|fsspec|numpy|nvidia-ml-py|pyarrow|pybind11|pydantic|pytest|pyyaml|rich|scikit-build-core|torch|torchvision|transformers|triton) '
  [ -z "${GPUBENCH_COMMIT:-}" ] || echo "commit $GPUBENCH_COMMIT"
  git log -1 --format='commit %H' 2>/dev/null || true
} >"$output/machine.txt" 2>&1
cat "$output/machine.txt"

# What gpubench imports and does not bring; without it no step can pass.
if ! python3 -c 'import click, fsspec, numpy, pyarrow, pydantic, pytest, rich, threadpoolctl, torch, torchvision, transformers, yaml'; then
  echo "a package that gpubench needs is missing: put its wheel into $wheels" >&2
  exit 2
fi

if wants build; then
  step build 120 python3 -m pip install --no-build-isolation --no-deps --no-index .
  archive
fi

check core 90 "${pytest[@]}" tests/gpu/test_gpu_driver.py tests/gpu/test_gpu_synthetic.py
check graphs 180 "${pytest[@]}" tests/gpu/test_gpu_graphs.py -k concurrent
check sizes 180 "${pytest[@]}" tests/gpu/test_gpu_graphs.py -k "not concurrent"
check precisions 180 "${pytest[@]}" tests/gpu/test_gpu_run.py -k "$first_half"
check run 180 "${pytest[@]}" tests/gpu/test_gpu_run.py -k "not ($first_half) and not ($formats) and not too_little_memory"
check formats 180 "${pytest[@]}" tests/gpu/test_gpu_run.py -k "$formats"
check runtimes 180 "${pytest[@]}" tests/gpu/test_gpu_runtimes.py -k "not aotinductor"
check aotinductor 240 "${pytest[@]}" tests/gpu/test_gpu_runtimes.py -k aotinductor
check onnxruntime 240 "${pytest[@]}" tests/gpu/test_gpu_onnxruntime.py
check tensorrt 240 "${pytest[@]}" tests/gpu/test_gpu_tensorrt.py
if wants sanitizer && command -v compute-sanitizer >/dev/null; then
  check sanitizer 90 compute-sanitizer --report-api-errors no --error-exitcode 9 \
    "${gpubench[@]}" run --model synthetic --device cuda:0 --service-time 100us --clients 4 \
    --requests 200 --warmup 0s
elif wants sanitizer; then
  note "sanitizer: left out, compute-sanitizer is not installed"
fi
wait
archive
for log in $checks $others; do
  [ -f "$output/$log.log" ] || continue
  grep -hE "^(FAILED|ERROR) |^E  |[0-9]+ (passed|failed)" "$output/$log.log" | cut -c1-300 | tail -n 20
done

run_alone memory 60 "${pytest[@]}" tests/gpu/test_gpu_run.py -k too_little_memory
run_alone doctor 30 "${gpubench[@]}" doctor --gpu
run_alone models 100 python3 tests/benchmarks/gpu_models.py --rounds 1 --json "$output/gpu_models.json"
run_alone replay 60 python3 tests/benchmarks/gpu_replay.py --rounds 2 --json "$output/gpu_replay.json"
if wants study; then
  lines=3 run_alone study "$study_seconds" "${gpubench[@]}" sweep examples/gpu_study.yaml \
    --warmup 300ms --duration 1200ms --output "$output/study"
  "${gpubench[@]}" report "$output/study" --format markdown >"$output/study.md" 2>>"$output/study.log"
  python3 -P tests/gpu/problems.py "$output/study" 2>&1 | tee "$output/problems.txt" | cut -c1-300
fi
run_alone client 60 python3 tests/benchmarks/published_client.py --device cuda:0 --requests 200 \
  --json "$output/published_client.json"
run_alone gaps 80 python3 tests/benchmarks/gpu_gaps.py --json "$output/gaps.json"
run_alone overhead 60 python3 tests/benchmarks/sweep_overhead.py --device cuda:0

archive
echo "== in $output and $output.tar.gz"
cat "$output/steps.txt"
! grep -qE ": (failed|left out, no time|took too long)" "$output/steps.txt"
