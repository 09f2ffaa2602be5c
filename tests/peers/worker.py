"""Works as the installation's Python workers do: pulls tasks, pushes a result with each one's number.

usage: worker.py PULL_PORT PUSH_PORT
"""

import json
import os
import sys

import zmq

context = zmq.Context.instance()
tasks, results = context.socket(zmq.PULL), context.socket(zmq.PUSH)
tasks.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
results.connect(f"tcp://127.0.0.1:{sys.argv[2]}")
while True:
    frames = tasks.recv_multipart()
    assert len(frames) == 1, frames
    task = json.loads(frames[0])
    results.send_json({"type": "result", "n": task["n"], "instance": os.getpid()})
