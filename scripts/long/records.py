#!/usr/bin/env python3
"""Gathers many records from several workers: complete by count and by checksum, and the coordinator's memory flat.

    records.py [--records N] [--workers N] [--rate R] [--binary FILE] [--keep DIR]

Two runs of the simulator, the second with ten times the records of the first: an open loop whose requests beyond a cap
are dropped, so that every arrival has its record at once. Of both, every record is looked for in the lines (each number
once) and in the table (with pyarrow, where there is one), the checksums of the directory are compared, and the most
memory that the coordinator had is told. The larger run may have at most 32 MiB more.
"""

import argparse
import gzip
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

FLAT_MIB = 32


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--binary", default="target/release/tokenstorm")
    parser.add_argument("--keep", help="where the results stay; else they are removed")
    return parser.parse_args()


def memory_mib(pid: int) -> float:
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    lines = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return next((int(line.split()[1]) / 1024 for line in lines), 0.0)


class Watch(threading.Thread):
    """The memory of a process, five times a second."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.seen = pid, []

    def run(self):
        while (now := memory_mib(self.pid)) > 0:
            self.seen.append((time.monotonic(), now))
            time.sleep(0.2)


def run(options: argparse.Namespace, records: int, folder: pathlib.Path) -> tuple:
    command = [options.binary, "run", "--workers", str(options.workers), "--output", str(folder), "--no-probe"]
    command += ["--endpoint", options.endpoint, "--model", "simulated"]
    sets = {
        "load.capPolicy": "drop", "load.concurrency": "64", "records": "all",
        "prompts.inputLength.mean": "5", "prompts.outputLength.mean": "3",
    }
    command += ["--rate", str(options.rate), "--requests", str(records)]
    command += [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = Watch(process.pid)
    watch.start()
    words, _ = process.communicate()
    watch.join()
    results = next(folder.iterdir(), None)
    if results is None or not (results / "summary.json").exists():
        sys.exit(f"no result:\n{words}")
    return results, watch.seen, time.monotonic() - began, words


def check(results: pathlib.Path, records: int) -> dict:
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    kept, due = summary["records"], summary["books"]["due"]
    seen, outcomes = bytearray(records), {}
    with gzip.open(results / "records/requests.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            seen[record["request"]] += 1
            outcomes[record["outcome"]] = outcomes.get(record["outcome"], 0) + 1
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=results, check=False)
    found = {
        "due": due, "gathered": kept["gathered"], "complete": kept["complete"],
        "lines": sum(seen), "eachOnce": all(count == 1 for count in seen), "outcomes": outcomes,
        "checksums": sums.returncode == 0,
        "workers": [worker["gathered"] for worker in kept["workers"]],
        "mib": {path.name: round(path.stat().st_size / 2**20, 1) for path in (results / "records").iterdir()},
    }
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ModuleNotFoundError:
        print("the table is not read: pyarrow is not installed", file=sys.stderr)
    else:
        column = pyarrow.parquet.read_table(results / "records/requests.parquet", columns=["request"])["request"]
        found["rows"] = len(column)
        found["rowsOnce"] = pyarrow.compute.count_distinct(column).as_py() == len(column)
    good = found["complete"] and found["eachOnce"] and found["checksums"] and due == records == found["lines"]
    good = good and found.get("rows", records) == records and found.get("rowsOnce", True)
    return {**found, "good": good}


def one(options: argparse.Namespace, records: int, folder: pathlib.Path) -> tuple:
    folder.mkdir(parents=True)
    results, memory, seconds, words = run(options, records, folder)
    found = check(results, records)
    most = max(mib for _, mib in memory)
    load = records / options.rate
    began = memory[0][0]
    at_end_of_load = max((mib for at, mib in memory if at - began < load), default=0.0)
    print(json.dumps({
        "records": records, **found, "seconds": round(seconds, 1), "secondsOfLoad": load,
        "coordinatorMiB": {"duringTheLoad": round(at_end_of_load, 1), "most": round(most, 1)},
    }))
    if not found["good"]:
        print(words, file=sys.stderr)
    return found["good"], most


def simulator(options: argparse.Namespace) -> subprocess.Popen:
    """In a process of its own: the coordinator's memory is not to be that of a service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [options.binary, "simulate", "--listen", address, "--fixed", "--ttft-ms", "5", "--itl-ms", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    options.endpoint = f"http://{address}/v1"
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(address.rsplit(":", 1)[1]))) == 0:
                return process
        time.sleep(0.05)
    sys.exit("the simulator does not listen")


def main() -> int:
    options = arguments()
    service = simulator(options)
    try:
        return measured(options)
    finally:
        service.terminate()


def measured(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="tokenstorm-records-") as scratch:
        folder = pathlib.Path(options.keep or scratch)
        small, few = one(options, options.records // 10, folder / "few")
        large, many = one(options, options.records, folder / "many")
    flat = many - few < FLAT_MIB
    print(f"memory: {few:.1f} MiB with {options.records // 10:,} records, {many:.1f} MiB with {options.records:,}")
    passed = small + large + flat
    print(f"{passed} passed, {3 - passed} failed")
    return 0 if passed == 3 else 1


if __name__ == "__main__":
    sys.exit(main())
