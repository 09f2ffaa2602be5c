"""A controller as the installation's Python services are: pushes numbered tasks, pulls the results.

usage: direct.py TASKS_PORT RESULTS_PORT COUNT

Binds both. Prints {"ready": true}, and {"results": N} after every thousand. A number on standard input is
how many more tasks to push; when the result of the last of those has come, prints {"results": N,
"distinct": N, "missing": N} and ends.
"""

import json
import sys

import zmq

tasks_port, results_port, count = map(int, sys.argv[1:])
context = zmq.Context.instance()
tasks, results = context.socket(zmq.PUSH), context.socket(zmq.PULL)
tasks.bind(f"tcp://127.0.0.1:{tasks_port}")
results.bind(f"tcp://127.0.0.1:{results_port}")
print(json.dumps({"ready": True}), flush=True)
poller = zmq.Poller()
poller.register(results, zmq.POLLIN)
poller.register(tasks, zmq.POLLOUT)
poller.register(sys.stdin, zmq.POLLIN)
pushed, came, seen, told = 0, 0, set(), False
while not told or count - 1 not in seen:
    ready = dict(poller.poll())
    if sys.stdin.fileno() in ready:
        count += int(sys.stdin.readline())
        told = True
        poller.unregister(sys.stdin)
        poller.register(tasks, zmq.POLLOUT)
    if tasks in ready:
        tasks.send_string(json.dumps({"n": pushed}))
        pushed += 1
        if pushed == count:
            poller.unregister(tasks)
    if results in ready:
        seen.add(json.loads(results.recv())["n"])
        came += 1
        if came % 1000 == 0:
            print(json.dumps({"results": came}), flush=True)
print(json.dumps({"results": came, "distinct": len(seen), "missing": count - len(seen)}), flush=True)
