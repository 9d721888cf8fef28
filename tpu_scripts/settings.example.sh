# shellcheck shell=bash
# Settings of all scripts here. Copy this file, change it, and read it in: source my_slice.sh

export PROJECT=my-project         # Google Cloud project that pays
export ZONE=us-west4-a            # where your quota is
export NAME=distil-16             # the slice, its request and its folder of logs
export ACCELERATOR=v5litepod-16   # README.md has the table
export CREATE_FLAGS=--spot        # more flags for `gcloud ... create`, separated by spaces; may be empty
export PACKAGE='distil_jax[tpu] @ git+https://github.com/OWNER/distil_jax@v0.2.0' # what uv installs
export FILESTORE=10.0.0.2:/share  # NFS share that all hosts mount; empty: SHARED is mounted already
export SHARED=/mnt/shared         # where; every run_dir lies below it

# Only for gke.sh
export CLUSTER=distil             # the GKE cluster
export INSTANCE=distil-files      # the Filestore instance by name
export IMAGE=us-docker.pkg.dev/my-project/distil/distil_jax:v1 # made of the Dockerfile here
