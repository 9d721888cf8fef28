#!/usr/bin/env bash
# Bring a run back after preemption: ask for the slice again, install, launch, with what is missing.
#
# The same command goes on where it stopped, so give the words that launch.sh got. Nothing happens
# while it runs. A run that has finished, or failed by itself, is not started again (exit 3).
# --watch looks again every 5 minutes (WATCH_SECONDS) until then.
#
# usage:    resume.sh [--dry-run] [--watch] CONFIG [KEY=VALUE ...]
# example:  tpu_scripts/resume.sh --watch configs/distil_whisper.yaml train.batch_size=1024
# settings: those of create.sh, install.sh and launch.sh
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/common.sh"
source "$here/slice.sh"
OVER=3

parse "--watch" "$@"
need_slice
need_shared
need_config
dry=()
if given --dry-run; then dry=(--dry-run); fi

# A round that fails, as when the hosts vanish while they are asked, is tried again.
watch() {
    local code
    while true; do
        code=0
        "$0" "${ARGS[@]}" || code=$?
        if [ $code -eq $OVER ] || [ $code -eq $WRONG_USAGE ]; then exit $code; fi
        sleep "${WATCH_SECONDS:-300}"
    done
}

# Whether the run goes on or is over on a slice that is there; returns where it must be launched.
look_at_run() {
    copy_host_script
    look_at_hosts idle
    case $HOSTS in
        running)
            say "distil-jax runs on $NAME"
            exit 0
            ;;
        finished) fail "The run is finished; delete.sh gives the slice back." $OVER ;;
        failed) fail "The run failed by itself: see follow.sh; launch.sh starts it again." $OVER ;;
    esac
}

if given --watch && ! given --dry-run; then watch; fi

look SUSPENDED # what a preempted request becomes
while [ "$STATE" = SUSPENDING ] || [ "$STATE" = DELETING ]; do
    sleep "$POLL_SECONDS"
    look SUSPENDED
done
case $STATE in
    ACTIVE) look_at_run ;;
    SUSPENDED | FAILED) queued delete --force --quiet ;;
esac
"$here/create.sh" "${dry[@]}"
"$here/install.sh" "${dry[@]}"
"$here/launch.sh" "${dry[@]}" "${ARGS[@]}"
