#!/usr/bin/env python3
"""Holds the manifests to Kubernetes and to each other.

Everything that a user may apply is rendered (each overlay by `kubectl kustomize`, the chart with several values, and
what scripts/k8s-run.sh would apply) and validated strictly against the schemas of current Kubernetes, where a
misspelled field is an error. Then what the schemas cannot know: that the number of workers is the same in the
places where it stands, that no pod is root or has a token, that chart and base are one and the same, and
that for an older server its unknown fields are dropped. Exit code 1 and one line for each problem.

It needs kubectl and the packages kubernetes-validate and helm-python-sdk: scripts/check-k8s.sh looks for them.
"""

import os
import pathlib
import subprocess
import sys

import helm_python
import kubernetes_validate
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CHART = REPOSITORY / "charts" / "tokenstorm"
# The oldest server with every field that is used (Job's podReplacementPolicy), and the newest that is known.
VERSIONS = ("1.29", "1.33", kubernetes_validate.latest_version())
# What a chart's release adds and the base does not have, and which secret only the chart makes.
ONLY_IN_CHART = {("Secret", "tokenstorm-fleet")}
# Fields that a server of 1.20 does not know.
NOT_IN_1_20 = {"completionMode", "podReplacementPolicy", "podFailurePolicy"}

problems = []
checked = []


def run(*command, code=0, env=None):
    """The command's standard output; `code` is how it has to end."""
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=env)
    if ended.returncode != code:
        problems.append(f"{' '.join(map(str, command))}: exit code {ended.returncode}\n{ended.stderr}")
    return ended.stdout if code == 0 else ended.stderr


def objects_of(text):
    return [thing for thing in yaml.safe_load_all(text) if thing]


def key(thing):
    return thing["kind"], thing["metadata"]["name"]


def pod_of(thing):
    if thing["kind"] == "Pod":
        return thing["spec"]
    return thing.get("spec", {}).get("template", {}).get("spec")


def validate(where, things, versions=VERSIONS):
    checked.append(f"{where}: {len(things)} objects")
    for thing in things:
        for version in versions:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                problems.append(f"{where}: {key(thing)}: {path}: {error.message} (Kubernetes {version})")


def check_pod(where, thing):
    pod = pod_of(thing)
    if pod is None:
        return
    wrong = []
    if pod.get("automountServiceAccountToken") is not False:
        wrong.append("has a token of the cluster")
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        wrong.append("may be root, or lacks the default seccomp profile")
    for container in pod["containers"]:
        security = container.get("securityContext", {})
        if security.get("readOnlyRootFilesystem") is not True or security.get("allowPrivilegeEscalation") is not False:
            wrong.append(f"{container['name']}: may write its root or gain privileges")
        if security.get("capabilities") != {"drop": ["ALL"]}:
            wrong.append(f"{container['name']}: keeps capabilities")
        if "cpu" not in container["resources"]["requests"] or "memory" not in container["resources"]["limits"]:
            wrong.append(f"{container['name']}: has no request for processors or no limit on memory")
    problems.extend(f"{where}: {key(thing)}: {line}" for line in wrong)


def check_workers(where, things, spares=0):
    """The coordinator expects as many workers as there are pods."""
    by_key = {key(thing): thing for thing in things}
    coordinator = next((t for (kind, name), t in by_key.items() if kind == "Job" and name.endswith("-coordinator")), None)
    workers = next((t for (kind, name), t in by_key.items() if kind == "Job" and name.endswith("-worker")), None)
    if coordinator is None:
        return
    environment = {variable["name"]: variable.get("value") for variable in pod_of(coordinator)["containers"][0]["env"]}
    counts = {int(environment["WORKERS"]) + spares, workers["spec"]["completions"], workers["spec"]["parallelism"]}
    if len(counts) != 1:
        problems.append(f"{where}: the number of workers is not one: {sorted(counts)}")


def check(where, things, spares=0):
    validate(where, things)
    for thing in things:
        check_pod(where, thing)
    check_workers(where, things, spares)
    return things


def render_chart(values):
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="tokenstorm", namespace="default")
    texts = [text for path, text in sorted(files.items()) if not path.endswith("NOTES.txt")]
    return [thing for text in texts for thing in objects_of(text)]


def comparable(things):
    """By kind and name; a configuration is what it says, not how it is laid out."""
    by_key = {}
    for thing in things:
        if thing["kind"] == "ConfigMap":
            thing = {**thing, "data": {name: yaml.safe_load(text) for name, text in thing["data"].items()}}
        by_key[key(thing)] = thing
    return by_key


