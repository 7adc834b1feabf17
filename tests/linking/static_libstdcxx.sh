#!/usr/bin/env bash
# Builds the wheel with libstdc++ linked statically, as some toolchains do, and uses it beside NumPy and
# torch, which bring a shared libstdc++. The two must not mix: the module exports its entry point and
# nothing else. Run it with the Python whose packages are to be used on the path.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without optimisation, which compiles in half the time and leaves more functions to be exported.
LDFLAGS=-static-libstdc++ pip wheel --quiet --no-deps --wheel-dir "$work" \
  --config-settings=cmake.build-type=Debug "$@" .
python -m zipfile -e "$work"/*.whl "$work/installed"
module=$(echo "$work"/installed/gpubench/_core*.so)

if ldd "$module" | grep libstdc++; then
  echo "$module is not linked statically with libstdc++" >&2
  exit 1
fi
exported=$(nm -D --defined-only "$module" | awk '{print $NF}')
if [ "$exported" != PyInit__core ]; then
  echo "$module exports more than PyInit__core:" >&2
  echo "$exported" >&2
  exit 1
fi
echo "exports: $exported"

export PYTHONPATH=$work/installed
python -P - <<'END'
import numpy, torch  # noqa: F401  before the core: their libstdc++ is the one that is loaded first
import pathlib, sys

import pytest
from gpubench import core

module = pathlib.Path(sys.modules["gpubench._core"].__file__)
assert str(module).startswith(sys.path[0]), f"{module} is not the module under test"
tests = ["test_core_runner.py", "test_core_sources.py"]
found = [str(path) for name in tests for path in sorted(pathlib.Path("tests/python").rglob(name))]
assert len(found) == len(tests), f"of {tests} only {found} were found"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *found]))
END
