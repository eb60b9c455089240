"""The guarantees for a user of python-socketio, by each transport and with both encodings."""

import queue
import threading

import socketio.exceptions

from app import PATIENCE, ClientCase, own_namespace


def pattern(length):
    return bytes(index * 31 % 256 for index in range(length))


class Json(ClientCase):
    TRANSPORTS = (("polling",), ("websocket",), ("polling", "websocket"))

    def for_each_transport(self, check):
        for transports in self.TRANSPORTS:
            with self.subTest(transports=transports):
                check(self.client(own_namespace(), transports))

    def test_client_uses_the_requested_transport(self):
        names = [self.client(own_namespace(), transports).raw.transport() for transports in self.TRANSPORTS]
        self.assertEqual(names, ["polling", "websocket", "websocket"])

    def test_server_sees_the_upgrade(self):
        peer = self.client(own_namespace(), ("polling", "websocket"))
        self.assertEqual(peer.op(do="id")["transport"], "websocket")

    def test_events_return_with_all_arguments(self):
        def check(peer):
            back = peer.heard("message-back")
            peer.emit("message", "a", 2, [3], {"four": None}, "пять")
            self.assertEqual(back.get(timeout=PATIENCE), ("a", 2, [3], {"four": None}, "пять"))

        self.for_each_transport(check)

    def test_a_hundred_events_keep_their_order(self):
        def check(peer):
            back = peer.heard("echo")
            for number in range(100):
                peer.emit("echo", number)
            got = [back.get(timeout=PATIENCE)[0] for _ in range(100)]
            self.assertEqual(got, list(range(100)))

        self.for_each_transport(check)

    def test_server_acknowledges(self):
        def check(peer):
            self.assertEqual(peer.ask("message-with-ack", 1, "two", {"three": [None, True]}), (1, "two", {"three": [None, True]}))

        self.for_each_transport(check)

    def test_client_acknowledges(self):
        def check(peer):
            peer.raw.on("question", lambda text: f"{text} yes", namespace=peer.namespace)
            answer = peer.heard("answer")
            peer.emit("ask-me", PATIENCE * 1000)
            self.assertEqual(answer.get(timeout=PATIENCE), ("ready? yes",))

        self.for_each_transport(check)

    def test_bytes_keep_their_places(self):
        def check(peer):
            sent = {"top": pattern(3), "deep": [{"a": [pattern(700), "text"]}], "empty": b""}
            self.assertEqual(peer.ask("echo", sent), sent)

        self.for_each_transport(check)

    def test_binary_broadcast_reaches_only_the_room(self):
        namespace = own_namespace()
        inside = [self.client(namespace, transports) for transports in self.TRANSPORTS]
        outside = self.client(namespace)
        for peer in inside:
            peer.ask("join", "red")
        heard = [peer.heard("msg") for peer in inside]
        not_heard = outside.heard("msg")
        outside.emit("broadcast", "red", {"file": pattern(5000)})
        for messages in heard:
            self.assertEqual(messages.get(timeout=PATIENCE), ({"file": pattern(5000)},))
        outside.settle()
        self.assertTrue(not_heard.empty())

    def test_client_gets_no_event_of_a_left_room(self):
        namespace = own_namespace()
        left, stays = self.client(namespace), self.client(namespace)
        for peer in (left, stays):
            peer.ask("join", "red")
        left.ask("leave", "red")
        not_heard, heard = left.heard("msg"), stays.heard("msg")
        stays.emit("broadcast", "red", "hi")
        self.assertEqual(heard.get(timeout=PATIENCE), ("hi",))
        left.settle()
        self.assertTrue(not_heard.empty())

    def test_namespace_middleware_decides(self):
        refusals = queue.Queue()
        with self.assertRaises(socketio.exceptions.ConnectionError):
            self.client("/guarded", auth={"token": "wrong"}, on_refused=refusals.put)
        self.assertEqual(refusals.get(timeout=PATIENCE), {"message": "not authorized", "data": {"code": "E_AUTH"}})
        peer = self.client("/guarded", auth={"token": "open sesame"})
        self.assertEqual(peer.ask("echo", "in"), "in")

    def test_server_disconnects_a_socket(self):
        for close in (False, True):
            with self.subTest(close=close):
                peer = self.client(own_namespace())
                gone = threading.Event()
                peer.raw.on("disconnect", lambda reason: gone.set(), namespace=peer.namespace)
                # The app takes an op only with an acknowledgement, which the end may overtake.
                request = {"do": "disconnect", "close": close}
                peer.raw.emit("op", (request,), namespace=peer.namespace, callback=lambda *_: None)
                self.assertTrue(gone.wait(PATIENCE), "the client is told")


class MessagePack(Json):
    flags = ("--parser", "msgpack")
    options = {"serializer": "msgpack"}


class Heartbeat(ClientCase):
    flags = ("--ping-interval", "100", "--ping-timeout", "10000")

    def test_client_survives_many_pings(self):
        for transports in Json.TRANSPORTS:
            with self.subTest(transports=transports):
                peer = self.client(own_namespace(), transports)
                pings = threading.Semaphore(0)
                answer = peer.raw.eio._send_packet
                peer.raw.eio._send_packet = lambda packet: (pings.release(), answer(packet))
                for _ in range(5):
                    self.assertTrue(pings.acquire(timeout=PATIENCE), "a ping is answered")
                self.assertEqual(peer.ask("echo", "alive"), "alive")
