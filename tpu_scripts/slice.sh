# shellcheck shell=bash
# A slice from a queued resource: its state, and commands on its hosts. Sourced after common.sh.

POLL_SECONDS=${POLL_SECONDS:-30}

# queued VERB FLAG...: gcloud on the slice's request.
queued() {
    run gcloud compute tpus queued-resources "$1" "$NAME" \
        --project="$PROJECT" --zone="$ZONE" "${@:2}"
}

# look ASSUMED: set STATE to the request's state, ABSENT where there is no request. A dry run assumes.
# The states: docs.cloud.google.com/tpu/docs/queued-resources
look() {
    local query=(gcloud compute tpus queued-resources list --project="$PROJECT" --zone="$ZONE"
        --filter="name~/queuedResources/$NAME\$" --format="value(state.state)")
    STATE=$1
    if given --dry-run; then
        show "${query[@]}"
    else
        STATE=$("${query[@]}")
        STATE=${STATE:-ABSENT}
    fi
}

wait_until_active() {
    while true; do
        look ACTIVE
        case $STATE in
            ACTIVE) return ;;
            SUSPENDING | SUSPENDED | FAILED | DELETING | ABSENT)
                fail "$NAME is $STATE and will not become ACTIVE; resume.sh asks for it again" ;;
        esac
        say "$NAME is $STATE"
        sleep "$POLL_SECONDS"
    done
}

# copy FILE PLACE WORKER: a file of this machine to one host or to all.
copy() {
    run gcloud compute tpus tpu-vm scp "$1" "$NAME:$2" \
        --project="$PROJECT" --zone="$ZONE" --worker="$3" --quiet
}

# on_hosts WORKER VERB WORD...: a verb of host.sh on one host or on all.
on_hosts() {
    local command
    printf -v command ' %q' "${@:2}"
    run gcloud compute tpus tpu-vm ssh "$NAME" --project="$PROJECT" --zone="$ZONE" --quiet \
        --worker="$1" --command="NAME=$NAME SHARED=$SHARED bash distil-jax-host.sh$command"
}

copy_host_script() { copy "$(dirname "${BASH_SOURCE[0]}")/host.sh" distil-jax-host.sh all; }

# look_at_hosts ASSUMED: set HOSTS to the first of these that a host is: running, unready (install.sh is
# needed), failed, idle (not begun, or interrupted), finished. A dry run assumes.
look_at_hosts() {
    local answers
    HOSTS=$1
    if given --dry-run; then
        on_hosts all status
        return
    fi
    answers=$(on_hosts all status)
    for HOSTS in running unready failed idle finished; do
        [[ $answers != *"distil-jax is $HOSTS"* ]] || return 0
    done
    fail "no host of $NAME said whether distil-jax runs there; got: ${answers@Q}"
}
