# shellcheck shell=bash
# What the scripts share: options, settings, and a `run` that a dry run only prints. Needs bash 4.4.
set -euo pipefail

WRONG_USAGE=2
GIVEN=" " # the options on the command line
ARGS=()   # its other words

# fail MESSAGE [CODE]
fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}

# The comment at the top of the script is its help.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# parse OPTIONS WORD...: sort the command line into GIVEN and ARGS. OPTIONS may stand anywhere.
parse() {
    local options=" --dry-run $1 " word
    shift
    for word in "$@"; do
        if [[ $word == --help ]]; then
            usage
            exit 0
        elif [[ -n $word && $options == *" $word "* ]]; then
            GIVEN+="$word "
        else
            ARGS+=("$word")
        fi
    done
}

given() { [[ $GIVEN == *" $1 "* ]]; }

# no_words: the script takes options only, and these were all of them.
no_words() {
    [ ${#ARGS[@]} -eq 0 ] || fail "got '${ARGS[0]}', which this script does not take; see --help" $WRONG_USAGE
}

# say MESSAGE: a line for who watches; none in a dry run, where nothing has happened.
say() { given --dry-run || printf '%s\n' "$1" >&2; }

# need SETTING PATTERN EXAMPLE: an environment variable that must match an extended regular expression.
need() {
    local value=${!1-}
    [ -n "$value" ] ||
        fail "$1 is not set; for example: export $1=$3 (settings.example.sh lists all)" $WRONG_USAGE
    [[ $value =~ ^($2)$ ]] || fail "$1: got ${value@Q}, expected something like $3" $WRONG_USAGE
}

need_slice() {
    need PROJECT '[a-z][a-z0-9.:-]*' my-project
    need ZONE '[a-z]+-[a-z]+[0-9]+-[a-z]' us-west4-a
    need NAME '[a-z]([a-z0-9-]{0,38}[a-z0-9])?' distil-16
}

need_shared() { need SHARED '/[A-Za-z0-9._/-]+' /mnt/shared; }

# need_config: the first word is a config on this machine.
need_config() {
    [ ${#ARGS[@]} -gt 0 ] || fail "which config? for example: configs/distil_whisper.yaml" $WRONG_USAGE
    [ -f "${ARGS[0]}" ] || fail "no config at ${ARGS[0]@Q} on this machine" $WRONG_USAGE
}

# show WORD...: a command as one would type it.
show() {
    local line="" word
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=@,+-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s\n' "${line# }"
}

# run WORD...: the command; in a dry run its text.
run() { if given --dry-run; then show "$@"; else "$@"; fi; }
