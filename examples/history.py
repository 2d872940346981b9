"""A copy of ipam's history in SQLite: what the consumers in this folder make of events.

An event is entered, and is thereby the last one, in one transaction: so each has its effect once, however often it
comes and whenever the process is killed. What a bus did not bring is read from ipam's log, which has everything.
"""

import json
import sqlite3
import sys
import time
import urllib.error
import urllib.request

PAUSE_S = 1.0


class History:
    def __init__(self, file, api):
        self._api = api
        self._database = sqlite3.connect(file)
        self._database.execute("CREATE TABLE IF NOT EXISTS history (sequence INTEGER, type TEXT, subject TEXT)")
        self.last = self._last()

    def enter(self, event):
        """Enter an event that came over a bus, and before it those that did not."""
        if int(event["sequence"]) > self.last + 1:
            self.catch_up()
        self._enter([event])

    def catch_up(self, wait_s=0):
        """Enter what the log has; while it has nothing new, wait up to so many seconds for it."""
        while True:
            page, pause_s = self._ask(f"/events?after={self.last}&limit=1000&wait={wait_s}")
            self._enter(page["events"])
            if not page.get("next"):
                break
        time.sleep(pause_s)

    def _last(self):
        (last,) = self._database.execute("SELECT max(sequence) FROM history").fetchone()
        return last or 0

    def _enter(self, events):
        """Enter those of *events* that are new, all or none of them."""
        new = [event for event in events if int(event["sequence"]) > self.last]
        with self._database:
            for event in new:
                row = (int(event["sequence"]), event["type"], event["subject"])
                self._database.execute("INSERT INTO history VALUES (?, ?, ?)", row)
        for event in new:
            self.last = int(event["sequence"])
            print(event["sequence"], event["type"], event["subject"], flush=True)

    def _ask(self, path):
        """What ipam answers, when it does, and for how many seconds it wants not to be asked again."""
        while True:
            try:
                with urllib.request.urlopen(self._api + path, timeout=90) as answer:
                    return json.load(answer), float(answer.headers.get("Retry-After", 0))
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    # Such as: events are not kept that long. What was made of them has to be made anew.
                    sys.exit(f"{path}: {json.load(error)['detail']}")
                reason, pause_s = error, float(error.headers.get("Retry-After", PAUSE_S))
            except (OSError, ValueError) as error:
                reason, pause_s = error, PAUSE_S
            print(f"{self._api}: {reason}; asking again in {pause_s:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause_s)
