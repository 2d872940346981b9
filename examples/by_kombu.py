"""Listen on RabbitMQ or Redis: python by_kombu.py redis://127.0.0.1:6379/0 http://127.0.0.1:8000"""

import json
import sys
import time

from history import History
from kombu import Connection, Exchange, Queue
from kombu.mixins import ConsumerMixin

LOOKS_EVERY_S = 30.0
exchange = Exchange("ipam.events", type="topic", durable=True)
# A name of its own for each consumer. With "ipam.reservation.#" no gap could be told from what is not wanted.
queue = Queue("history", exchange, routing_key="ipam.#", durable=True)


class Listener(ConsumerMixin):
    def __init__(self, connection, history):
        self.connection = connection
        self.history = history
        self.looks_at = 0.0

    def get_consumers(self, consumer, _channel):
        return [consumer([queue], on_message=self.on_message, prefetch_count=100)]

    def on_consume_ready(self, *_args, **_kwargs):
        self.look()
        print("listening", flush=True)

    def on_iteration(self):  # Each second, or after each message.
        if time.monotonic() > self.looks_at:
            self.look()

    def on_message(self, message):
        self.history.enter(json.loads(message.body))
        message.ack()
        self.looks_at = time.monotonic() + LOOKS_EVERY_S

    def look(self):
        """A queue may have been lost, and nothing come any more: then the log has it."""
        self.history.catch_up()
        self.looks_at = time.monotonic() + LOOKS_EVERY_S


with Connection(sys.argv[1]) as connection:
    Listener(connection, History("history.sqlite", sys.argv[2])).run()
