"""A WebSocket service that sends every message back, over the PyPI package `websockets`. Usage: echo.py PORT"""

import asyncio
import sys

# Our own directory would come first, with modules of its own.
del sys.path[0]
from websockets.asyncio.server import serve  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def main():
    # Autobahn's longest message has 16 MiB. The suite itself says when a connection ends.
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=32 << 20, ping_interval=None) as server:
        await server.serve_forever()


asyncio.run(main())
