#!/usr/bin/env python3
"""Rounds of a fleet of real processes under random faults: in each, the books balance and the server agrees with them.

A round is a function of its seed: open or closed loop, so many workers and spares, and at random instants a worker is
killed, stopped for a while, cut off for a while (nothing passes, nobody is told) or its connection is broken at its own
end only, a new one comes, or the coordinator is killed and another goes on with its run. Then:

- due = completed + failed + cancelled + not sent + lost, and none failed;
- no body reached the server twice;
- what is known to have been sent <= what the server saw <= that + what the lost may have sent after their last words.

The instants are as exact as the machine is quiet, so a seed repeats what was done, not what came of it. As root, with
iptables, all of it runs in a network namespace of its own and a cut is packets that are dropped; else a cut is a relay
that holds bytes back, which is said.

usage: scripts/long/fleet-faults.py [ROUNDS [FIRST_SEED]]     (20 rounds from seed 1; some 30 s each)
       scripts/long/fleet-faults.py cuts     (a cut of 1 s, one of 20 s, a stop of 10 s, in open and closed loop; 4 min)
environment: TOKENSTORM, the program (default: target/debug/tokenstorm)
"""

import asyncio
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request

PROGRAM = os.environ.get("TOKENSTORM", "target/debug/tokenstorm")
DURATION_S = 16
# Set in the namespace that this program makes for itself.
IN_NAMESPACE = "FLEET_FAULTS_NAMESPACE"
COOKIE = "fleet-faults-0123456789abcdef-0123456789abcdef"


class DroppedPackets:
    """The way of one worker to the coordinator: an address of its own, whose packets the kernel may drop."""

    def __init__(self, coordinator_port, ordinal):
        self.address, self.port = f"127.0.1.{ordinal + 1}", coordinator_port

    async def open(self):
        return f"{self.address}:{self.port}"

    async def cut(self, seconds):
        await self.rules("-A")
        await asyncio.sleep(seconds)
        await self.rules("-D")

    async def rules(self, change):
        for rule in (["-d", self.address, "--dport"], ["-s", self.address, "--sport"]):
            command = ["iptables", "-w", change, "INPUT", "-p", "tcp", *rule, str(self.port), "-j", "DROP"]
            if await (await asyncio.create_subprocess_exec(*command)).wait():
                raise RuntimeError(f"{' '.join(command)} failed")


class Relay:
    """The way of one worker to the coordinator: through this program, which may hold bytes back."""

    def __init__(self, coordinator_port, _ordinal):
        self.coordinator_port = coordinator_port
        self.passes = asyncio.Event()
        self.passes.set()
        self.near = []

    async def open(self):
        self.server = await asyncio.start_server(self.carry_both, "127.0.0.1", 0)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def carry_both(self, here, to_here):
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self.coordinator_port)
        except OSError:
            to_here.close()
            return
        self.near.append(to_here)
        await asyncio.gather(self.carry(here, to_there), self.carry(there, to_here))

    async def carry(self, source, sink):
        try:
            while piece := await source.read(1 << 16):
                await self.passes.wait()
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass
        await self.passes.wait()
        sink.close()

    async def cut(self, seconds):
        self.passes.clear()
        await asyncio.sleep(seconds)
        self.passes.set()

    def break_near(self):
        for writer in self.near:
            writer.transport.abort()
        self.near.clear()


