#!/usr/bin/env bash
# One benchmark by a fleet in Kubernetes: renders the manifests of k8s/, applies them, shows the run, fetches its
# results, and removes what it made. It ends with the run's own exit code.
#
# usage: scripts/k8s-run.sh CONFIG --workers N --namespace NS [options]
#        scripts/k8s-run.sh --attach --namespace NS [--output DIR] [--keep]
#   CONFIG                   a benchmark in YAML; paths in it start at its folder, which has the --file ones too
#   --workers N              how many pods offer the load
#   --namespace NS           where; it is made if it is missing. One run at a time in each
#   --image IMAGE            the image of all members [tokenstorm:0.1.0]
#   --file FILE              a small file to lie beside CONFIG, such as a data set (with CONFIG below 1 MiB); repeatable
#   --output DIR             where the results directory is put [results]
#   --hold TIME              how long the results wait to be fetched after the run [10m]
#   --results-claim CLAIM    a PersistentVolumeClaim for results and journal [a folder that dies with the pod]
#   --simulator              a simulated service beside it, at http://tokenstorm-simulator:8000
#   --host-network           pods in the network of their nodes
#   --coordinator-arg ARG    one more argument of the coordinator, such as --find-capacity; repeatable
#   --coordinator-host HOST  where workers dial [the Service tokenstorm-coordinator]
#   --patch FILE             a kustomize patch to apply last, such as resources or a node selector; repeatable
#   --kubernetes VERSION     the server's version, such as 1.30 [asked]; what it does not know is left out, and said
#   --keep                   leave everything in the cluster
#   --dry-run                print the manifests and do nothing; without a cluster those for the newest Kubernetes
#   --attach                 go on with a run that another k8s-run.sh started: follow, fetch, remove
# OPENAI_API_KEY, where it is set, goes to the pods as a Secret. Ctrl-C leaves the run alone: --attach finds it again.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
config='' workers='' namespace='' image='' output=results hold=10m claim='' coordinator_host='' version=''
simulator=no host_network=no keep=no dry_run=no attach=no
files=() patches=() coordinator_args=()

die() { # line, exit code
    echo "error: $1" >&2
    exit "${2:-2}"
}
say() { echo "$*" >&2; }
usage() {
    sed -n '5,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

while (($#)); do
    case $1 in
    --workers | --namespace | --image | --file | --output | --hold | --results-claim | --coordinator-arg | --coordinator-host | --patch | --kubernetes)
        (($# > 1)) || die "$1 needs a value"
        ;;&
    --workers) workers=$2 && shift ;;
    --namespace | -n) namespace=$2 && shift ;;
    --image) image=$2 && shift ;;
    --file) files+=("$2") && shift ;;
    --output) output=$2 && shift ;;
    --hold) hold=$2 && shift ;;
    --results-claim) claim=$2 && shift ;;
    --coordinator-arg) coordinator_args+=("$2") && shift ;;
    --coordinator-host) coordinator_host=$2 && shift ;;
    --patch) patches+=("$2") && shift ;;
    --kubernetes) version=$2 && shift ;;
    --simulator) simulator=yes ;;
    --host-network) host_network=yes ;;
    --keep) keep=yes ;;
    --dry-run) dry_run=yes ;;
    --attach) attach=yes ;;
    -h | --help) usage ;;
    -*) die "$1 is no option: --help lists them" ;;
    *) [[ -z $config ]] || die "$1: one configuration is enough" && config=$1 ;;
    esac
    shift
done

command -v kubectl >/dev/null || die "kubectl is not installed"
[[ -n $namespace ]] || die "--namespace is missing: a run should not land somewhere by chance"
if [[ $attach == no ]]; then
    [[ -n $config ]] || usage
    [[ -r $config ]] || die "cannot read $config"
    [[ $workers =~ ^[1-9][0-9]*$ ]] || die "--workers takes a whole number above 0, not \`$workers\`"
    for file in "${files[@]}" "${patches[@]}"; do [[ -r $file ]] || die "cannot read $file"; done
