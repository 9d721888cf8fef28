#!/usr/bin/env bash
# What happens on a TPU host. The other scripts copy this file there and call it over ssh.
#
# usage:    NAME=... SHARED=... bash host.sh install FILESTORE PACKAGE | launch VERB WORD... | status |
#           stop | follow
set -euo pipefail

home=$HOME/distil-jax
program=$home/venv/bin/distil-jax
log=$SHARED/logs/$NAME/$(hostname).log
lock=$home/run.lock # held by the run as long as one of its processes lives
mkdir -p "$home"

fail() {
    printf '%s: %s\n' "$(hostname)" "$1" >&2
    exit 1
}

mount_shared() { # FILESTORE
    if [ "$1" = mounted ] || mountpoint -q "$SHARED"; then return; fi
    sudo apt-get -q -y -o DPkg::Lock::Timeout=300 install nfs-common # a new VM updates itself
    sudo mkdir -p "$SHARED"
    sudo mount -t nfs -o hard "$1" "$SHARED"
}

# Ubuntu 22.04, the system of TPU VMs, has Python 3.10; distil_jax needs 3.11, and uv brings it.
install() { # FILESTORE PACKAGE
    mount_shared "$1"
    mountpoint -q "$SHARED" ||
        fail "nothing is mounted at $SHARED, and a run needs a folder that all hosts share"
    [ -w "$SHARED" ] || sudo chown "$(id -u)" "$SHARED"
    mkdir -p "$SHARED/configs" "$(dirname "$log")"
    PATH=$HOME/.local/bin:$PATH
    command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
    uv venv --quiet --allow-existing --python 3.11 "$home/venv"
    uv pip install --quiet --python "$home/venv/bin/python" "$2"
}

running() { ! flock --nonblock "$lock" true; }

# An exit code of 128 and more is a signal's: the run was interrupted, as where there is none. The
# command exits with 143 when it was asked to stop; jax aborts it (134) when another host vanishes.
status() {
    local code=""
    [ ! -e "$home/run.exit" ] || code=$(<"$home/run.exit")
    if running; then
        echo "distil-jax is running"
    elif ! mountpoint -q "$SHARED" || [ ! -x "$program" ]; then
        echo "distil-jax is unready"
    elif [ -z "$code" ] || [ "$code" -ge 128 ]; then
        echo "distil-jax is idle"
    elif [ "$code" -eq 0 ]; then
        echo "distil-jax is finished"
    else
        echo "distil-jax is failed"
    fi
}

launch() { # VERB WORD...
    ! running || fail "distil-jax runs already"
    rm -f "$home/run.exit"
    cd "$SHARED"
    # A process group of its own: it outlives the ssh connection, and `stop` reaches all of it.
    # shellcheck disable=SC2016 # the inner shell expands these
    setsid flock --nonblock "$lock" bash -c 'code=0; "$@" || code=$?; echo $code >"$0"' \
        "$home/run.exit" "$program" "$@" >>"$log" 2>&1 </dev/null &
    echo $! >"$home/run.group"
}

stop() {
    running || return 0
    kill -TERM -- "-$(<"$home/run.group")"
}

follow() { tail -n 100 -F "$log"; }

case $1 in
    install | launch | status | stop | follow) "$@" ;;
    *) fail "got '$1', expected install, launch, status, stop or follow" ;;
esac
