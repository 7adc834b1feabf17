#!/usr/bin/env bash
# Checks an image of examples/containers by running it: tests/containers/check.sh gpubench:cpu
#
# CONTAINERS is the program that runs it, with its options ("docker"; "podman" if it is not set).
# RUN_OPTIONS are further options of its command `run`.
set -euo pipefail

image=${1:?the name of an image}
read -ra containers <<<"${CONTAINERS:-podman}"
read -ra options <<<"${RUN_OPTIONS:-}"
work=$(mktemp -d)
name=gpubench-check-$$
trap '"${containers[@]}" rm --force "$name" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
chmod 1777 "$work"

run() { "${containers[@]}" run "${options[@]}" "$@"; }
inside() { run --rm --entrypoint sh "$image" -c "$1"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

echo "-- the command, and what it prints without arguments"
run --rm "$image" --version
run --rm "$image" | grep --quiet Usage || fail "no help"

echo "-- an unprivileged user, no compiler, nothing of its own that it can change"
[ "$(inside 'id -u')" = 10001 ] || fail "the user is not 10001"
inside '! command -v gcc cc g++ clang' || fail "there is a compiler"
inside '! find / -xdev -writable -not -type l -not -path "/proc/*" -not -path "/dev/*" | grep -Ev "^(/tmp|/var/tmp|/run/lock|/home/gpubench|/data|/var/lock)(/|$)"' ||
  fail "the user may write there"

echo "-- a read-only root, with only the two folders that are written to"
writable=(--read-only --tmpfs /tmp --tmpfs /home/gpubench)
run --rm "${writable[@]}" "$image" run --model synthetic --requests 1000 --quiet --json - |
  grep --quiet '"schema"' || fail "no result"
run --rm "${writable[@]}" "$image" run --model resnet50 --requests 3 --warmup 100ms --quiet

echo "-- any user ID, a folder of the host as /data"
run --rm --user 4321:0 --volume "$work:/data" "$image" \
  run --model synthetic --requests 1000 --quiet --output results
ls "$work"/results/*.json >/dev/null || fail "no document in the folder of the host"

echo "-- SIGTERM to process 1 keeps what was measured, and the exit status says so"
run --detach --name "$name" --volume "$work:/data" "$image" \
  run --model synthetic --duration 10m --warmup 100ms --json partial.json >/dev/null
until "${containers[@]}" logs "$name" 2>&1 | grep --quiet ': measure'; do
  [ "$("${containers[@]}" inspect --format '{{.State.Running}}' "$name")" = true ] || fail "it has ended"
  sleep 0.2
done
"${containers[@]}" stop --time 30 "$name" >/dev/null
status=$("${containers[@]}" inspect --format '{{.State.ExitCode}}' "$name")
[ "$status" = 143 ] || fail "exit status $status instead of 143"
grep --quiet '"completed": *[1-9]' "$work/partial.json" || fail "no partial result"

echo "-- the health check: a renewed file, an old one"
health=$("${containers[@]}" inspect --format '{{index .Config.Healthcheck.Test 3}}' "$name")
inside "$health" || fail "unhealthy without a file"
inside "touch \$GPUBENCH_HEALTH_FILE; $health" || fail "unhealthy with a new file"
! inside "touch -d '10 minutes ago' \$GPUBENCH_HEALTH_FILE; $health" || fail "healthy with an old file"

echo "$image passed"
