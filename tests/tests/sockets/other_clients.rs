//! Bytes of clients in other languages that differ from those of the JavaScript client. The server reads them as the
//! JavaScript server does.

use std::sync::Arc;
use std::sync::Mutex;

use serde_json::{Value, json};
use sociable::{Ack, Args, Auth, Data, Failure, RawArgs, Server, Socket, SocketError};
use sociable_tests::{Client, Connection, Frame, Message, Node, Polling, WebSocket, post, upgrade_request};

/// A server that echoes what it reads as types, and what it does not read.
fn server() -> Server {
    let io = Server::builder().allow_eio3(true).jsonp(true).build().unwrap();
    for namespace in ["/", "/chat"] {
        let part = io.of(namespace);
        part.on("echo", async |args: RawArgs, ack: Ack| ack.send(args).unwrap());
        part.on("text", async |Data(text): Data<String>, ack: Ack| ack.send(text).unwrap());
        part.on("pair", async |Args((a, b)): Args<(Value, String)>, ack: Ack| ack.send((a, b)).unwrap());
        part.on("ask", async |socket: Socket| {
            let answer = socket.emit_with_ack("asked", ()).await.unwrap();
            socket.emit("answered", answer.decode::<String>(0).unwrap()).unwrap();
        });
    }
    io
}

async fn polling(node: &Node) -> Polling {
    let polling = Polling::open(node.addr, "/socket.io/").await;
    polling.send("40").await;
    assert!(polling.receive().await.starts_with("40{"));
    polling
}

