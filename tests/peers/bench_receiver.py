"""The plainest asyncio receiver: what one writes in Python in place of a service with one handler.

usage: bench_receiver.py NUMBERS_PORT PROGRESS_PORT STRIDE

Connects SUB to NUMBERS_PORT and PUB to PROGRESS_PORT; counts the messages on topic `number`, parses
each, and publishes `progress {"count": N}` every STRIDE messages, as the counting plugin does.
"""

import asyncio
import json
import sys

import zmq
import zmq.asyncio


async def main() -> None:
    numbers_port, progress_port, stride = map(int, sys.argv[1:])
    context = zmq.asyncio.Context()
    progress = context.socket(zmq.PUB)
    progress.connect(f"tcp://127.0.0.1:{progress_port}")
    numbers = context.socket(zmq.SUB)
    numbers.set_hwm(0)
    numbers.connect(f"tcp://127.0.0.1:{numbers_port}")
    numbers.setsockopt(zmq.SUBSCRIBE, b"number")
    count = 0
    while True:
        frame = await numbers.recv()
        topic, _, payload = frame.partition(b" ")
        json.loads(payload)["n"]
        count += 1
        if count % stride == 0:
            await progress.send(b'progress {"count":%d}' % count)


asyncio.run(main())
