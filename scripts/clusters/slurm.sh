#!/usr/bin/env bash
# A Slurm of one machine, all of it in one folder, for tests and for trying things out. As root, on Debian or Ubuntu.
#
#   bash scripts/clusters/slurm.sh install          # the packages slurm-wlm and munge
#   bash scripts/clusters/slurm.sh up DIR [PORT]    # starts munged, slurmctld (PORT, default 6817) and slurmd (PORT + 1)
#   . DIR/env.sh                                    # SLURM_CONF, and on PATH the stand-in for sacct
#   bash scripts/clusters/slurm.sh down DIR         # cancels the jobs and stops the daemons
#
# Partition: debug, with one node of all CPUs. No accounting, no cgroups, nothing outside DIR.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { echo "slurm.sh: $*" >&2; exit 2; }

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root: munge and slurmd would have to run as the user of every job"; }

install() {
    need_root install
    command -v apt-get >/dev/null || die "no apt-get: install slurmctld, slurmd, the Slurm client commands and munge by other means"
    # Whatever is installed, no daemon may be started by it: ours are started by `up`.
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends slurm-wlm munge
}

configuration() {  # DIR PORT HOST MEMORY
    cat <<C
ClusterName=one_machine
SlurmctldHost=$3(127.0.0.1)
SlurmctldPort=$2
SlurmdPort=$(($2 + 1))
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$1/munge/socket,cred_expire=5
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/log/slurmctld.log
SlurmdLogFile=$1/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
ReturnToService=2
KillWait=10
NodeName=$3 NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$4
PartitionName=debug Nodes=$3 Default=YES MaxTime=INFINITE State=UP
C
}

up() {
    need_root up
    for command in munged slurmctld slurmd sinfo; do
        command -v "$command" >/dev/null || die "$command is not installed: bash scripts/clusters/slurm.sh install"
    done
    mkdir -p "$1"
    local dir port=${2:-6817} memory state
    dir=$(cd "$1" && pwd)
    [ ! -e "$dir/slurm.conf" ] || die "there is one in $dir: bash scripts/clusters/slurm.sh down $dir"
    mkdir -p "$dir"/{state,spool,log,munge,bin}
    chmod 755 "$dir" "$dir/munge"  # munged refuses a socket in a folder that others may write
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
    memory=$(slurmd -C | sed -n 's/.*RealMemory=\([0-9]*\).*/\1/p')
    configuration "$dir" "$port" "$(hostname -s)" "$memory" >"$dir/slurm.conf"
    cp "$here/sacct" "$dir/bin/sacct"
    chmod 755 "$dir/bin/sacct"
    printf 'export SLURM_CONF=%q\nexport PATH=%q:"$PATH"\n' "$dir/slurm.conf" "$dir/bin" >"$dir/env.sh"
    export SLURM_CONF="$dir/slurm.conf"
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" </dev/null >>"$dir/log/start.log" 2>&1
    slurmctld </dev/null >>"$dir/log/start.log" 2>&1
    slurmd </dev/null >>"$dir/log/start.log" 2>&1
    for _ in $(seq 300); do
        state=$(timeout 5 sinfo -h -o %T 2>/dev/null || true)
        if [ "$state" = idle ]; then
            cat "$dir/env.sh"
            return
        fi
        sleep 0.1
    done
    tail -n 5 "$dir"/log/*.log >&2
    down "$dir"
    echo "slurm.sh: the node was '$state' instead of idle for 30 seconds: its last words are above" >&2
    exit 1
}

of_cluster() {  # DIR: ids of the processes of its jobs, and of the step daemons that look after them
    local process
    for process in /proc/[0-9]*; do
        { tr '\0' '\n' <"$process/environ"; } 2>/dev/null | awk -v conf="SLURM_CONF=$1/slurm.conf" '
            $0 == conf { ours = 1 } /^SLURM_JOB_ID=/ { job = 1 } END { exit !(ours && job) }' && echo "${process#/proc/}"
        { tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null | grep -q '^slurmstepd: ' &&
            { tr '\0' '\n' <"$process/environ"; } 2>/dev/null | grep -qx "SLURM_CONF=$1/slurm.conf" && echo "${process#/proc/}"
    done | sort -u
    return 0
}

down() {
    local dir file id
    [ -e "$1/slurm.conf" ] || die "there is no Slurm in $1"
    dir=$(cd "$1" && pwd)
    export SLURM_CONF="$dir/slurm.conf"
    timeout 10 scancel --state=PENDING --user=root 2>/dev/null || true
    timeout 10 scancel --user=root 2>/dev/null || true
    for _ in $(seq 150); do
        [ -n "$(timeout 5 squeue -h 2>/dev/null || true)" ] || break
        sleep 0.1
    done
    for file in slurmd.pid slurmctld.pid munge/pid; do
        [ -f "$dir/$file" ] || continue
        id=$(cat "$dir/$file")
        case $(cat "/proc/$id/comm" 2>/dev/null || true) in  # the daemon may be gone, and its number another's
            munged | slurm*) ;;
            *) continue ;;
        esac
        kill "$id" 2>/dev/null || true
        for _ in $(seq 100); do
            kill -0 "$id" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$id" 2>/dev/null || true
    done
    for id in $(of_cluster "$dir"); do
        kill -9 "$id" 2>/dev/null || true
    done
    rm -rf "$dir"/{slurm.conf,env.sh,slurmd.pid,slurmctld.pid,state,spool,munge,bin}
}

case "${1:-} $#" in
    "install 1") install ;;
    "up 2" | "up 3") up "$2" "${3:-}" ;;
    "down 2") down "$2" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