/// Sends an event whose arguments are this text. Returns the text of its acknowledgement.
async fn ask_text(client: &mut Client, event: &str, args: &str) -> String {
    client.send_text(&format!(r#"20["{event}",{args}]"#)).await;
    client.text().await.strip_prefix("30").unwrap().to_owned()
}

mod base64 {
    use super::*;

    /// The Java client ends each line with a line feed, after 76 digits and at the end.
    #[tokio::test]
    async fn buffers_of_the_java_client_are_read() {
        for (_, node) in Node::both(server) {
            let polling = polling(&node).await;
            for sent in ["AQID\n", "AQ\r\nID\r\n", " A Q I D ", "AQID====", "\tAQID"] {
                polling.send(&format!("451-0[\"echo\",{{\"num\":0,\"_placeholder\":true}}]\x1eb{sent}")).await;
                assert_eq!(polling.receive().await, "461-0[{\"num\":0,\"_placeholder\":true}]\x1ebAQID", "{sent:?}");
            }
            polling.send("451-0[\"echo\",{\"_placeholder\":true,\"num\":0}]\x1eb-_-_\n").await;
            assert!(polling.receive().await.ends_with("b+/+/"));
            let lines = "QUJD".repeat(19) + "\n" + &"QUJD".repeat(19) + "\nQQ==\n";
            polling.send(&format!("451-0[\"echo\",{{\"_placeholder\":true,\"num\":0}}]\x1eb{lines}")).await;
            assert!(polling.receive().await.ends_with(&format!("b{}QQ==", "QUJD".repeat(38))));
        }
    }

    #[tokio::test]
    async fn buffers_of_old_clients_are_read() {
        for (_, node) in Node::both(server) {
            let opened = sociable_tests::get(node.addr, "/socket.io/?EIO=3&transport=polling&b64=1").await;
            let sid = opened.text().split_once(r#""sid":""#).unwrap().1[..20].to_owned();
            let path = format!("/socket.io/?EIO=3&transport=polling&b64=1&sid={sid}");
            assert!(sociable_tests::get(node.addr, &path).await.text().ends_with("40"));
            let event = r#"451-0["echo",{"_placeholder":true,"num":0}]"#;
            let body = format!("{}:{event}7:b4AQID\n", event.len());
            assert_eq!(post(node.addr, &path, &body).await.brief(), (200, "ok"));
            assert!(sociable_tests::get(node.addr, &path).await.text().ends_with("6:b4AQID"));
            // A payload without packets, as clients write it.
            assert_eq!(post(node.addr, &path, "0:").await.brief(), (200, "ok"));
            assert_eq!(post(node.addr, &path, "1:2").await.brief(), (200, "ok"));
        }
    }

    /// `forceBase64`, for clients that take no binary.
    #[tokio::test]
    async fn client_that_asks_for_base64_gets_no_binary_frame() {
        let io = server();
        let node = Node::start(&io);
        for upgrades in [false, true] {
            let target = if upgrades {
                let opened = sociable_tests::get(node.addr, "/socket.io/?EIO=4&transport=polling&b64=1").await;
                let sid = opened.text().split_once(r#""sid":""#).unwrap().1[..20].to_owned();
                format!("/socket.io/?EIO=4&transport=websocket&b64=1&sid={sid}")
            } else {
                "/socket.io/?EIO=4&transport=websocket&b64=1".to_owned()
            };
            let mut socket = WebSocket::open(node.addr, &target).await;
            if upgrades {
                socket.send("5").await;
            } else {
                assert!(socket.text().await.starts_with("0{"));
            }
            socket.send("40").await;
            assert!(socket.text().await.starts_with("40{"));
            socket.send(r#"451-0["echo",{"_placeholder":true,"num":0}]"#).await;
            socket.send("bAQID").await;
            assert_eq!(socket.text().await, r#"461-0[{"_placeholder":true,"num":0}]"#);
            assert_eq!(socket.text().await, "bAQID");
        }
    }

    #[tokio::test]
    async fn base64_in_a_text_frame_is_read() {
        let io = server();
        let node = Node::start(&io);
        let mut client = Client::connect(node.addr).await;
        client.send_text(r#"51-0["echo",{"_placeholder":true,"num":0}]"#).await;
        client.send_engine("bAQ\nID\n").await;
        assert_eq!(client.text().await, r#"61-0[{"_placeholder":true,"num":0}]"#);
        assert_eq!(client.next().await, Some(Message::Binary(vec![1, 2, 3])));
    }
}

mod halves {
    use super::*;

    /// Python escapes all that is not ASCII, and its text may have half surrogate pairs.
    #[tokio::test]
    async fn half_surrogate_pair_reaches_typed_handlers() {
        let io = server();
        let auth = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&auth);
        io.middleware(move |Auth(login): Auth<Value>| {
            seen.lock().unwrap().push(login);
            async { Ok::<(), Failure>(()) }
        });
        let node = Node::start(&io);
        let mut client = Client::session(node.addr).await;
        client.send_text(r#"0{"name":"a\ud800b"}"#).await;
        client.joined("/").await;
        assert_eq!(*auth.lock().unwrap(), [json!({ "name": "a\u{fffd}b" })]);
        assert_eq!(ask_text(&mut client, "text", r#""a\ud800b""#).await, "[\"a\u{fffd}b\"]");
        assert_eq!(ask_text(&mut client, "text", r#""\udc00\ud83d\ude00""#).await, "[\"\u{fffd}😀\"]");
        let pair = ask_text(&mut client, "pair", r#"{"\udead":["\ud800"]},"é\udbff""#).await;
        assert_eq!(pair, "[{\"\u{fffd}\":[\"\u{fffd}\"]},\"é\u{fffd}\"]");
        client.send_text(r#"2["ask"]"#).await;
        let asked = client.text().await;
        let id = asked.strip_prefix('2').unwrap().strip_suffix(r#"["asked"]"#).unwrap();
        client.send_text(&format!(r#"3{id}["\ud800"]"#)).await;
        assert_eq!(client.text().await, "2[\"answered\",\"\u{fffd}\"]");
        assert_eq!(io.stats().bad_arguments, 0);
    }

    #[tokio::test]
    async fn half_surrogate_pair_beside_an_attachment_is_read() {
        let io = server();
        io.on("beside", async |Args((bytes, text)): Args<(bytes::Bytes, String)>, ack: Ack| ack.send((bytes.len(), text)).unwrap());
        let node = Node::start(&io);
        let mut client = Client::connect(node.addr).await;
        client.send_text(r#"51-0["beside",{"_placeholder":true,"num":0},"\ud800"]"#).await;
        client.send_binary(&[1, 2]).await;
        assert_eq!(client.text().await, "30[2,\"\u{fffd}\"]");
    }

    #[tokio::test]
    async fn half_surrogate_pair_is_passed_on_unchanged() {
        let io = server();
        io.on("pass", async |socket: Socket, args: RawArgs| socket.broadcast().emit("passed", args).unwrap());
        let node = Node::start(&io);
        let (mut client, mut other) = (Client::connect(node.addr).await, Client::connect(node.addr).await);
        assert_eq!(ask_text(&mut client, "echo", r#""\ud800",{"\udc00":1}"#).await, r#"["\ud800",{"\udc00":1}]"#);
        client.send_text(r#"2["pass","\ud800"]"#).await;
        assert_eq!(other.text().await, r#"2["passed","\ud800"]"#);
    }

    #[tokio::test]
    async fn event_named_by_a_half_surrogate_pair_is_handled() {
        let io = server();
        io.on("\u{fffd}", async |ack: Ack| ack.send("heard").unwrap());
        let node = Node::start(&io);
        let mut client = Client::connect(node.addr).await;
        client.send_text(r#"20["\ud800"]"#).await;
        assert_eq!(client.text().await, r#"30["heard"]"#);
    }

    #[tokio::test]
    async fn polled_bytes_that_are_no_text_become_replacements() {
        for (_, node) in Node::both(server) {
            let polling = polling(&node).await;
            let body = [&b"420[\"text\",\""[..], &[0xff, 0xed, 0xa0, 0x80, 0xe2, 0x82], b"\"]"].concat();
            let mut connection = Connection::open(node.addr).await;
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                polling.target,
                body.len()
            );
            connection.send([head.as_bytes(), &body].concat()).await;
            assert_eq!(connection.response().await.unwrap().brief(), (200, "ok"));
            assert_eq!(polling.receive().await, format!("430[\"{}\"]", "\u{fffd}".repeat(5)));
        }
    }

    /// Arguments that Rust can't read are reported.
    #[tokio::test]
    async fn on_error_gets_arguments_that_do_not_fit() {
        let io = server();
        let told = Arc::new(Mutex::new(vec![]));
        let tell = Arc::clone(&told);
        io.on_error(move |_: &Socket, error: &SocketError| tell.lock().unwrap().push(matches!(error, SocketError::Arguments { .. })));
        io.on("number", async |Data(_): Data<f64>| {});
        let node = Node::start(&io);
        let mut client = Client::connect(node.addr).await;
        for event in [r#"2["number",1e999]"#, r#"2["number","\ud800"]"#, r#"2["text",1]"#] {
            client.send_text(event).await;
        }
        client.ask("echo", ()).await;
        assert_eq!(*told.lock().unwrap(), [true, true, true]);
        assert_eq!(io.stats().bad_arguments, 3);
    }
}

mod packets {
    use super::*;

    /// The C++ client omits the comma behind a namespace if nothing follows, and joins before it has the handshake.
    #[tokio::test]
    async fn namespace_without_a_comma_is_joined_and_left() {
        let io = server();
        let node = Node::start(&io);
        let mut socket = WebSocket::open(node.addr, "/socket.io/?EIO=4&transport=websocket&t=1700000000").await;
        for packet in ["40", "40/chat"] {
            socket.send(packet).await;
        }
        assert!(socket.text().await.starts_with("0{"));
        assert!(socket.text().await.starts_with("40{"));
        assert!(socket.text().await.starts_with("40/chat,{"));
        socket.send(r#"42/chat,1["echo",1]"#).await;
        assert_eq!(socket.text().await, "43/chat,1[1]");
        socket.send("41/chat").await;
        socket.send(r#"420["echo",2]"#).await;
        assert_eq!(socket.text().await, "430[2]");
        // The client closes with a code and a reason. The server returns the code.
        socket.send_raw(sociable_tests::masked(0x88, [&[0x03, 0xf0][..], b"Ping timeout"].concat())).await;
        assert_eq!(socket.rest().await, [Frame::Close(Some(1008))]);
        sociable_tests::eventually("the session has ended", || io.session_count() == 0).await;
    }

    #[tokio::test]
    async fn status_code_of_a_close_frame_comes_back() {
        let io = server();
        let node = Node::start(&io);
        for (sent, answer) in [(vec![], None), (vec![0x03, 0xe8], Some(1000)), (vec![0x0f, 0xa0, b'x'], Some(4000))]
            .into_iter()
            .chain([vec![0x03], vec![0x03, 0xed], vec![0x03, 0xee], vec![0, 1], vec![0x13, 0x88]].map(|sent| (sent, Some(1002))))
            .chain([(vec![0x03, 0xe8, 0xff], Some(1007))])
        {
            let mut socket = WebSocket::open(node.addr, "/socket.io/?EIO=4&transport=websocket").await;
            assert!(socket.text().await.starts_with("0{"));
            socket.send_raw(sociable_tests::masked(0x88, &sent)).await;
            assert_eq!(socket.rest().await, [Frame::Close(answer)], "{sent:?}");
        }
    }

    /// Dictionaries of Swift and Java are written in any order, and Swift escapes slashes.
    #[tokio::test]
    async fn json_of_other_writers_is_read() {
        let io = server();
        let node = Node::start(&io);
        let mut client = Client::connect(node.addr).await;
        for (event, answer) in [
            (r#"20["ec\/ho","a\/b"]"#, None),
            (r#"20["\u0065cho","a\/b"]"#, Some(r#"30["a\/b"]"#)),
            (r#"20[ "text" , "a\/b" ]"#, Some(r#"30["a/b"]"#)),
            ("20[\"echo\",1E+2,1.0,-0.0]", Some("30[1E+2,1.0,-0.0]")),
        ] {
            client.send_text(event).await;
            if let Some(answer) = answer {
                assert_eq!(client.text().await, answer);
            }
        }
        for placeholder in
            [r#"{"num":0,"_placeholder":true}"#, r#"{"num":0.0,"_placeholder":true}"#, r#"{ "_placeholder" : true , "num" : 0 }"#]
        {
            client.send_text(&format!(r#"51-1["echo",{placeholder}]"#)).await;
            client.send_binary(b"x").await;
            assert!(client.text().await.starts_with("61-1["));
            assert_eq!(client.next().await, Some(Message::Binary(b"x".to_vec())));
        }
    }

    /// The client for Arduino opens its session by polling, and upgrades without a probe on the same connection.
    #[tokio::test]
    async fn upgrade_on_the_connection_of_the_handshake_is_taken() {
        for (_, node) in Node::both(server) {
            let mut connection = Connection::open(node.addr).await;
            connection.ask("GET", "/socket.io/?EIO=4&transport=polling", &[("Connection", "keep-alive")], "").await;
            let opened = connection.response().await.unwrap();
            let sid = opened.text().split_once(r#""sid":""#).unwrap().1[..20].to_owned();
            connection.send(upgrade_request(&format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"), &[])).await;
            let mut socket = WebSocket::opened(connection).await.unwrap();
            socket.send("5").await;
            socket.send("40").await;
            assert!(socket.text().await.starts_with("40{"));
            socket.send(r#"420["echo",1]"#).await;
            assert_eq!(socket.text().await, "430[1]");
        }
    }

    /// The .NET client cuts messages into frames of 8 KiB, amid characters too.
    #[tokio::test]
    async fn message_in_frames_cut_amid_characters_is_read() {
        let io = server();
        let node = Node::start(&io);
        let mut socket = WebSocket::open(node.addr, "/socket.io/?EIO=4&transport=websocket").await;
        socket.send("40").await;
        assert!(socket.text().await.starts_with("0{"));
        assert!(socket.text().await.starts_with("40{"));
        let text = "é🦀€".repeat(3000);
        let message = format!("420[\"echo\",\"{text}\"]");
        let chunks: Vec<&[u8]> = message.as_bytes().chunks(8191).collect();
        for (at, chunk) in chunks.iter().enumerate() {
            let head = if at == 0 { 0x01 } else { 0x00 } | if at + 1 == chunks.len() { 0x80 } else { 0x00 };
            socket.send_raw(sociable_tests::masked(head, chunk)).await;
        }
        assert_eq!(socket.text().await, format!("430[\"{text}\"]"));
    }
}
