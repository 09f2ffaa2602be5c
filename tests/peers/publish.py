"""Binds a port of its own, prints {"port": N}, prints {"subscribed": TOPIC} for each subscription, and
sends each line of standard input, which is one whole frame.

usage: publish.py TOPIC...   (the subscriptions to wait for)
"""

import json
import sys

import zmq

# XPUB is PUB that hands its subscriptions to the program.
socket = zmq.Context.instance().socket(zmq.XPUB)
port = socket.bind_to_random_port("tcp://127.0.0.1")
print(json.dumps({"port": port}), flush=True)
missing = set(sys.argv[1:])
while missing:
    event = socket.recv()
    topic = event[1:].decode("utf-8")
    if event[0] == 1 and topic in missing:
        missing.discard(topic)
        print(json.dumps({"subscribed": topic}), flush=True)
for line in sys.stdin:
    socket.send_string(line.rstrip("\n"))
