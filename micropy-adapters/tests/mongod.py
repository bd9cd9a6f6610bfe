"""A mongod for one test. It obeys each line it reads (start, stop or kill), and repeats it when that is done."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests"))
from harness.servers.mongodb import server

with server() as mongod:
    print(*mongod.environment().values(), flush=True)
    for line in sys.stdin:
        getattr(mongod, line.strip())()
        print(line.strip(), flush=True)
