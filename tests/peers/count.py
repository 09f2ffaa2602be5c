"""Subscribes to everything as a slow Python service might, counts the numbered messages and says now
and then how it goes.

usage: count.py PORT

Prints {"beacon": true} for the first `beacon`, then five times a second {"count": N, "last": N,
"missed": N}, and {"done": N} when the publisher says that it has ended.
"""

import json
import sys
import time

import zmq

socket = zmq.Context.instance().socket(zmq.SUB)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
socket.setsockopt_string(zmq.SUBSCRIBE, "")


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


count, last, missed, said = 0, -1, 0, 0.0
served = False
while True:
    topic, _, payload = socket.recv().partition(b" ")
    if topic == b"beacon" and not served:
        served = True
        say(beacon=True)
    elif topic == b"number":
        n = json.loads(payload)["n"]
        missed += n - last - 1
        count, last = count + 1, n
        if time.monotonic() - said > 0.2:
            said = time.monotonic()
            say(count=count, last=last, missed=missed)
    elif topic == b"done":
        say(done=json.loads(payload)["published"], count=count, missed=missed)
        break