def differences(ours, theirs, path=""):
    """Each place where two trees differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name), theirs.get(name), f"{path}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs)):
            yield from differences(*pair, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} in the base, {theirs!r} in the chart"


def check_same(where, base, chart):
    base, chart = comparable(base), comparable(chart)
    for missing in sorted(base.keys() ^ (chart.keys() - ONLY_IN_CHART)):
        problems.append(f"{where}: {missing} is in one of base and chart only")
    for name in sorted(base.keys() & chart.keys()):
        for difference in differences(base[name], chart[name]):
            problems.append(f"{where}: {name}{difference}")


def check_chart(base, demo):
    linted = helm_python.lint(str(CHART), strict=True)
    # Severity 1 is advice, such as an icon.
    problems.extend(f"lint: {message}" for message in linted["messages"] if message["severity"] > 1)
    problems.extend(f"lint: {error}" for error in linted["errors"] or [])
    check_same("the chart as it comes", base, check("chart", render_chart({})))
    run_of_demo = yaml.safe_load((REPOSITORY / "k8s/overlays/demo/run.yaml").read_text())
    values = {"simulator": {"enabled": True}, "workers": 3, "run": run_of_demo}
    check_same("the chart with a simulator", demo, check("chart: simulator", render_chart(values)))
    other = {
        "workers": 8, "spares": 2, "minWorkers": 7, "hostNetwork": True, "coordinatorHost": "10.0.0.7",
        "fleetSecret": {"create": False, "name": "mine"}, "results": {"claim": "kept", "hold": "0s"},
        "data": {"claim": "sets"}, "files": {"prompts.txt": "Hello\n"}, "networkPolicy": False,
        "nodeSelector": {"pool": "load"}, "tolerations": [{"key": "load", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}], "simulator": {"enabled": True, "args": ["--fixed"]},
    }
    check("chart: other values", render_chart(other), spares=2)
    many = render_chart({"coordinator": {"extraArgs": ["--find-capacity", "--worker-counts=1,2"]}})
    if arguments_of(check("chart: a search", many))[-2:] != ["--find-capacity", "--worker-counts=1,2"]:
        problems.append("chart: coordinator.extraArgs are not heeded")
    for wrong in ({"wrokers": 3}, {"workers": 0}, {"joinTimeout": "soon"}):  # misspelt
        try:
            render_chart(wrong)
        except helm_python.HelmError:
            continue
        problems.append(f"the chart takes {wrong}")


def arguments_of(things):
    """Of the coordinator."""
    job = next(thing for thing in things if thing["kind"] == "Job" and thing["metadata"]["name"].endswith("coordinator"))
    return pod_of(job)["containers"][0]["args"]


def check_script():
    """What scripts/k8s-run.sh would apply, for a server of today and for one without indexed Jobs."""
    script = ["scripts/k8s-run.sh", "configs/constant.yaml", "--namespace", "bench", "--dry-run"]
    today = objects_of(run(*script, "--workers", "5", "--kubernetes", "1.33", "--simulator", "--file", "README.md"))
    check("k8s-run.sh", today)
    config = next(thing for thing in today if thing["kind"] == "ConfigMap")
    if config["data"].get("run.yaml") != (REPOSITORY / "configs/constant.yaml").read_text() or "README.md" not in config["data"]:
        problems.append("k8s-run.sh: the configuration is not the given one, or a file is missing")
    if {thing["metadata"].get("namespace") for thing in today} != {"bench"}:
        problems.append("k8s-run.sh: an object is in another namespace")
    many = objects_of(run(*script, "--workers", "2", "--kubernetes", "1.33", "--coordinator-arg", "--find-capacity", "--coordinator-arg", "--set=search.by=rate"))
    if arguments_of(many)[-2:] != ["--find-capacity", "--set=search.by=rate"]:
        problems.append("k8s-run.sh: --coordinator-arg is not heeded")
    old = objects_of(run(*script, "--workers", "4", "--kubernetes", "1.20", "--host-network", "--coordinator-host", "127.0.0.1"))
    check("k8s-run.sh for 1.20", old)
    jobs = [thing for thing in old if thing["kind"] == "Job"]
    if left := {field for job in jobs for field in NOT_IN_1_20 & job["spec"].keys()}:
        problems.append(f"k8s-run.sh for 1.20: {left} are not known there")
    if not all(pod_of(job).get("hostNetwork") for job in jobs):
        problems.append("k8s-run.sh: --host-network is not heeded")
    nowhere = objects_of(run(*script, "--workers", "5", env=os.environ | {"KUBECONFIG": "/dev/null"}))
    if not any("podReplacementPolicy" in thing.get("spec", {}) for thing in nowhere if thing["kind"] == "Job"):
        problems.append("k8s-run.sh: a dry run without a cluster is not for the newest Kubernetes")
    for wrong in (["--workers", "0"], ["--workers", "x"], ["--workers", "2", "--unknown"], []):
        run(*script, *wrong, code=2)


def main():
    rendered = {}
    for kustomization in sorted((REPOSITORY / "k8s").glob("**/kustomization.yaml")):
        folder = kustomization.parent.relative_to(REPOSITORY)
        if yaml.safe_load(kustomization.read_text())["kind"] == "Kustomization":
            rendered[folder.name] = check(str(folder), objects_of(run("kubectl", "kustomize", str(folder))))
    shell = REPOSITORY / "k8s/overlays/volume/shell.yaml"
    check(str(shell.relative_to(REPOSITORY)), objects_of(shell.read_text()))
    for name in ("base", "demo", "fleet-100", "single", "volume"):
        if not rendered.get(name):
            problems.append(f"k8s: nothing was rendered for {name}")
    check_chart(rendered["base"], rendered["demo"])
    check_script()
    print("\n".join(checked))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