class Round:
    """`plan`: closed loop or not, seconds, and (instant, fault, seconds) on the second of two workers; else all by dice."""

    def __init__(self, seed, folder, plan=None):
        self.plan = plan
        self.duration_s = plan[1] if plan else DURATION_S
        self.dice = random.Random(seed)
        self.folder = pathlib.Path(folder)
        self.log = open(self.folder / "log", "wb")
        self.story = []
        self.workers = {}
        self.tasks = []

    async def start(self, *arguments):
        environment = {"TOKENSTORM_COOKIE": COOKIE, "PATH": os.environ["PATH"], "TOKENSTORM_LOG": "info"}
        return await asyncio.create_subprocess_exec(
            PROGRAM, *map(str, arguments), env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def said(self, text):
        return text.encode() in (self.folder / "log").read_bytes()

    async def until_said(self, text, process=None):
        for _ in range(1200):
            if self.said(text):
                return
            if process and process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise RuntimeError(f"never said {text!r}")

    async def add_worker(self, ordinal):
        way = (DroppedPackets if IN_NAMESPACE in os.environ else Relay)(self.port, ordinal)
        address = await way.open()
        process = await self.start("worker", "--coordinator", address, "--insecure", "--ordinal", ordinal, "--processors", 1)
        self.workers[ordinal] = (process, way)

    async def play(self):
        dice = self.dice
        count, spares = dice.randint(2, 4), dice.randint(0, 1)
        closed = dice.random() < 0.5
        if self.plan:
            count, spares, closed = 2, 0, self.plan[0]
        simulator_port, self.port = free_port(), free_port()
        simulator = await self.start("simulate", "--listen", f"127.0.0.1:{simulator_port}", "--fixed", "--itl-ms", 3)
        try:
            await self.until_said("ground truth at", simulator)
            await self.lead_and_disturb(simulator_port, count, spares, closed)
            await asyncio.sleep(1)
            return judge(self.summary(), truth(simulator_port))
        finally:
            for task in self.tasks:
                task.cancel()
            for process in [simulator, self.coordinator] + [process for process, _ in self.workers.values()]:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def lead_and_disturb(self, simulator_port, count, spares, closed):
        load = ["--concurrency", 8] if closed else ["--rate", 40]
        self.story.append(f"{count} workers, {spares} spares, {' '.join(map(str, load))}")
        self.coordinator = await self.start(
            "coordinator", "--listen", self.listen(), "--insecure", "--expect-workers", count, "--spares", spares,
            "--endpoint", f"http://127.0.0.1:{simulator_port}/v1", *load, "--duration", self.duration_s, "--no-probe",
            "--set", "prompts.outputLength.mean=20", "--set", "benchmark.drain=5", "--set", "load.rampUp=0" if closed else "benchmark.seed=1",
            "--output", self.folder / "results",
        )
        await self.until_said("listening on", self.coordinator)
        for ordinal in range(count + spares):
            await self.add_worker(ordinal)
        await self.until_said(f"1/{self.duration_s} s", self.coordinator)
        began = asyncio.get_running_loop().time() - 1
        for at, fault, ordinal, seconds in self.faults():
            await asyncio.sleep(max(0, began + at - asyncio.get_running_loop().time()))
            await self.disturb(at, fault, ordinal, seconds)
        await asyncio.wait_for(self.coordinator.wait(), 90)
        if self.coordinator.returncode not in (0, 4, 5):
            raise RuntimeError(f"the coordinator ended with {self.coordinator.returncode}")

    def faults(self):
        if self.plan:
            return [(at, fault, 1, seconds) for at, fault, seconds in self.plan[2]]
        kinds = ["kill", "stop", "stop", "cut", "cut", "break", "come", "crash", "crash"]
        dice = self.dice
        instants = sorted(dice.uniform(1.5, DURATION_S - 2) for _ in range(dice.randint(1, 4)))
        lengths = [0.5, 1, 2, 4, 8]
        return [
            (round(at, 1), dice.choice(kinds), dice.randrange(8), round(dice.choice(lengths) * dice.uniform(0.7, 1.3), 1))
            for at in instants
        ]

    async def disturb(self, at, fault, ordinal, seconds):
        ordinal = sorted(self.workers)[ordinal % len(self.workers)]
        process, way = self.workers[ordinal]
        if fault == "break" and not isinstance(way, Relay):
            fault = "cut"
        match fault:
            case "kill":
                self.story.append(f"{at} s: worker {ordinal} is killed")
                if process.returncode is None:
                    process.kill()
            case "stop":
                self.story.append(f"{at} s: worker {ordinal} is stopped for {seconds} s")
                self.tasks.append(asyncio.create_task(stop(process, seconds)))
            case "cut":
                self.story.append(f"{at} s: worker {ordinal} is cut off for {seconds} s")
                self.tasks.append(asyncio.create_task(way.cut(seconds)))
            case "break":
                self.story.append(f"{at} s: the connection of worker {ordinal} breaks at its end")
                way.break_near()
            case "come":
                self.story.append(f"{at} s: another worker comes")
                await self.add_worker(max(self.workers) + 1)
            case "crash":
                away = self.dice.choice([0, 1, 4])
                self.story.append(f"{at} s: the coordinator is killed, and another comes after {away} s")
                self.coordinator.kill()
                await self.coordinator.wait()
                await asyncio.sleep(away)
                self.coordinator = await self.start(
                    "coordinator", "--listen", self.listen(), "--insecure", "--resume", next((self.folder / "results").iterdir())
                )

    def listen(self):
        host = "0.0.0.0" if IN_NAMESPACE in os.environ else "127.0.0.1"
        return f"{host}:{self.port}"

    def summary(self):
        return json.loads((next((self.folder / "results").iterdir()) / "summary.json").read_text())


async def stop(process, seconds):
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    if process.returncode is None:
        process.send_signal(signal.SIGCONT)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def truth(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth?requests=1", timeout=20) as answer:
        return json.load(answer)


def judge(summary, truth):
    """The problems, and a line of figures."""
    books, problems = summary["books"], []
    parts = {kind: books[kind] for kind in ("completed", "failed", "cancelled", "notSent", "lost")}
    if books["due"] != sum(parts.values()):
        problems.append(f"the books do not balance: {books}")
    bodies = [request["bodySha256"] for request in truth["requests"]]
    if len(bodies) != len(set(bodies)):
        problems.append(f"{len(bodies) - len(set(bodies))} bodies reached the server twice")
    if books["failed"]:
        problems.append(f"the server is well, and requests failed: {books['failedBy']}")
    known = books["completed"] + books["failed"] + books["cancelled"] + books["lostBy"]["inFlightAtLastSnapshot"]
    most = known + books["lostBy"]["dueAfterLastSnapshot"]
    if not known <= truth["received"] <= most:
        problems.append(f"the server has {truth['received']}, the books {known} to {most}: {books}")
    return problems, f"due {books['due']} = " + " + ".join(f"{count} {kind}" for kind, count in parts.items() if count)


def into_a_namespace():
    """Goes on in a network namespace where that is possible."""
    if IN_NAMESPACE in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "iptables", "ip"))):
        print("cuts are made by a relay: dropping packets needs root, unshare, ip and iptables")
        return
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


