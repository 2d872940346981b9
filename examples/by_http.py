"""Follow ipam's log: python by_http.py http://127.0.0.1:8000"""

import sys

from history import History

history = History("history.sqlite", sys.argv[1])
print("listening", flush=True)
while True:
    history.catch_up(wait_s=60)
