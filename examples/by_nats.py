"""Listen on NATS, with JetStream or without: python by_nats.py nats://127.0.0.1:4222 http://127.0.0.1:8000"""

import asyncio
import json
import sys

import nats
from history import History

LOOKS_EVERY_S = 30.0


async def main():
    history = History("history.sqlite", sys.argv[2])
    client = await nats.connect(sys.argv[1], max_reconnect_attempts=-1)
    # What is missed while nobody listens is read from ipam's log: neither a stream nor a consumer of one is needed.
    heard = await client.subscribe("ipam.>")
    await client.flush()
    history.catch_up()
    print("listening", flush=True)
    while True:
        try:
            message = await heard.next_msg(timeout=LOOKS_EVERY_S)
        except nats.errors.TimeoutError:  # Nothing happened; or it did while the bus was away.
            history.catch_up()
        else:
            history.enter(json.loads(message.data))


asyncio.run(main())
