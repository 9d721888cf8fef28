#!/usr/bin/env bash
# Mount the shared folder and install distil_jax on every host. Installing twice does no harm.
#
# usage:    install.sh [--dry-run]
# example:  tpu_scripts/install.sh
# settings: PROJECT ZONE NAME SHARED PACKAGE [FILESTORE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/slice.sh"

parse "" "$@"
no_words
need_slice
need_shared
need PACKAGE '.+' "'distil_jax[tpu] @ git+https://github.com/OWNER/distil_jax@v0.2.0'"
FILESTORE=${FILESTORE:-mounted}
need FILESTORE '[A-Za-z0-9.-]+:/[A-Za-z0-9._/-]+|mounted' 10.0.0.2:/share

copy_host_script
# Whatever the code of what failed there: 2 and 3 mean something to `resume.sh --watch`.
on_hosts all install "$FILESTORE" "$PACKAGE" || fail "installing on $NAME failed; see above" 1
