"""A worker process for the tests to kill: it runs the operator once. Arguments: service, text, file of the store."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sending.sends import FileStore, send

if __name__ == "__main__":
    service, text, store = sys.argv[1:]
    print(send(service, text, FileStore(Path(store)))["id"])
