#!/bin/sh
# Builds and starts the coordinator's image with what this machine has: docker, podman or buildah.
#
#   scripts/image.sh build [TAG]   build; TAG defaults to haus:<version>
#   scripts/image.sh run [TAG]     start it as it should run, reachable on 127.0.0.1:8000 and :8088
#
# IMAGE_TOOL picks the tool; IMAGE_BUILD_ARGS is handed to its build command, such as
# '--build-arg NODE_IMAGE=…' or '--network host'. `run` is the same command that the guide shows.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
service=services/zimmer-13-api-coordinator

fail() {
  echo "image.sh: $1" >&2
  exit 1
}

works() {
  case $1 in
    docker) docker info >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# The first of its arguments that is there and answers.
pick() {
  if [ -n "${IMAGE_TOOL:-}" ]; then
    works "$IMAGE_TOOL" || fail "$IMAGE_TOOL does not answer: install or start it"
    echo "$IMAGE_TOOL"
    return
  fi
  for tool; do
    if works "$tool"; then
      echo "$tool"
      return
    fi
  done
  fail "none of $* works here: install one of them"
}

version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$root/$service/package.json")
command=${1:-}
tag=${2:-haus:$version}

case $command in
  build)
    tool=$(pick docker buildah podman)
    case $tool in
      # The docker format, since the OCI one has no place for a health check.
      buildah) set -- buildah bud --format docker ;;
      podman) set -- podman build --format docker ;;
      *) set -- docker build ;;
    esac
    revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
    # Unquoted on purpose: several arguments in one variable.
    # shellcheck disable=SC2086
    exec "$@" ${IMAGE_BUILD_ARGS:-} \
      --build-arg "HAUS_VERSION=$version" --build-arg "HAUS_REVISION=$revision" \
      --file "$root/$service/Dockerfile" --tag "$tag" "$root"
    ;;
  run)
    tool=$(pick docker podman)
    # Plaintext between the container and this machine only: the ports are published on loopback.
    exec "$tool" run --detach --name haus --read-only --cap-drop all \
      --security-opt no-new-privileges --memory 384m --stop-timeout 10 \
      --volume haus-data:/data --publish 127.0.0.1:8000:8000 --publish 127.0.0.1:8088:8088 \
      --env HAUS_ALLOW_PLAINTEXT=true "$tag"
    ;;
  *) fail "usage: scripts/image.sh build|run [TAG]" ;;
esac
