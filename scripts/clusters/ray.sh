#!/usr/bin/env bash
# A Ray cluster of two nodes on the loopback of one machine, each with one CPU, for tests and for trying things out.
#
#   bash scripts/clusters/ray.sh up DIR [PORT]    # the head at 127.0.0.1:PORT (default 6379; PORT + 1, too)
#   . DIR/env.sh                                  # RAY_ADDRESS, and the token that lets a program in
#   bash scripts/clusters/ray.sh down DIR         # stops both nodes
#
# ray is that of PATH; RAY=.venv/bin/ray names another. Ray listens on all networks of the machine, so there is a token.
set -euo pipefail

die() { echo "ray.sh: $*" >&2; exit 2; }

start() {  # DIR ARGUMENTS...: a node whose processes can be told from all others by their environment
    local dir=$1
    shift
    GFN_VI_RAY_CLUSTER=$dir "$RAY" start --node-ip-address=127.0.0.1 --num-cpus=1 \
        --object-store-memory=80000000 --disable-usage-stats "$@" </dev/null >>"$dir/start.log" 2>&1
}

up() {
    RAY=${RAY:-ray}
    command -v "$RAY" >/dev/null || die "no command $RAY: pip install 'gfn_vi[ray]', or name it with RAY=.venv/bin/ray"
    mkdir -p "$1"
    local dir port=${2:-6379}
    dir=$(cd "$1" && pwd)
    [ ! -e "$dir/env.sh" ] || die "there is one in $dir: bash scripts/clusters/ray.sh down $dir"
    [ "${#dir}" -le 36 ] || die "$dir: Ray's sockets have room for at most 36 characters of it"
    (umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$dir/token")
    printf 'export RAY_ADDRESS=127.0.0.1:%q RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=%q RAY_USAGE_STATS_ENABLED=0\n' \
        "$port" "$dir/token" >"$dir/env.sh"
    # shellcheck source=/dev/null
    . "$dir/env.sh"
    for _ in 1 2 3; do  # on a busy machine a node may need more than the 30 seconds that Ray grants
        if start "$dir" --head --port="$port" --temp-dir="$dir/ray" --include-dashboard=false \
            --ray-client-server-port=$((port + 1)) && start "$dir" --address="127.0.0.1:$port"; then
            cat "$dir/env.sh"
            return
        fi
        stop_all "$dir"
    done
    tail -n 15 "$dir/start.log" >&2
    down "$dir"
    echo "ray.sh: a node did not start: its last words are above" >&2
    exit 1
}

of_cluster() {  # DIR [NAME]: ids of the processes of its nodes, all or those with this name
    local process
    for process in /proc/[0-9]*; do
        { tr '\0' '\n' <"$process/environ"; } 2>/dev/null | grep -qx "GFN_VI_RAY_CLUSTER=$1" || continue
        [ -z "${2:-}" ] || [ "$(cat "$process/comm" 2>/dev/null)" = "$2" ] || continue
        echo "${process#/proc/}"
    done
}

stop() {  # SIGNAL SECONDS IDS...: sends it and waits until they are gone
    local signal=$1 tenths=$(($2 * 10)) id
    shift 2
    for id in "$@"; do
        kill "-$signal" "$id" 2>/dev/null || true
    done
    for id in "$@"; do
        while [ "$tenths" -gt 0 ] && kill -0 "$id" 2>/dev/null; do
            sleep 0.1
            tenths=$((tenths - 1))
        done
    done
}

stop_all() {  # DIR; in this order: a gcs_server that is stopped together with the raylets lives on for minutes
    # shellcheck disable=SC2046  # lists of numbers
    {
        stop TERM 5 $(of_cluster "$1" raylet)
        stop TERM 2 $(of_cluster "$1" gcs_server)
        stop KILL 2 $(of_cluster "$1")
    }
    rm -rf "$1/ray"
}

down() {
    [ -e "$1/env.sh" ] || die "there is no Ray cluster in $1"
    local dir
    dir=$(cd "$1" && pwd)
    stop_all "$dir"
    rm -f "$dir"/{env.sh,token}
}

case "${1:-} $#" in
    "up 2" | "up 3") up "$2" "${3:-}" ;;
    "down 2") down "$2" ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
