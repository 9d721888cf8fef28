#!/usr/bin/env bash
# Start `distil-jax run CONFIG` on every host, detached. Refuses while a run is going on there.
#
# The config is copied to the shared folder, and the run works in that folder: a relative run_dir or
# path of data is relative to SHARED.
#
# usage:    launch.sh [--dry-run] CONFIG [KEY=VALUE ...]
# example:  tpu_scripts/launch.sh configs/distil_whisper.yaml train.batch_size=1024
# settings: PROJECT ZONE NAME SHARED
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/slice.sh"

parse "" "$@"
need_slice
need_shared
need_config

copy_host_script
look_at_hosts idle
case $HOSTS in
    running) fail "distil-jax runs on $NAME already. follow.sh shows it, stop.sh ends it." ;;
    unready) fail "distil_jax or the mount at $SHARED is missing on a host; run install.sh." ;;
esac

place="configs/$NAME.yaml"
copy "${ARGS[0]}" "$SHARED/$place" 0
on_hosts all launch run "$place" "${ARGS[@]:1}"
say "Started. follow.sh shows the log."
