"""Subscribes as the installation's Python services do and prints each message as a line of JSON.

usage: subscribe.py PORT TOPIC...
"""

import json
import sys

import zmq

socket = zmq.Context.instance().socket(zmq.SUB)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
for topic in sys.argv[2:]:
    socket.setsockopt_string(zmq.SUBSCRIBE, topic)
while True:
    frames = socket.recv_multipart()
    topic, _, payload = frames[0].decode("utf-8").partition(" ")
    line = {"frames": len(frames), "topic": topic, "payload": json.loads(payload)}
    print(json.dumps(line), flush=True)