fi

scratch=$(mktemp -d)
chmod 700 "$scratch"
follower=''
leave() {
    [[ -z $follower ]] || kill "$follower" 2>/dev/null || true
    rm -rf "$scratch"
}
trap leave EXIT

k() { kubectl --namespace "$namespace" "$@"; }

# What this script makes and removes; what others made under the same names is not touched.
kinds=job,service,configmap,networkpolicy,deployment,secret
ours=app.kubernetes.io/managed-by=k8s-run.sh

# --- the manifests -------------------------------------------------------------------------------

# A minor version that knows every field of k8s/.
newest=33

# The minor version, as a number: managed clusters say "30+".
minor_version() {
    local text=$version
    if [[ -z $text && $dry_run == yes ]] && ! kubectl get --raw /version >/dev/null 2>&1; then
        say "the cluster does not answer: these manifests are for the newest Kubernetes, unless --kubernetes names another"
        echo "$newest"
        return
    fi
    if [[ -z $text ]]; then
        text=$(kubectl get --raw /version) || die "the cluster does not answer: see what kubectl says" 6
        text=$(tr -d ' "\n' <<<"$text" | sed 's/.*major:\([0-9]*\),minor:\([0-9]*\).*/\1.\2/')
        [[ $text != . ]] || die "the cluster does not tell its version: say it with --kubernetes, such as 1.30"
    fi
    [[ $text =~ ^v?1\.([0-9]+) ]] || die "Kubernetes \`$text\` is no version such as 1.30"
    echo "${BASH_REMATCH[1]}"
}

# A patch of one place: an older server refuses fields that it does not know.
drop() { # job, field, since
    say "Kubernetes 1.$minor has no $2 (it came with 1.$3): left out"
    cat <<END
  - target: { kind: Job, name: $1 }
    patch: '[{"op": "remove", "path": "/spec/$2"}]'
END
}

in_the_network_of_the_node() { # kind
    cat <<END
  - target: { kind: $1 }
    patch: |
      - { op: add, path: /spec/template/spec/hostNetwork, value: true }
      - { op: add, path: /spec/template/spec/dnsPolicy, value: ClusterFirstWithHostNet }
END
}

with_arguments() {
    local argument
    cat <<END
  - target: { kind: Job, name: tokenstorm-coordinator }
    patch: |
END
    for argument in "${coordinator_args[@]}"; do
        echo "      - { op: add, path: /spec/template/spec/containers/0/args/-, value: \"${argument//\"/\\\"}\" }"
    done
}

