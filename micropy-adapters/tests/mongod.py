"""A mongod for one test: each line it is told, start, stop or kill, it does and repeats."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
from servers.mongodb import server

with server() as mongod:
    print(*mongod.environment().values(), flush=True)
    for line in sys.stdin:
        getattr(mongod, line.strip())()
        print(line.strip(), flush=True)
