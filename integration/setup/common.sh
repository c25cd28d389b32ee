# shellcheck shell=bash
# What the set-up commands share: where things are kept, one line for each step, one lock for
# each thing that is built, and building under a partial name. Sourced, never run.
#
# Always true: nothing under the cache has its final name before it is complete; a killed run
# leaves at most a folder `.partial-…`, which the next run removes; output goes to standard
# error, and only when that is a terminal or something is wrong.

set -euo pipefail

setup_name=${0##*/}
cache=${TOKEN_BASTION_CACHE:-/var/cache/token-bastion-integration}

# fail CODE MESSAGE…: one message, what to do included.
fail() {
    local code=$1
    shift
    clear_line
    printf '%s: %s\n' "$setup_name" "$*" >&2
    exit "$code"
}

on_terminal() { [[ -t 2 ]]; }
clear_line() { if on_terminal; then printf '\r\033[K' >&2; fi; }

# step MESSAGE…: what is done now; ended by `done_step`.
step_started=0
step_text=
step() {
    step_text=$*
    step_started=$SECONDS
    if on_terminal; then printf '%s …' "$step_text" >&2; fi
}
done_step() {
    if on_terminal; then
        clear_line
        printf '%s: done in %d s\n' "$step_text" $((SECONDS - step_started)) >&2
    fi
}

# logged LOG COMMAND…: runs it with its output in LOG, the latest line of which is shown after
# the step's text on a terminal. On failure the log's end is printed. On SIGINT, SIGTERM or SIGHUP
# the command is killed first; `unbroken=1 logged …` waits for its end instead.
logged() {
    local log=$1 code=0 stop=
    shift
    # In the background, since bash looks after signals only between commands in the foreground.
    "$@" </dev/null >>"$log" 2>&1 &
    local child=$!
    trap 'stop=1' INT TERM HUP
    while kill -0 "$child" 2>/dev/null; do
        if [[ -n $stop && -z ${unbroken-} ]]; then
            # Its children: of `unshare` that is the first process inside, with which all others go.
            xargs --no-run-if-empty kill -KILL <"/proc/$child/task/$child/children" 2>/dev/null || true
        fi
        if on_terminal; then show_progress "$log"; fi
        sleep 0.2 || true
    done
    wait "$child" 2>/dev/null || code=$?
    trap - INT TERM HUP
    if [[ -n $stop ]]; then
        fail 130 "interrupted. Nothing half made is in use; the next run does this step anew"
    fi
    if ((code != 0)); then
        clear_line
        printf '%s: failed at: %s (exit code %d). The end of its output:\n' "$setup_name" "$step_text" "$code" >&2
        tail -n 25 "$log" >&2 || true
        exit 1
    fi
}

show_progress() {
    local line
    line=$(tail -n 1 "$1" 2>/dev/null || true)
    line="$step_text … ${line//[^[:print:]]/ }"
    printf '\r\033[K%s' "${line:0:columns-1}" >&2
}
columns=$(tput cols 2>/dev/null || true)
if [[ -z $columns ]]; then columns=80; fi

need_root() {
    [[ $(id -u) == 0 ]] || fail 2 "must run as root (it makes mounts and a root file system): try sudo integration/setup/$setup_name"
}

# lock NAME: holds the lock until this process and all its children end.
lock() {
    mkdir -p "$cache"
    exec 9>>"$cache/.lock-$1"
    if ! flock --nonblock 9; then
        printf '%s: waiting for another run that is setting up the same\n' "$setup_name" >&2
        flock 9
    fi
}

# remove_tree FOLDER: also when a mount was left in it; never reaches through one.
remove_tree() {
    local tree=$1 mounted
    [[ -e $tree ]] || return 0
    while mounted=$(awk -v tree="$tree/" 'index($5, tree) == 1 { last = $5 } END { print last }' /proc/self/mountinfo) && [[ -n $mounted ]]; do
        umount --lazy -- "$(printf '%b' "${mounted//\\/\\0}")" || fail 1 "cannot unmount $mounted, which an earlier run left: unmount it, then try again"
    done
    rm -rf --one-file-system -- "$tree"
}

# remove_partials: what killed runs left half made of this thing (call with its lock held).
remove_partials() {
    local left
    for left in "$cache/.partial-$1-"*; do
        if [[ -e $left ]]; then remove_tree "$left"; fi
    done
}
