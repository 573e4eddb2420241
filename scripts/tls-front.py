#!/usr/bin/env python3
"""TLS in front of a plain server, for the bench's row of memory under TLS: HOST:PORT CERTIFICATE KEY.

Says its own address in one line on stdout, relays until it is ended. Not fast: some thousand events a second.
"""

import asyncio
import ssl
import sys


async def relay(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass  # the other side is gone: so is this connection
    finally:
        writer.close()


async def main(target, certificate, key):
    host, port = target.rsplit(":", 1)

    async def connected(reader, writer):
        try:
            there, back = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(relay(reader, back), relay(there, writer), return_exceptions=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context, backlog=4096)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


if len(sys.argv) != 4:
    sys.exit(__doc__)
asyncio.run(main(*sys.argv[1:]))
