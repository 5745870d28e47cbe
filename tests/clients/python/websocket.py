"""The Python package websockets: sends lines of standard input, prints what comes, a line each.

    websocket.py URL

Ends when its standard input closes.
"""

import asyncio
import sys

from websockets.asyncio.client import connect


async def main(url):
    async with connect(url, max_size=None) as socket:
        loop = asyncio.get_running_loop()

        async def receive():
            async for message in socket:
                print(message, flush=True)

        receiving = asyncio.create_task(receive())
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await socket.send(line.strip())
        await socket.close()
        await receiving


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
