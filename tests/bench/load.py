"""A load generator for one HTTP/1.1 request, in a process of its own: N keep-alive connections, one request each at a time."""

import argparse
import asyncio
import json
import sys
import time

import uvloop


class Connection(asyncio.Protocol):
    """Sends the same request again as soon as its answer is complete."""

    def __init__(self, request: bytes, tally: "Tally") -> None:
        self.request, self.tally, self.buffer, self.sent = request, tally, b"", 0.0

    def connection_made(self, transport):
        self.transport = transport
        self._send()

    def _send(self):
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data):
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self.buffer[:head].lower()
        at = lower.index(b"content-length:") + 15
        end = lower.find(b"\r\n", at)
        length = int(lower[at : end if end > 0 else head])
        if len(self.buffer) < head + 4 + length:
            return
        self.tally.count(self.buffer[9:12], time.perf_counter() - self.sent)
        self.buffer = self.buffer[head + 4 + length :]
        self._send()

    def connection_lost(self, error):
        self.tally.lost += 1


class Tally:
    """Answers by status, and times."""

    def __init__(self):
        self.ok, self.other, self.lost, self.times = 0, 0, 0, []

    def count(self, status, seconds):
        if status == b"200":
            self.ok += 1
            self.times.append(seconds)
        else:
            self.other += 1


async def drive(host, port, request, connections, seconds):
    tally = Tally()
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Connection(request, tally), host, port) for _ in range(connections)]
    await asyncio.sleep(min(0.5, seconds / 4))
    tally.ok, tally.times = 0, []
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    done, times, other = tally.ok, sorted(tally.times), tally.other
    for transport, _ in made:
        transport.abort()
    return {
        "per_second": done / took,
        "other": other,
        "p50_ms": 1000 * times[len(times) // 2] if times else 0,
        "p99_ms": 1000 * times[int(len(times) * 0.99)] if times else 0,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--path", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    body = sys.stdin.buffer.read()
    head = f"POST {args.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head += f"Authorization: Bearer {args.token}\r\n\r\n" if args.token else "\r\n"
    coroutine = drive("127.0.0.1", args.port, head.encode() + body, args.connections, args.seconds)
    print(json.dumps(uvloop.run(coroutine)))


if __name__ == "__main__":
    main()
