#!/usr/bin/env bash
# Ask for a TPU slice (a queued resource) and wait until it is there. Asking twice does no harm.
#
# usage:    create.sh [--dry-run]
# example:  source my_slice.sh && tpu_scripts/create.sh
# settings: PROJECT ZONE NAME ACCELERATOR [CREATE_FLAGS]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/slice.sh"

parse "" "$@"
no_words
need_slice
need ACCELERATOR '(v4|v5litepod|v5p|v6e)-[1-9][0-9]*' v5litepod-16
read -ra more_flags <<<"${CREATE_FLAGS-}"

# Software versions: docs.cloud.google.com/tpu/docs/runtimes
case $ACCELERATOR in
    v4-*) runtime=tpu-ubuntu2204-base ;;
    v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
    v5p-*) runtime=v2-alpha-tpuv5 ;;
    v6e-*) runtime=v2-alpha-tpuv6e ;;
esac

look ABSENT
if [ "$STATE" = ABSENT ]; then
    queued create --node-id="$NAME" --accelerator-type="$ACCELERATOR" \
        --runtime-version="$runtime" "${more_flags[@]}"
fi
wait_until_active
say "$NAME is ACTIVE"
