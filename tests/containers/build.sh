#!/usr/bin/env bash
# Builds an image of examples/containers where no registry can be reached, and checks it:
#
#   tests/containers/build.sh cpu
#   tests/containers/build.sh cuda
#
# The base image is made from the packages of the distribution: Debian 12 with its Python 3.11 in place of
# python:3.12-slim, and Ubuntu 24.04 in place of nvidia/cuda. Further arguments are given to buildah, for
# example `--volume /etc/pip.conf:/etc/pip.conf:ro`.
#
# Needs root, the Debian packages buildah, podman and mmdebstrap, 25 GB of free disk and about 10 minutes,
# so .ci/run leaves it out. UBUNTU_KEYRING is the file of Ubuntu's keys, if Debian has none.
set -euo pipefail
cd "$(dirname "$0")/../.."

kind=${1:?cpu or cuda}
shift
image=gpubench:$kind
base=gpubench-base:$kind
case $kind in
  cpu) root=(--include=ca-certificates,python3-dev,python3-venv bookworm) ;;
  cuda)
    root=(--include=apt,ca-certificates --components=main,universe noble)
    keyring=${UBUNTU_KEYRING:-/usr/share/keyrings/ubuntu-archive-keyring.gpg}
    ;;
  *) echo "$kind: cpu or cuda" >&2; exit 2 ;;
esac

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mmdebstrap --variant=minbase ${keyring:+--keyring="$keyring"} "${root[@]}" "$work/root.tar"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$work/root.tar" / >/dev/null
  buildah commit --quiet --rm "$container" "$base" >/dev/null
fi

# Only Docker's format of an image has HEALTHCHECK.
buildah build --isolation chroot --format docker --layers --build-arg "BASE=localhost/$base" \
  --file "examples/containers/$kind.Dockerfile" --tag "$image" "$@" .
podman history --format '{{.Size}}  {{.CreatedBy}}' "$image" | grep -v '^0 B'
echo "$image was built in $SECONDS s"

tests/containers/check.sh "$image"
