"""`python -m tests.bench.http`: what HTTP costs: only our server, each of its protocols, and bare ASGI, in closed loop."""

import sys

from tests.bench import server

if __name__ == "__main__":
    server.main(["--only", "bare ASGI", "ours", "--singles", *sys.argv[1:]])
