#!/usr/bin/env python3
"""Does the static command resolve names as a pod needs it? A program linked whole brings its own resolver along.

In a network and file-system namespace of its own, on loopback alone, with a hosts file, a resolv.conf as a kubelet writes it
(a search list, ndots:5) and a name server of a few lines, the given program measures its own simulator by each kind of name:

  localhost                      from the hosts file
  gateway                        from the hosts file, as `hostAliases` or `extra_hosts` write it
  tokenstorm-coordinator         by the search list; a headless Service: two addresses, of which one answers
  simulator.bench.svc            by the search list and ndots, behind names that do not exist
  sim.example.test.              with a final dot: as it is

usage: scripts/long/static-names.py PROGRAM     (as root; else it says so and ends with 0)
"""

import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading

INSIDE = "STATIC_NAMES_INSIDE"
SEARCH = "bench.svc.cluster.local svc.cluster.local cluster.local"
# What the name server knows. Nobody listens at 127.0.0.9.
ZONE = {
    "tokenstorm-coordinator.bench.svc.cluster.local": ["127.0.0.9", "127.0.0.1"],
    "simulator.bench.svc.cluster.local": ["127.0.0.1"],
    "sim.example.test": ["127.0.0.1"],
}
NAMES = ["localhost", "gateway", "tokenstorm-coordinator", "simulator.bench.svc", "sim.example.test."]


def answer(question):
    """An answer of RFC 1035 to a question of one name; a name that does not exist is NXDOMAIN."""
    place, labels = 12, []
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode())
        place += 1 + length
    asked = question[12 : place + 5]
    kind = struct.unpack("!H", question[place + 1 : place + 3])[0]
    known = ZONE.get(".".join(labels).lower())
    addresses = known if known and kind == 1 else []
    flags = 0x8180 if known else 0x8183
    head = question[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
    records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + socket.inet_aton(address) for address in addresses]
    return ".".join(labels), head + asked + b"".join(records)


def serve(asked):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.53", 53))
    while True:
        question, peer = server.recvfrom(512)
        name, reply = answer(question)
        asked.append(name)
        server.sendto(reply, peer)


def measure(program, name, folder):
    """Requests that were completed through that name."""
    simulate = [program, "simulate", "--listen", "127.0.0.1:8000", "--fixed"]
    simulator = subprocess.Popen(simulate, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        simulator.stdout.readline()
        results = pathlib.Path(folder) / name
        run = [program, "run", "--endpoint", f"http://{name}:8000", "--rate", "10", "--duration", "2", "--output", str(results)]
        ended = subprocess.run(run + ["--set", "prompts.outputLength.mean=4"], capture_output=True, text=True)
        found = list(results.glob("*/summary.json"))
        if not found:
            return f"exit code {ended.returncode}: {ended.stderr.strip().splitlines()[-1:]}"
        return json.loads(found[0].read_text())["books"]["completed"]
    finally:
        simulator.kill()
        simulator.wait()


def inside(program):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    asked, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        files = {"/etc/hosts": "127.0.0.1 localhost\n127.0.0.1 gateway\n", "/etc/resolv.conf": f"nameserver 127.0.0.53\nsearch {SEARCH}\noptions ndots:5\n"}
        for place, text in files.items():
            stand_in = pathlib.Path(folder) / pathlib.Path(place).name
            stand_in.write_text(text)
            subprocess.run(["mount", "--bind", str(stand_in), place], check=True)
        threading.Thread(target=serve, args=[asked], daemon=True).start()
        for name in NAMES:
            asked.clear()
            completed = measure(program, name, folder)
            failed += completed != 20
            told = f", the name server was asked for {', '.join(dict.fromkeys(asked))}" if asked else ""
            print(f"{name}: {completed} of 20 requests completed{told}", flush=True)
    return failed


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.rsplit("\n\n", 1)[1])
    program = os.path.abspath(sys.argv[1])
    if os.environ.get(INSIDE):
        sys.exit(1 if inside(program) else 0)
    if os.geteuid() != 0:
        print("skipped: a network of its own takes root")
        return
    command = ["unshare", "--mount", "--net", sys.executable, __file__, program]
    sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}).returncode)


if __name__ == "__main__":
    main()
