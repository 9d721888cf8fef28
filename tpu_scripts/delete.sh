#!/usr/bin/env bash
# Give the slice back, with its request and everything on its disks. The shared folder stays.
#
# usage:    delete.sh [--dry-run] --yes
# example:  tpu_scripts/stop.sh && tpu_scripts/delete.sh --yes
# settings: PROJECT ZONE NAME
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/slice.sh"

parse "--yes" "$@"
no_words
need_slice
given --yes || given --dry-run ||
    fail "This deletes $NAME in $ZONE of $PROJECT. If that is meant, say --yes." $WRONG_USAGE

queued delete --force --quiet
