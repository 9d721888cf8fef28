#!/usr/bin/env bash
# Ask the run on every host to save and end (SIGTERM). launch.sh or resume.sh goes on with it.
#
# usage:    stop.sh [--dry-run]
# example:  tpu_scripts/stop.sh
# settings: PROJECT ZONE NAME SHARED
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/slice.sh"

parse "" "$@"
no_words
need_slice
need_shared

on_hosts all stop
