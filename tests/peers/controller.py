"""Hands out numbered tasks as the installation's Python controllers do, to whoever connects, and counts
the results: prints {"push": PORT, "pull": PORT}, then {"results": N, "distinct": N} when each number
has come back.

usage: controller.py COUNT
"""

import json
import sys
import threading

import zmq

context = zmq.Context.instance()
push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
ports = {
    "push": push.bind_to_random_port("tcp://127.0.0.1"),
    "pull": pull.bind_to_random_port("tcp://127.0.0.1"),
}
print(json.dumps(ports), flush=True)
count = int(sys.argv[1])


def hand_out():
    for n in range(count):
        push.send_json({"type": "task", "n": n, "text": "h\u00f6hle"})


threading.Thread(target=hand_out, daemon=True).start()
results, seen = 0, set()
while len(seen) < count:
    seen.add(pull.recv_json()["n"])
    results += 1
print(json.dumps({"results": results, "distinct": len(seen)}), flush=True)
