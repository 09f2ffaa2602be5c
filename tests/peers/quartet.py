"""A socket of each kind, as the other end of `fixture-relay`: publishes and pushes a number a hundred times
a second, and says how many came back.

usage: quartet.py bind|connect PUB_PORT SUB_PORT PUSH_PORT PULL_PORT

Prints {"ready": true}, then a line for the first number that comes back either way, {"back":
"echo"|"result", "n": N}, and so again after each line of standard input, for numbers sent since.
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
# The least number that is worth a line.
awaited = {"echo": 0, "result": 0}
poller = zmq.Poller()
poller.register(subscriber, zmq.POLLIN)
poller.register(pull, zmq.POLLIN)
poller.register(sys.stdin, zmq.POLLIN)
number, due = 0, began


def came_back(what: str, text: bytes) -> None:
    n = json.loads(text)["n"]
    if what in awaited and n >= awaited[what]:
        del awaited[what]
        print(json.dumps({"back": what, "n": n}), flush=True)


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
        if socket == sys.stdin.fileno():
            sys.stdin.readline()
            awaited = {"echo": number, "result": number}
        elif socket is subscriber:
            came_back("echo", socket.recv().partition(b" ")[2])
        else:
            came_back("result", socket.recv())
