"""Lets a WebSocket client of HTTP/1.1 reach a server by extended CONNECT over HTTP/2 (RFC 8441), in clear.

Each accepted connection becomes one stream on an HTTP/2 connection of its own, by the PyPI package `h2`; bytes are passed
on as they are. Usage: bridge.py PORT SERVER_PORT
"""

import asyncio
import base64
import hashlib
import sys

# Our own directory would come first, with modules of its own.
del sys.path[0]
import h2.config  # noqa: E402
import h2.connection  # noqa: E402
import h2.events  # noqa: E402
import h2.exceptions  # noqa: E402
import h2.settings  # noqa: E402

# RFC 6455, 1.3.
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# What of the client's head goes on.
PASSED_ON = ("sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol", "origin", "user-agent")


class Tunnel:
    """One stream, and the connection below it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.stream = None
        self.answer = asyncio.get_running_loop().create_future()
        self.settings = asyncio.Event()
        self.window = asyncio.Event()
        self.inbound = asyncio.Queue()

    async def flush(self):
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def open(self, authority, path, fields):
        self.h2.initiate_connection()
        await self.flush()
        await self.settings.wait()
        if not self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL):
            raise ConnectionError("the server does not allow extended CONNECT")
        self.stream = self.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path), (":authority", authority)]
        self.h2.send_headers(self.stream, head + fields)
        await self.flush()
        return await self.answer

    async def listen(self):
        """Reads frames until the connection or the stream ends; puts `None` behind the last bytes."""
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    if not self.take(event):
                        return
                await self.flush()
        finally:
            self.settings.set()
            self.window.set()
            if not self.answer.done():
                self.answer.set_exception(ConnectionError("the connection ended before an answer"))
            self.inbound.put_nowait(None)

    def take(self, event):
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings.set()
            self.window.set()
        elif isinstance(event, h2.events.WindowUpdated):
            self.window.set()
        elif isinstance(event, h2.events.ResponseReceived):
            self.answer.set_result(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.inbound.put_nowait(event.data)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)):
            return False
        return True

    async def send(self, data):
        while data:
            room = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, len(data))
            if room <= 0:
                self.window.clear()
                await self.window.wait()
                continue
            self.h2.send_data(self.stream, data[:room])
            data = data[room:]
            await self.flush()

    async def end(self):
        self.h2.end_stream(self.stream)
        await self.flush()


async def serve(reader, writer, server_port):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.strip().split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    tunnel = Tunnel(*await asyncio.open_connection("127.0.0.1", server_port))
    listener = asyncio.create_task(tunnel.listen())
    try:
        passed = [(name, fields[name]) for name in PASSED_ON if name in fields]
        answer = await tunnel.open(fields["host"], line.split(" ")[1], passed)
        if answer[":status"] != "200":
            writer.write(f"HTTP/1.1 {answer[':status']} no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            return
        accept = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest()).decode()
        reply = f"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n"
        reply += "".join(f"{name}: {answer[name]}\r\n" for name in PASSED_ON[1:3] if name in answer)
        writer.write(reply.encode() + b"\r\n")
        up = asyncio.create_task(upwards(reader, tunnel))
        while (data := await tunnel.inbound.get()) is not None:
            writer.write(data)
            await writer.drain()
        up.cancel()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        listener.cancel()
        tunnel.writer.close()
        writer.close()


async def upwards(reader, tunnel):
    try:
        while data := await reader.read(65536):
            await tunnel.send(data)
        await tunnel.end()
    except (OSError, h2.exceptions.ProtocolError):
        pass


async def main():
    port, server_port = map(int, sys.argv[1:])
    server = await asyncio.start_server(lambda *streams: serve(*streams, server_port), "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main())
