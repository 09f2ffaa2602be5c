"""A worker as the installation's Python services are: pulls tasks, pushes a result for each.

usage: work.py TASKS_PORT RESULTS_PORT

Connects both. Prints {"ready": true}, then {"worked": N} after every thousand.
"""

import json
import os
import sys

import zmq

tasks_port, results_port = sys.argv[1:]
context = zmq.Context.instance()
tasks, results = context.socket(zmq.PULL), context.socket(zmq.PUSH)
tasks.connect(f"tcp://127.0.0.1:{tasks_port}")
results.connect(f"tcp://127.0.0.1:{results_port}")
print(json.dumps({"ready": True}), flush=True)
worked = 0
while True:
    n = json.loads(tasks.recv())["n"]
    results.send_string(json.dumps({"n": n, "worker": os.getpid()}))
    worked += 1
    if worked % 1000 == 0:
        print(json.dumps({"worked": worked}), flush=True)
