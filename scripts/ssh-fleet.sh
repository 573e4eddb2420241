#!/usr/bin/env bash
# One benchmark by a fleet of plain hosts: starts a worker on each by ssh, leads the run from here, and leaves nothing behind.
#
# The command is copied to the hosts with certificates and a cookie of this run alone, into a folder that goes with it;
# nothing secret is on a command line. The results are on this machine, and the exit code is the run's own.
#
# usage: scripts/ssh-fleet.sh HOSTS CONFIG [options] [-- OPTIONS OF THE COORDINATOR]
#   HOSTS             a file with one host a line, as ssh takes it ([user@]name, or an alias of ~/.ssh/config); # comments
#   CONFIG            a benchmark in YAML; data sets go from here to the workers
#   --address HOST    by which name or address the hosts reach this machine [the one by which ssh came there]
#   --port PORT       the coordinator's port, which their network has to let through [4697]
#   --tunnel          workers dial through their own ssh connection: no port has to be open
#   --binary FILE     the command for the hosts, such as a static one [that of this machine]
# OPENAI_API_KEY, where it is set, goes to the workers. SSH names another program than ssh; it takes HOST COMMAND.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
hosts_file='' config='' address='' port=4697 tunnel=no binary='' hosts=() addresses=() folders=() coordinator_options=()
read -r -a ssh <<<"${SSH:-ssh -o BatchMode=yes -o ServerAliveInterval=15}"

die() { # line, exit code
    echo "error: $1" >&2
    exit "${2:-2}"
}
say() { echo "$*" >&2; }

while (($#)); do
    case $1 in
    --address | --port | --binary) (($# > 1)) || die "$1 needs a value" ;;&
    --address) address=$2 && shift ;;
    --port) port=$2 && shift ;;
    --binary) binary=$2 && shift ;;
    --tunnel) tunnel=yes ;;
    --)
        coordinator_options=("${@:2}")
        break
        ;;
    -h | --help) sed -n '7,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
    -*) die "$1 is no option: --help lists them" ;;
    *)
        if [[ -z $hosts_file ]]; then hosts_file=$1; elif [[ -z $config ]]; then config=$1; else die "$1: one file of hosts and one configuration are enough"; fi
        ;;
    esac
    shift
done
[[ -n $config ]] || die "it takes a file of hosts and a configuration: --help says more"
[[ -r $hosts_file ]] || die "cannot read $hosts_file"
[[ -r $config ]] || die "cannot read $config"
[[ $port =~ ^[0-9]+$ ]] || die "--port takes a number, not \`$port\`"
mapfile -t hosts < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$hosts_file")
((${#hosts[@]} > 0)) || die "$hosts_file names no host"

if [[ -z $binary ]]; then
    for place in "${TOKENSTORM:-}" "$(command -v tokenstorm || true)" "$repository"/target/{release,debug}/tokenstorm; do
        [[ -z $place || ! -x $place ]] || { binary=$place && break; }
    done
fi
[[ -n $binary && -x $binary ]] || die "there is no command \`tokenstorm\` to copy: build it, or name it by --binary"

# --- one host ------------------------------------------------------------------------------------

# A folder of its own, with the command, this run's secrets and the key of the target; prints its path.
equip() { # host
    # shellcheck disable=SC2016 # the variable is the host's
    tar --create --dereference --directory "$scratch" for-workers | "${ssh[@]}" "$1" \
        'umask 077 && folder=$(mktemp -d) && tar --extract --directory "$folder" --strip-components=1 && echo "$folder"'
}

# By which address that host sees this machine: sshd tells it to its sessions.
address_seen_by() { # host
    # shellcheck disable=SC2016 # the variable is the host's
    "${ssh[@]}" "$1" 'echo "$SSH_CONNECTION"' </dev/null | cut -d' ' -f1
}

# IPv6 wears brackets beside a port.
with_port() {
    if [[ $1 == *:* ]]; then echo "[$1]:$port"; else echo "$1:$port"; fi
}

# In the background a shell's children do not hear Ctrl-C: the coordinator alone does, and ends the workers in order.
work() { # index
    local host=${hosts[$1]} folder=${folders[$1]} forward=()
    [[ $tunnel == no ]] || forward=(-o ExitOnForwardFailure=yes -R "127.0.0.1:$port:127.0.0.1:$port")
    # shellcheck disable=SC2029 # what is ours is put in here
    "${ssh[@]}" "${forward[@]}" "$host" "cd '$folder' && echo \$\$ >pid && exec ./tokenstorm worker \
        --coordinator '$(with_port "${addresses[$1]}")' --ordinal $1 --name '$host' --cache '$folder/cache' \
        --ca ca.pem --cert worker.pem --key worker.key --cookie-file cookie --env-file environment" </dev/null 2>&1 |
        sed -u "s|^|$host: |" >&2
}

# A worker that never had a place still dials; the others have ended.
clear_out() { # index
    # shellcheck disable=SC2029 # what is ours is put in here
    "${ssh[@]}" "${hosts[$1]}" "kill \$(cat '${folders[$1]}/pid') 2>/dev/null; rm -rf '${folders[$1]}'" </dev/null ||
        say "${hosts[$1]}: ${folders[$1]} is left there"
}

# --- the fleet -----------------------------------------------------------------------------------

scratch=$(mktemp -d)
leave() {
    local index
    for index in "${!folders[@]}"; do clear_out "$index" & done
    wait
    rm -rf "$scratch"
}
trap leave EXIT
trap 'exit 130' INT TERM

# The addresses first: the certificate has to name them.
for index in "${!hosts[@]}"; do
    if [[ $tunnel == yes ]]; then addresses[index]=127.0.0.1; else addresses[index]=${address:-$(address_seen_by "${hosts[$index]}")}; fi
    [[ -n ${addresses[index]} ]] || die "${hosts[$index]} does not say by which address it sees this machine: name one by --address"
done
"$binary" certs --out "$scratch/fleet" --host "${addresses[@]}" >/dev/null
mkdir "$scratch/for-workers"
for file in ca.pem worker.pem worker.key cookie; do ln -s "$scratch/fleet/$file" "$scratch/for-workers/$file"; done
ln -s "$(realpath "$binary")" "$scratch/for-workers/tokenstorm"
(
    umask 077
    : >"$scratch/for-workers/environment"
    [[ -z ${OPENAI_API_KEY:-} ]] || printf "OPENAI_API_KEY='%s'\n" "$OPENAI_API_KEY" >>"$scratch/for-workers/environment"
)

for index in "${!hosts[@]}"; do
    folders[index]=$(equip "${hosts[$index]}") || die "${hosts[$index]} cannot be made a worker" 1
    say "${hosts[$index]}: ready in ${folders[index]}"
done
for index in "${!hosts[@]}"; do work "$index" & done

if [[ $tunnel == yes ]]; then listen=127.0.0.1; else listen=0.0.0.0; fi
[[ ${addresses[0]} != *:* ]] || listen='[::]'
"$binary" coordinator --config "$config" --listen "$listen:$port" --expect-workers "${#hosts[@]}" \
    --ca "$scratch/fleet/ca.pem" --cert "$scratch/fleet/coordinator.pem" --key "$scratch/fleet/coordinator.key" \
    --cookie-file "$scratch/fleet/cookie" "${coordinator_options[@]}"
