"""permessage-deflate with two WebSocket clients of Python: `websockets` and `aiohttp`."""

import asyncio
import unittest

import aiohttp
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from app import PATIENCE, App

TARGET = "/engine.io/?EIO=4&transport=websocket"
MESSAGES = ["4short", "4" + '{"room":"red"},' * 1_000, "4" + "".join(f'{{"id":{n * 7919 % 10007}}},' for n in range(5_000))]


class Deflate(unittest.TestCase):
    def for_each_server(self, check):
        for flags in ([], ["--takeover"]):
            app = App("--engine", "--per-message-deflate", *flags)
            try:
                with self.subTest(flags=flags):
                    asyncio.run(asyncio.wait_for(check(app.url.replace("http", "ws") + TARGET), 4 * PATIENCE))
            finally:
                app.stop()

    def test_websockets_sends_and_gets_compressed_messages(self):
        async def check(url):
            for no_takeover in (False, True):
                for bits in (None, 9, 12, 15):
                    factory = ClientPerMessageDeflateFactory(
                        server_no_context_takeover=no_takeover,
                        client_no_context_takeover=no_takeover,
                        server_max_window_bits=bits,
                        client_max_window_bits=bits or True,
                    )
                    async with websockets.connect(url, compression=None, extensions=[factory], max_size=None) as socket:
                        self.assertEqual([extension.name for extension in socket.protocol.extensions], ["permessage-deflate"])
                        self.assertTrue((await socket.recv()).startswith("0"))
                        for message in MESSAGES * 2:
                            await socket.send(message)
                            self.assertEqual(await socket.recv(), message)

        self.for_each_server(check)

    def test_aiohttp_sends_and_gets_compressed_messages(self):
        async def check(url):
            async with aiohttp.ClientSession() as session:
                for bits in (9, 12, 15):
                    async with session.ws_connect(url, compress=bits) as socket:
                        self.assertGreater(socket.compress, 0)
                        self.assertTrue((await socket.receive_str()).startswith("0"))
                        for message in MESSAGES * 2:
                            await socket.send_str(message)
                            self.assertEqual(await socket.receive_str(), message)

        self.for_each_server(check)
