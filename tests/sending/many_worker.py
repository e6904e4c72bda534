"""A worker process for the tests to kill: it sends a list. Arguments: service, how many, file of the store."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sending.sends import FileStore
from sending.test_many_once import numbered, send

if __name__ == "__main__":
    service, count, store = sys.argv[1:]
    send(service, numbered(service, int(count)), FileStore(Path(store)), concurrency=4)
