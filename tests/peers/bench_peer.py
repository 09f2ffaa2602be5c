"""The plainest asyncio peers: what one writes in Python in place of a service with one handler.

usage: bench_peer.py station BENCH OUT
       bench_peer.py pair BENCH OUT TO FRO
       bench_peer.py worker TASKS RESULTS

What they do by topic is what `fixture-bench` does. The two of a pair share a loop and talk by inproc.
"""

import asyncio
import json
import sys
import time

import zmq
import zmq.asyncio

CONTEXT = zmq.asyncio.Context()


def publisher(endpoint: str) -> zmq.asyncio.Socket:
    socket = CONTEXT.socket(zmq.PUB)
    socket.set_hwm(0)
    socket.bind(endpoint)
    return socket


def subscriber(endpoint: str) -> zmq.asyncio.Socket:
    socket = CONTEXT.socket(zmq.SUB)
    socket.set_hwm(0)
    socket.connect(endpoint)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    return socket


def tcp(port: str) -> str:
    return f"tcp://127.0.0.1:{port}"


async def publish(out: zmq.asyncio.Socket, credit: dict) -> None:
    around = len(b'number {"n":0,"pad":""}')
    frame = b'number {"n":0,"pad":"%s"}' % (b"x" * max(0, credit["size"] - around))
    for _ in range(credit["n"]):
        await out.send(frame)
    await out.send(b'mark {"count":%d}' % credit["n"])


async def station(bench: str, out: str) -> None:
    out, bench = publisher(tcp(out)), subscriber(tcp(bench))
    count = 0
    while True:
        frame = await bench.recv()
        topic, _, payload = frame.partition(b" ")
        if topic == b"number":
            count += 1
        elif topic == b"mark":
            await out.send(b'mark {"count":%d}' % count)
        elif topic == b"ping":
            await out.send(b"pong " + payload)
        elif topic == b"credit":
            await publish(out, json.loads(payload))


async def first(to: zmq.asyncio.Socket, fro: zmq.asyncio.Socket, bench: str) -> None:
    bench = subscriber(tcp(bench))
    while True:
        frame = await bench.recv()
        topic, _, payload = frame.partition(b" ")
        if topic == b"credit":
            await publish(to, json.loads(payload))
        elif topic == b"race":
            for _ in range(json.loads(payload)["n"]):
                await to.send(b"stamp %d" % time.time_ns())
                await fro.recv()
            await to.send(b"over {}")
        else:
            await to.send(frame)


async def second(to: zmq.asyncio.Socket, fro: zmq.asyncio.Socket, out: str) -> None:
    out = publisher(tcp(out))
    count, delays = 0, []
    while True:
        frame = await to.recv()
        topic, _, payload = frame.partition(b" ")
        if topic == b"number":
            count += 1
        elif topic == b"mark":
            await out.send(b'mark {"count":%d}' % count)
        elif topic == b"ping":
            await out.send(b"pong " + payload)
        elif topic == b"stamp":
            delays.append(time.time_ns() - int(payload))
            await fro.send(b"back {}")
        elif topic == b"over":
            await out.send(b"delays " + json.dumps(delays).encode())
            delays = []


async def pair(bench: str, out: str, *_: str) -> None:
    to, fro = publisher("inproc://to"), publisher("inproc://fro")
    hears_first, hears_second = subscriber("inproc://to"), subscriber("inproc://fro")
    await asyncio.gather(first(to, hears_second, bench), second(hears_first, fro, out))


async def worker(tasks: str, results: str) -> None:
    push, pull = CONTEXT.socket(zmq.PUSH), CONTEXT.socket(zmq.PULL)
    push.connect(tcp(results))
    pull.connect(tcp(tasks))
    while True:
        await pull.recv()
        await push.send(b'{"done":true}')


asyncio.run({"station": station, "pair": pair, "worker": worker}[sys.argv[1]](*sys.argv[2:]))
