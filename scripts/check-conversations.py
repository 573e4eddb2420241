#!/usr/bin/env python3
"""Holds what a run of sessions sends against what the server said: a recording proxy in front of a real server.

A client that made its histories up, or lost a word of an answer, would measure another prefix cache than its users have.
So every request with a history must begin with an earlier request's messages and, word for word, the answer to it; and
the server's own count of the prompt must have grown by at least that answer.

usage: scripts/check-conversations.py http://127.0.0.1:18080 -- tokenstorm run --endpoint {endpoint} …
       `{endpoint}` stands for the proxy's address
"""

import http.client
import json
import subprocess
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

records = []
lock = threading.Lock()


def said_in(payload):
    """The answer's text and the usage, from events or from one JSON."""
    text, usage, events = [], {}, payload.split(b"\n")
    data = [line[5:].strip() for line in events if line.startswith(b"data:")] or [payload]
    for one in data:
        try:
            event = json.loads(one)
        except ValueError:
            continue
        usage = event.get("usage") or usage
        for choice in event.get("choices", [])[:1]:
            message = choice.get("delta") or choice.get("message") or {}
            text.append(message.get("content") or "")
    return "".join(text), usage


def handler(engine):
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.forward(None)

        def do_POST(self):
            self.forward(self.rfile.read(int(self.headers.get("content-length", 0))))

        def forward(self, body):
            upstream = http.client.HTTPConnection(engine.hostname, engine.port, timeout=600)
            headers = {"content-type": "application/json"} if body is not None else {}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            self.send_header("content-type", answer.getheader("content-type", "application/json"))
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            whole = b""
            while piece := answer.read1(65536):
                whole += piece
                self.wfile.write(piece)
                self.wfile.flush()
            if body is not None and self.path.endswith("/chat/completions"):
                said, usage = said_in(whole)
                asked = json.loads(body)["messages"]
                with lock:
                    records.append({"asked": asked, "status": answer.status, "said": said, "usage": usage})

    return Proxy


def key(messages):
    return json.dumps(messages, sort_keys=True)


def judge():
    """Lines of a table by turn, and what is wrong."""
    answered = [record for record in records if record["status"] == 200]
    known = {}
    for record in answered:
        history = record["asked"] + [{"role": "assistant", "content": record["said"]}]
        known[key(history)] = record
    turns, wrong, held = defaultdict(list), [], 0
    for record in records:
        asked = record["asked"]
        turn = sum(message["role"] == "user" for message in asked)
        before = known.get(key(asked[:-1])) if turn > 1 else None
        if turn > 1 and before is None:
            wrong.append(f"a history that the server never said, of {len(asked)} messages: {key(asked)[:200]}")
            continue
        held += turn > 1
        if record["status"] != 200:
            continue
        prompt = record["usage"].get("prompt_tokens", 0)
        grown = None
        if before is not None:
            grown = prompt - before["usage"].get("prompt_tokens", 0)
            if grown < before["usage"].get("completion_tokens", 0):
                wrong.append(f"turn {turn}: the prompt grew by {grown} tokens, less than the answer before it")
        turns[turn].append((prompt, record["usage"].get("completion_tokens", 0), grown))
    return turns, wrong, held


def main():
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        sys.exit(__doc__)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler(urlsplit(sys.argv[1])))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{proxy.server_port}"
    command = [word.replace("{endpoint}", endpoint) for word in sys.argv[3:]]
    code = subprocess.run(command, check=False).returncode
    proxy.shutdown()
    turns, wrong, held = judge()
    print(f"\n{'turn':>4} {'answered':>9} {'prompt':>8} {'answer':>8} {'grown by':>9}   (tokens as the server counts them, means)")
    for turn, rows in sorted(turns.items()):
        mean = lambda values: sum(values) / len(values)
        grown = [row[2] for row in rows if row[2] is not None]
        told = f"{mean(grown):9.1f}" if grown else f"{'–':>9}"
        print(f"{turn:>4} {len(rows):>9} {mean([r[0] for r in rows]):8.1f} {mean([r[1] for r in rows]):8.1f} {told}")
    failed = sum(record["status"] != 200 for record in records)
    print(f"{len(records)} requests, {failed} refused; {held} histories are, word for word, what the server said before")
    for line in wrong:
        print(f"WRONG: {line}")
    sys.exit(1 if wrong or not held else code)


if __name__ == "__main__":
    main()
