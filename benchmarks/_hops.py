"""The yardsticks of throughput: what ZeroMQ takes between processes when nothing is done with the messages.

`bare`: PUSH -> PULL, one event a message, two processes. `relay`: PUSH -> PULL -> PUB -> SUB, three: the way
through a pipeline without any of our work.
"""

from __future__ import annotations

import tempfile
import time
from multiprocessing.connection import Connection as Pipe

import zmq
from _readers import CONTEXT


def _push(pipe: Pipe, endpoint: str, message: bytes, count: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(endpoint)
        pipe.recv()
        began, began_s = time.perf_counter(), time.process_time()
        for _ in range(count):
            push.send(message)
        pipe.send((began, time.process_time() - began_s))
        push.setsockopt(zmq.LINGER, -1)


def _relay(pipe: Pipe, endpoint: str, further: str, count: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.XPUB) as pub:
        pull.bind(endpoint)
        pub.setsockopt(zmq.SNDHWM, 0)
        pub.bind(further)
        pipe.send("bound")
        pub.recv()  # the subscriber is there
        pipe.send("joined")
        began = time.process_time()
        for _ in range(count):
            pub.send(pull.recv())
        pipe.send((0.0, time.process_time() - began))
        pub.setsockopt(zmq.LINGER, -1)


def measure(message: bytes, count: int, *, relayed: bool) -> tuple[float, float]:
    """Send so many messages once.

    Returns:
        (messages a second, from the first to the last; CPU us a message, of all processes).
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as place, zmq.Context() as context:
        first, second = f"ipc://{place}/first", f"ipc://{place}/second"
        pipes, processes = [], []

        def start(target: object, *args: object) -> Pipe:
            own, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=target, args=(theirs, *args), daemon=True)
            process.start()
            theirs.close()
            pipes.append(own)
            processes.append(process)
            return own

        with context.socket(zmq.SUB if relayed else zmq.PULL) as end:
            end.setsockopt(zmq.RCVHWM, 0 if relayed else 1000)
            if relayed:
                relay = start(_relay, first, second, count)
                relay.recv()
                end.setsockopt(zmq.SUBSCRIBE, b"")
                end.connect(second)
                relay.recv()
            else:
                end.bind(first)
            start(_push, first, message, count).send("go")
            cpu = time.process_time()
            for _ in range(count):
                end.recv()
            ended, used = time.perf_counter(), time.process_time() - cpu
            told = [pipe.recv() for pipe in pipes]
            for process in processes:
                process.join()
        began = max(at for at, _ in told)  # of the one that sends
        return count / (ended - began), (used + sum(spent for _, spent in told)) / count * 1e6