patches_of_this_run() {
    cat <<END
  - path: fleet.yaml
END
    ((minor >= 29)) || drop tokenstorm-worker podReplacementPolicy 29
    ((minor >= 26)) || drop tokenstorm-worker podFailurePolicy 26
    ((minor >= 22)) || drop tokenstorm-worker completionMode 22
    if [[ $host_network == yes ]]; then
        in_the_network_of_the_node Job
        [[ $simulator == no ]] || in_the_network_of_the_node Deployment
    fi
    ((${#coordinator_args[@]} == 0)) || with_arguments
    local file number=0
    for file in "${patches[@]}"; do
        number=$((number + 1))
        cp "$file" "$scratch/run/patch-$number.yaml"
        echo "  - path: patch-$number.yaml"
    done
}

fleet_patch() {
    cat <<END
apiVersion: batch/v1
kind: Job
metadata: { name: tokenstorm-coordinator }
spec:
  template:
    spec:
      containers:
        - name: coordinator
          env:
            - { name: WORKERS, value: "$workers" }
            - { name: HOLD_RESULTS, value: "$hold" }
END
    [[ -z $claim ]] || cat <<END
      volumes:
        - name: results
          emptyDir: null
          persistentVolumeClaim: { claimName: "$claim" }
END
    cat <<END
---
apiVersion: batch/v1
kind: Job
metadata: { name: tokenstorm-worker }
spec:
  completions: $workers
  parallelism: $workers
END
    [[ -z $coordinator_host ]] || cat <<END
  template:
    spec:
      containers:
        - name: worker
          env:
            - { name: TOKENSTORM_COORDINATOR, value: "$coordinator_host:4697" }
END
}

write_kustomization() {
    local file
    cp -r "$repository/k8s" "$scratch/k8s"
    mkdir "$scratch/run"
    cp "$config" "$scratch/run/run.yaml"
    fleet_patch >"$scratch/run/fleet.yaml"
    {
        echo "apiVersion: kustomize.config.k8s.io/v1beta1"
        echo "kind: Kustomization"
        echo "namespace: \"$namespace\""
        echo "labels: [{ pairs: { ${ours/=/: } } }]"
        echo "resources: [../k8s/base]"
        [[ $simulator == no ]] || echo "components: [../k8s/components/simulator]"
        if [[ -n $image ]]; then
            # A colon after the last slash begins the tag; one before it is a registry's port.
            local name=$image tag=latest
            [[ ${image##*/} != *:* ]] || { name=${image%:*} && tag=${image##*:}; }
            echo "images: [{ name: tokenstorm, newName: \"$name\", newTag: \"$tag\" }]"
        fi
        echo "generatorOptions: { disableNameSuffixHash: true }"
        echo "configMapGenerator:"
        echo "  - name: tokenstorm-run"
        echo "    behavior: replace"
        echo "    files:"
        echo "      - run.yaml"
        for file in "${files[@]}"; do
            cp "$file" "$scratch/run/"
            echo "      - \"$(basename "$file")\""
        done
        echo "patches:"
        patches_of_this_run
    } >"$scratch/run/kustomization.yaml"
}

# --- the cluster ---------------------------------------------------------------------------------

# The command of this machine, or the image's.
tokenstorm_here() {
    local place
    for place in "${TOKENSTORM:-}" "$(command -v tokenstorm || true)" "$repository"/target/{release,debug}/tokenstorm; do
        if [[ -n $place && -x $place ]]; then
            "$place" "$@"
            return
        fi
    done
    for place in docker podman; do
        if command -v "$place" >/dev/null; then
            "$place" run --rm --user "$(id -u):$(id -g)" --volume "$scratch:$scratch" "${image:-tokenstorm:0.1.0}" "$@"
            return
        fi
    done
    die "certificates need the command \`tokenstorm\` (or docker and the image): build it, or make the Secret tokenstorm-fleet yourself"
}

secret_of() { # name, files: made anew, and labelled as this script's
    k create secret generic "$1" "${@:2}" >/dev/null
    k label secret "$1" "$ours" >/dev/null
}

make_secrets() {
    if k get secret tokenstorm-fleet >/dev/null 2>&1; then
        say "the Secret tokenstorm-fleet is there and is used"
    else
        tokenstorm_here certs --out "$scratch/fleet" --host tokenstorm-coordinator ${coordinator_host:+"$coordinator_host"} >/dev/null
        secret_of tokenstorm-fleet --from-file="$scratch/fleet"
    fi
    if [[ -n ${OPENAI_API_KEY:-} ]] && ! k get secret tokenstorm-api-key >/dev/null 2>&1; then
        (umask 077 && printf %s "$OPENAI_API_KEY" >"$scratch/OPENAI_API_KEY")
        secret_of tokenstorm-api-key --from-file="$scratch/OPENAI_API_KEY"
    fi
}

# Jobs cannot be changed, so a finished run makes room for the next one; one that goes on does not.
make_room() {
    local active
    active=$(k get jobs -l "$ours" -o 'jsonpath={.items[*].status.active}')
    [[ -z ${active// /} ]] || die "a run goes on in namespace $namespace: --attach follows it, another --namespace goes beside it"
    remove
    if k get job tokenstorm-coordinator >/dev/null 2>&1; then
        die "namespace $namespace has a Job tokenstorm-coordinator that this script did not make: remove it, or choose another --namespace"
    fi
}

remove() {
    k delete "$kinds" -l "$ours" --ignore-not-found >/dev/null
}

pod=''
find_pod() {
    pod=$(k get pods -l job-name=tokenstorm-coordinator -o 'jsonpath={.items[*].metadata.name}')
    pod=${pod%% *}
    [[ -n $pod ]]
}

status() { k get pod "$pod" -o "jsonpath=$1"; }

# Says why it has to wait, whenever that changes.
wait_for_the_coordinator() {
    local told='' why phase
    for ((waited = 0; waited < 600; waited += 2)); do
        if find_pod; then
            phase=$(status '{.status.phase}')
            [[ $phase == Pending ]] || return 0
            why=$(status '{.status.conditions[?(@.status=="False")].message}{.status.containerStatuses[*].state.waiting.reason}')
            if ((waited >= 6)) && [[ $why != "$told" ]]; then
                say "the coordinator's pod waits: $why"
                told=$why
            fi
        fi
        sleep 2
    done
    die "the coordinator's pod did not start within 10 minutes: kubectl -n $namespace describe pod $pod" 1
}

follow() {
    # A connection that is cut after hours is taken up again.
    (
        since=()
        while k logs --follow "${since[@]}" "$pod" 2>/dev/null; do
            [[ $(status '{.status.phase}' 2>/dev/null) == Running ]] || break
            since=(--since=1s)
        done
    ) &
    follower=$!
}

# Whole or not at all: the archive has a checksum, and is released only when it was unpacked here.
fetch() {
    local archive=$scratch/results.tar.gz attempt name
    mkdir -p "$output"
    for attempt in 1 2 3 4 5; do
        if k exec "$pod" -- /tokenstorm results pack --keep-holding - /results >"$archive" 2>"$scratch/words" && gzip --test "$archive"; then
            name=$(tar --list --gzip --file "$archive" | head -n 1)
            name=${name%%/*}
            [[ ! -e $output/$name ]] || die "$output/$name is there already, and nothing is overwritten: the results are still held in $pod" 1
            tar --extract --gzip --file "$archive" --directory "$output"
            k exec "$pod" -- /tokenstorm results release /results >/dev/null
            say "results: $output/$name"
            return 0
        fi
        say "fetching failed ($attempt of 5): $(head -n 1 "$scratch/words")"
        sleep 3
    done
    return 1
}

wait_for_the_end() {
    local phase held=no
    while phase=$(status '{.status.phase}') && [[ $phase == Running || $phase == Pending ]]; do
        if [[ $held == no ]] && k logs --tail=5 "$pod" | grep -q '^the results are held'; then
            held=yes
            fetch || die "the results could not be fetched; they are held in $pod until $hold have passed: --attach tries again" 1
        fi
        sleep 2
    done
    [[ $held == yes || -n $claim ]] || say "the coordinator ended without results to fetch; its log says why"
}

exit_code() { status '{.status.containerStatuses[0].state.terminated.exitCode}'; }

detach() {
    say ""
    say "the run goes on in the cluster: \`scripts/k8s-run.sh --attach --namespace $namespace\` follows it and fetches its results,"
    say "\`kubectl -n $namespace delete $kinds -l $ours\` ends and removes it"
    exit 130
}

# --- the story -----------------------------------------------------------------------------------

start() {
    minor=$(minor_version)
    write_kustomization
    if [[ $dry_run == yes ]]; then
        kubectl kustomize "$scratch/run"
        exit 0
    fi
    kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
    make_room
    make_secrets
    [[ -n $claim ]] || say "results are on no volume: they are fetched at the end, and a lost coordinator pod is a lost run"
    kubectl apply -k "$scratch/run"
}

# Ends with the run's own exit code.
see_through() {
    trap detach INT TERM
    wait_for_the_coordinator
    follow
    wait_for_the_end
    local code
    code=$(exit_code)
    wait "$follower" 2>/dev/null || true
    follower=''
    if [[ $keep == yes ]]; then
        say "everything is left in namespace $namespace"
    else
        remove
    fi
    return "${code:-1}"
}

[[ $attach == yes ]] || start
see_through
