#!/usr/bin/env bash
# The same on GKE, by xpk (pip install xpk). Preempted workloads start again by themselves.
#
# usage:    gke.sh [--dry-run] VERB
#   create                    a cluster with one slice, and the Filestore instance mounted in it
#   image                     build and push IMAGE from this repository
#   launch CONFIG [KEY=VALUE ...]   relative paths are relative to SHARED
#   list                      the cluster's workloads
#   follow                    the log of process 0
#   stop                      end the workload; launch goes on with it
#   delete --yes              give the cluster back
# example:  tpu_scripts/gke.sh launch configs/distil_whisper.yaml train.batch_size=1024
# settings: PROJECT ZONE NAME ACCELERATOR CLUSTER SHARED INSTANCE IMAGE [CREATE_FLAGS]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
repository=$(dirname "${BASH_SOURCE[0]}")/..

parse "--yes" "$@"
verb=${ARGS[0]:-nothing}
ARGS=("${ARGS[@]:1}")
[[ $verb == launch ]] || no_words
need_slice
need_shared
need CLUSTER '[a-z]([a-z0-9-]{0,38}[a-z0-9])?' distil
need ACCELERATOR '(v4|v5litepod|v5p|v6e|tpu7x)-[1-9][0-9]*' v5litepod-16

# on_cluster GROUP VERB WORD...: xpk on our cluster.
on_cluster() {
    run xpk "$1" "$2" --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE" "${@:3}"
}

create() {
    need INSTANCE '[a-z][a-z0-9-]*' distil-files
    read -ra more_flags <<<"${CREATE_FLAGS-}"
    on_cluster cluster create --tpu-type="$ACCELERATOR" --enable-gcpfilestore-csi-driver \
        "${more_flags[@]}"
    on_cluster storage attach "$INSTANCE" --type=gcpfilestore --mount-point="$SHARED" \
        --readonly=false --auto-mount=true
}

need_image() { need IMAGE '[a-z0-9][A-Za-z0-9._/:-]*' us-docker.pkg.dev/my-project/distil/distil_jax:v1; }

image() {
    need_image
    run docker build --platform=linux/amd64 --file="$repository/tpu_scripts/Dockerfile" \
        --tag="$IMAGE" "$repository"
    run docker push "$IMAGE"
}

# xpk lays the config's folder over the image, as /app. It starts again what a signal ended (SIGTERM, or
# jax's abort when another host vanishes), and not what failed by itself, with 1 or 2.
launch() {
    local words
    need_image
    need_config
    printf -v words ' %q' "/app/$(basename "${ARGS[0]}")" "${ARGS[@]:1}"
    on_cluster workload create --workload="$NAME" --tpu-type="$ACCELERATOR" \
        --base-docker-image="$IMAGE" --script-dir="$(dirname "${ARGS[0]}")" --max-restarts=100 \
        --command="cd $SHARED && exec distil-jax run$words"
}

follow() {
    run kubectl logs --follow --tail=100 \
        --selector="xpk.google.com/workload=$NAME,batch.kubernetes.io/job-completion-index=0"
}

delete() {
    given --yes || given --dry-run ||
        fail "This deletes the cluster $CLUSTER in $ZONE of $PROJECT. If that is meant, say --yes." $WRONG_USAGE
    on_cluster cluster delete --force
}

case $verb in
    create | image | launch | follow | delete) "$verb" ;;
    list) on_cluster workload list ;;
    stop) on_cluster workload delete --workload="$NAME" --force ;;
    *) fail "got '$verb', expected create, image, launch, list, follow, stop or delete" $WRONG_USAGE ;;
esac
