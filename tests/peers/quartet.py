"""A socket of each kind, as the other end of `fixture-relay`: publishes and pushes a number a hundred times
a second, and says how many came back.

usage: quartet.py bind|connect PUB_PORT SUB_PORT PUSH_PORT PULL_PORT

Prints {"ready": true}, then a line whenever the first number has come back either way after more than
300 ms of silence: {"back": "echo"|"result", "n": N, "ms": MS}, MS since it was ready.
"""

import json
import sys
import time

import zmq

way, *ports = sys.argv[1:]
context = zmq.Context.instance()
sockets = [context.socket(kind) for kind in (zmq.PUB, zmq.SUB, zmq.PUSH, zmq.PULL)]
publisher, subscriber, push, pull = sockets
subscriber.setsockopt(zmq.SUBSCRIBE, b"echo")
for socket, port in zip(sockets, ports):
    address = f"tcp://127.0.0.1:{port}"
    socket.bind(address) if way == "bind" else socket.connect(address)
print(json.dumps({"ready": True}), flush=True)
began = time.monotonic()
heard = {"echo": 0.0, "result": 0.0}
poller = zmq.Poller()
poller.register(subscriber, zmq.POLLIN)
poller.register(pull, zmq.POLLIN)
number, due = 0, began


def came_back(what: str, text: bytes) -> None:
    now = time.monotonic()
    if now - heard[what] > 0.3:
        line = {"back": what, "n": json.loads(text)["n"], "ms": round((now - began) * 1000)}
        print(json.dumps(line), flush=True)
    heard[what] = now


while True:
    if time.monotonic() >= due:
        due += 0.01
        text = json.dumps({"n": number}).encode()
        number += 1
        publisher.send(b"number " + text)
        try:
            push.send(text, zmq.NOBLOCK)
        except zmq.Again:
            pass
    for socket, _ in poller.poll(max(0, round((due - time.monotonic()) * 1000))):
        if socket is subscriber:
            came_back("echo", socket.recv().partition(b" ")[2])
        else:
            came_back("result", socket.recv())
