#!/usr/bin/env bash
# `distil-jax run CONFIG` on the GPUs of a Slurm cluster, one process a GPU.
#
# Set nodes and GPUs below, or on sbatch's command line. ntasks-per-node must equal gpus-per-node:
# JAX gives process i of a node the i-th GPU it sees, so that every process must see them all (no
# --gpus-per-task). Two minutes before the time is up Slurm sends SIGTERM, the run saves, and the
# job goes back into the queue.
#
# usage:    sbatch [SBATCH_OPTION ...] slurm_gpu.sh [--dry-run] CONFIG [KEY=VALUE ...]
# example:  VENV=$PWD/.venv sbatch --nodes=4 tpu_scripts/slurm_gpu.sh configs/distil_whisper.yaml
# settings: VENV, where distil_jax[cuda] is installed, on a disk that all nodes see; run_dir too
#           must lie on one

#SBATCH --job-name=distil-jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=distil-jax-%j.log

# Slurm runs a copy of this file from elsewhere: it cannot read common.sh.
set -euo pipefail
fail() {
    printf '%s\n' "$1" >&2
    exit 2
}

dry_run="" words=()
for word in "$@"; do
    case $word in
        --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" && exit 0 ;;
        --dry-run) dry_run=yes ;;
        *) words+=("$word") ;;
    esac
done
[ ${#words[@]} -gt 0 ] || fail "which config? for example: sbatch $0 configs/distil_whisper.yaml"
[ -f "${words[0]}" ] || fail "no config at ${words[0]@Q}"
[ -n "${VENV-}" ] || fail "VENV is not set; for example: export VENV=\$PWD/.venv"

command=(srun --kill-on-bad-exit=1 --label --gpu-bind=none --cpus-per-task="${SLURM_CPUS_PER_TASK:-8}"
    "$VENV/bin/distil-jax" run "${words[@]}")
if [ -n "$dry_run" ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
[ -x "$VENV/bin/distil-jax" ] || fail "no distil-jax in $VENV/bin; pip install 'distil_jax[cuda]' there"
[ -n "${SLURM_JOB_ID-}" ] || fail "this is not a Slurm job; start it with sbatch $0 ${words[0]}"

code=0
"${command[@]}" || code=$?
# What SIGTERM ended goes on later: the same command goes on where it stopped.
case $code in 130 | 143) scontrol requeue "$SLURM_JOB_ID" ;; esac
exit $code