def rounds(arguments):
    if arguments[:1] == ["cuts"]:
        faults = [(9, [(3, "cut", 1)]), (30, [(3, "cut", 20)]), (22, [(3, "stop", 10)])]
        return [(0, (closed, seconds, story)) for closed in (False, True) for seconds, story in faults]
    count, first = (list(map(int, arguments)) + [20, 1][len(arguments):])[:2]
    return [(seed, None) for seed in range(first, first + count)]


async def main():
    bad, all_rounds = 0, rounds(sys.argv[1:])
    for seed, plan in all_rounds:
        folder = tempfile.mkdtemp(prefix="fleet-faults-")
        one = Round(seed, folder, plan)
        try:
            problems, figures = await one.play()
        except Exception as error:  # a round that cannot be judged is a failed one
            problems, figures = [f"{type(error).__name__}: {error}"], "no figures"
        name = "cuts" if plan else f"seed {seed}"
        print(f"{name}: {'FAILED' if problems else 'ok'}: {figures} ({'; '.join(one.story)})", flush=True)
        for problem in problems:
            print(f"  {problem}\n  everything is in {folder}", flush=True)
        if not problems:
            shutil.rmtree(folder)
        bad += bool(problems)
    print(f"{len(all_rounds) - bad} of {len(all_rounds)} rounds are good")
    return 1 if bad else 0


if __name__ == "__main__":
    into_a_namespace()
    sys.exit(asyncio.run(main()))
