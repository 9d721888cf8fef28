#!/usr/bin/env bash
# Show the log of one host (0, where process 0 runs, unless told) or of all, and what comes.
#
# usage:    follow.sh [--dry-run] [WORKER | all]
# example:  tpu_scripts/follow.sh 3
# settings: PROJECT ZONE NAME SHARED
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/slice.sh"

parse "" "$@"
need_slice
need_shared
worker=${ARGS[0]:-0}
[[ ${#ARGS[@]} -le 1 && $worker =~ ^([0-9]+|all)$ ]] ||
    fail "got '${ARGS[*]}', expected the number of a worker, or all" $WRONG_USAGE

on_hosts "$worker" follow
