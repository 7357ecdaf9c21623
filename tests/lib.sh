# Shared by the end-to-end scripts: a deployment in a temporary directory that is taken down whatever happens. Only
# what a script started itself is ever signalled, by pid and start time.
#
#   . "$(dirname "$0")/../lib.sh"
#   up                                   # makes and mounts $DIR with small stores and pads in memory
#   check 'what must hold' command...    # fails the script when the command fails
#   pass                                 # last line
#
# WARIFU names the program (ctest sets it; the default is the dev lane's).
set -uo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WARIFU=${WARIFU:-$here/../build/dev/warifu}
[ -x "$WARIFU" ] || { echo "no program at $WARIFU: run ci/build first" >&2; exit 1; }
WORK=$(mktemp -d "${TMPDIR:-/tmp}/warifu-e2e-XXXXXX")
DIR=$WORK/d
MNT=$DIR/mnt
# Pads in memory where there is room for them (7 GB at most): they are written and erased all the time.
shm_room=$(df --output=avail -B1M /dev/shm 2>/dev/null | tail -1)
if [ -w /dev/shm ] && [ $((shm_room)) -gt 8000 ]; then
    PADS=$(mktemp -d /dev/shm/warifu-e2e-pads-XXXXXX)
else
    PADS=$WORK/pads
    mkdir "$PADS"
fi
STORE_SIZE=${STORE_SIZE:-1G}
PAD_SIZE=${PAD_SIZE:-256M}
KEY_SOURCE=${KEY_SOURCE:-dealer}  # pad files cost a busy machine less than KMEs

skip() {
    echo "SKIP: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip 'end-to-end tests mount file systems: they need root'
[ -e /dev/fuse ] || skip 'no /dev/fuse'

# process_runs PIDFILE: whether the process that the file names still runs (number and start time).
process_runs() {
    local pid start
    [ -f "$1" ] && read -r pid start <"$1" && [ "$(start_time "$pid")" = "$start" ]
}
# Nothing for a process that has ended, all its threads, and is only not collected yet.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '!($1 ~ /[ZX]/ && $18 <= 1) {print $20}'; }
# kill9 PIDFILE...: kill -9 of exactly these processes, all at once, and waits until they are gone.
kill9() {
    local file pid start pids=
    for file in "$@"; do
        process_runs "$file" && read -r pid start <"$file" || return 1
        pids="$pids $pid"
    done
    kill -9 $pids
    for _ in $(seq 200); do
        for file in "$@"; do process_runs "$file" && sleep 0.05 && continue 2; done
        return 0
    done
    return 1
}

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    [ -n "${CLEANUP_PIDS:-}" ] && kill $CLEANUP_PIDS 2>/dev/null
    if [ $status -ne 0 ] && [ $status -ne 77 ]; then show_logs; fi
    for d in "$DIR" ${MORE_DIRS:-}; do
        [ -d "$d/run" ] || continue
        timeout 120 "$WARIFU" down "$d" >/dev/null 2>&1
        for file in "$d"/run/*.pid "$d"/run/*/*.pid "$d"/volumes/*/*.pid "$d"/volumes/*/*/*.pid; do
            [ -f "$file" ] && kill9 "$file" 2>/dev/null
        done
        for place in "$d/mnt" "$d"/mnt-* "$d"/seen/*/*; do umount -l "$place" 2>/dev/null; done
    done
    declare -F cleanup_more >/dev/null && cleanup_more
    rm -rf "$WORK" "$PADS"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

show_logs() {
    for log in "$DIR"/sites/*/log; do
        [ -f "$log" ] && echo "--- ${log#"$WORK"/} (last lines)" && tail -n 25 "$log"
    done
}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}
# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if "$@"; then echo "ok: $what"; else fail "$what ($*)"; fi
}
# refuses CODE PATTERN COMMAND...: the command must exit with CODE and print exactly one line on standard error that
# matches.
refuses() {
    local code=$1 pattern=$2 got
    shift 2
    "$@" >"$WORK/refused.out" 2>"$WORK/refused.err"
    got=$?
    [ $got = "$code" ] || fail "$* gave exit code $got, not $code: $(cat "$WORK/refused.err")"
    [ "$(wc -l <"$WORK/refused.err")" = 1 ] || fail "$* printed not one line: $(cat "$WORK/refused.err")"
    grep -qE -- "$pattern" "$WORK/refused.err" || fail "$* said: $(cat "$WORK/refused.err"), not $pattern"
    echo "ok: refused with $code: $(cat "$WORK/refused.err")"
}
pass() {
    echo "PASS: $(basename "$0")"
    exit 0
}

up() {
    "$WARIFU" up "$DIR" --store-size "$STORE_SIZE" --pads "$PAD_SIZE" --pad-dir "$PADS" \
        --key-source "$KEY_SOURCE" "$@" || fail "up"
}
remount() {
    "$WARIFU" umount "$DIR" || fail "umount"
    mount_again
}
mount_again() { "$WARIFU" mount "$DIR" "$MNT" || fail "mount"; }
# field JQ_EXPRESSION: of status --json.
field() { "$WARIFU" status "$DIR" --json | jq -r "$1"; }
# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.3
    done
}
state_is() { [ "$(field ".sites[] | select(.name == \"$1\") | .state")" = "$2" ]; }
all_up() { field '[.sites[].state, .sites[].keyd] | all(. == "up")' | grep -q true; }
same_tree() { python3 "$here/compare_tree.py" "$@"; }

# genome_data DIRECTORY: a genome (ref.fa) and paired reads (r1.fq, r2.fq): bowtie2-examples, or made up where a slim
# system left the documents out.
genome_data() {
    local examples=/usr/share/doc/bowtie2/examples
    mkdir -p "$1"
    if [ -f $examples/reference/lambda_virus.fa.gz ]; then
        zcat $examples/reference/lambda_virus.fa.gz >"$1/ref.fa"
        zcat $examples/reads/reads_1.fq.gz >"$1/r1.fq"
        zcat $examples/reads/reads_2.fq.gz >"$1/r2.fq"
    else
        python3 -c "import random; random.seed(5)
print(\">made\"); print(\"\".join(random.choices(\"ACGT\", k=48502)))" \
            >"$1/ref.fa"
        wgsim -S 7 -N 10000 "$1/ref.fa" "$1/r1.fq" "$1/r2.fq" >"$1/mutations"
    fi
}
