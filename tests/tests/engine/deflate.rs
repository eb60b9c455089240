//! permessage-deflate: its negotiation, and compressed messages in both directions.

use std::time::Duration;

use sociable::PerMessageDeflate;
use sociable_tests::{Deflating, Frame, eventually, masked};

use super::*;

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// The answer to an offer: the extensions of the response, or the text of the refusal.
async fn answer(node: &Node, offer: &str) -> Result<Option<String>, String> {
    match WebSocket::try_open(node.addr, WEBSOCKET, &[(EXTENSIONS, offer)]).await {
        Ok(socket) => Ok(socket.response.header("sec-websocket-extensions").map(str::to_owned)),
        Err(response) => Err(response.text().to_owned()),
    }
}

/// Opens a session of a client that offers compression.
async fn offering(node: &Node, offer: &str) -> (WebSocket, String) {
    let mut socket = WebSocket::try_open(node.addr, WEBSOCKET, &[(EXTENSIONS, offer)]).await.unwrap();
    let sid = socket.handshake().await;
    (socket, sid)
}

#[tokio::test]
async fn compression_is_off_by_default() {
    for (_, node) in both(|options| options) {
        for offer in [OFFER, "malformed;;"] {
            assert_eq!(answer(&node, offer).await, Ok(None));
        }
        let (mut socket, _) = offering(&node, OFFER).await;
        socket.send_raw(Deflating::default().text("4x")).await;
        assert_eq!(socket.rest().await, [Frame::Close(Some(1002))]);
    }
}

#[tokio::test]
async fn offer_is_answered_by_the_options() {
    let takeover = PerMessageDeflate::default().server_no_context_takeover(false).client_no_context_takeover(false);
    for (options, offer, expected) in [
        (PerMessageDeflate::default(), OFFER, Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")),
        (takeover, OFFER, Some("permessage-deflate")),
        (takeover.server_max_window_bits(10), OFFER, Some("permessage-deflate; server_max_window_bits=10")),
        (takeover.client_max_window_bits(11), OFFER, Some("permessage-deflate; client_max_window_bits=11")),
        (takeover.client_max_window_bits(11), "permessage-deflate", None),
        (
            takeover,
            "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=8",
            Some("permessage-deflate; server_max_window_bits=8"),
        ),
        (takeover, "x-webkit-deflate-frame", None),
    ] {
        for (_, node) in both(|builder| builder.per_message_deflate(options)) {
            assert_eq!(answer(&node, offer).await, Ok(expected.map(str::to_owned)), "{options:?}: {offer}");
            let refused = Err("Invalid or unacceptable Sec-WebSocket-Extensions header".to_owned());
            assert_eq!(answer(&node, "permessage-deflate;").await, refused);
        }
    }
}

#[tokio::test]
async fn options_out_of_range_are_refused() {
    let default = PerMessageDeflate::default;
    for wrong in [
        default().server_max_window_bits(7),
        default().client_max_window_bits(16),
        default().level(10),
        default().memory_level(0),
        default().memory_level(10),
    ] {
        let error = sociable::Server::builder().per_message_deflate(wrong).build().unwrap_err().to_string();
        assert!(error.starts_with("per_message_deflate"), "{error}");
    }
}

#[tokio::test]
async fn long_messages_are_compressed_and_short_ones_are_not() {
    for (engines, node) in both(|options| options.per_message_deflate(PerMessageDeflate::default())) {
        let (mut socket, _) = offering(&node, OFFER).await;
        let mut client = Deflating::default();
        for (length, compressed) in [(1023, false), (1024, true), (100_000, true)] {
            let text = format!("4{}", "a".repeat(length - 1));
            client.reset();
            socket.send_raw(client.text(&text)).await;
            let frame = socket.frame().await.unwrap();
            if compressed {
                assert_eq!(client.inflate(&frame), text);
            } else {
                assert_eq!(frame, Frame::Text(text));
            }
        }
        let stats = engines.engine.stats();
        assert_eq!((stats.messages_deflated, stats.deflations), (2, 2));
        assert!((100_000..101_024).contains(&stats.deflate_bytes_saved), "{}", stats.deflate_bytes_saved);
    }
}

#[tokio::test]
async fn client_without_compression_gets_plain_messages() {
    let (engines, node) = start(|options| options.per_message_deflate(PerMessageDeflate::default()));
    let (mut socket, _) = WebSocket::session(node.addr, WEBSOCKET).await;
    let text = format!("4{}", "a".repeat(5000));
    socket.send(&text).await;
    assert_eq!(socket.text().await, text);
    assert_eq!(engines.engine.stats().messages_deflated, 0);
}

#[tokio::test]
async fn compressed_fragments_are_one_message() {
    let (_, node) = start(|options| options.per_message_deflate(PerMessageDeflate::default()));
    let (mut socket, _) = offering(&node, OFFER).await;
    let payload = Deflating::default().deflate(b"4in three fragments");
    let (first, rest) = payload.split_at(5);
    let (second, third) = rest.split_at(3);
    socket.send_raw(masked(0x41, first)).await;
    socket.send_raw(masked(0x89, "?")).await;
    socket.send_raw([masked(0x00, second), masked(0x80, third)].concat()).await;
    assert_eq!(socket.frame().await, Some(Frame::Pong(b"?".to_vec())));
    assert_eq!(socket.text().await, "4in three fragments");
}

#[tokio::test]
async fn bad_compressed_messages_close_the_session() {
    for (engines, node) in both(|options| options.max_http_buffer_size(10_000).per_message_deflate(PerMessageDeflate::default())) {
        let bomb = Deflating::default().text(&"4".repeat(1_000_000));
        assert!(bomb.len() < 10_000, "within the limit as it is sent");
        let truncated = Deflating::default().deflate(b"4 a message that is not complete");
        for (frame, code) in [
            (bomb, 1009),
            (masked(0xc1, [0xff, 0xff, 0xff]), 1007),
            (masked(0xc1, &truncated[..10]), 1007),
            (Deflating::default().text("4ok").into_iter().collect(), 0),
            (masked(0xc2, Deflating::default().deflate(&vec![7; 10_001])), 1009),
            (masked(0xc1, Deflating::default().deflate(&[b'4', 0xff])), 1007),
            // Only the first frame of a message may have the bit, and no frame may have the others.
            ([masked(0x41, "x"), masked(0xc0, "y")].concat(), 1002),
            (masked(0xc9, "ping"), 1002),
            (masked(0xa1, "4x"), 1002),
            (masked(0x91, "4x"), 1002),
            (masked(0xe1, "4x"), 1002),
        ] {
            let (mut socket, sid) = offering(&node, OFFER).await;
            socket.send_raw(frame).await;
            if code == 0 {
                assert_eq!(socket.text().await, "4ok");
                continue;
            }
            assert_eq!(socket.rest().await, [Frame::Close(Some(code))]);
            engines.ends(&sid, CloseReason::TransportError).await;
        }
        assert_eq!(engines.engine.stats().inflated_too_large, 2);
    }
}

#[tokio::test]
async fn contexts_of_both_directions_are_used_and_given_back() {
    let takeover = PerMessageDeflate::default().server_no_context_takeover(false).client_no_context_takeover(false);
    for (engines, node) in both(|options| options.per_message_deflate(takeover)) {
        let memory = || engines.engine.state().memory().used();
        let (mut socket, sid) = offering(&node, OFFER).await;
        let idle = memory();
        let mut client = Deflating::default();
        let mut lengths = vec![];
        for _ in 0..3 {
            let text = "4a message of which nothing repeats: 0123456789 abcdefghijklmnop QRSTUVWXYZ";
            socket.send_raw(client.text(text)).await;
            let frame = socket.frame().await.unwrap();
            assert_eq!(client.inflate(&frame), text);
            let Frame::Deflated(payload) = frame else { unreachable!() };
            lengths.push(payload.len());
        }
        assert!(lengths[1] < lengths[0] / 4 && lengths[2] < lengths[0] / 4, "{lengths:?}");
        assert!(memory() > idle + 200_000, "both contexts are charged: {idle} {}", memory());
        socket.close().await;
        engines.ends(&sid, CloseReason::TransportClose).await;
        eventually("the memory is given back", || memory() == 0).await;
    }
}

#[tokio::test]
async fn compression_begins_with_the_upgrade() {
    for (_, node) in both(|options| options.per_message_deflate(PerMessageDeflate::default())) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let long = format!("4{}", "a".repeat(3000));
        session.send(&long).await;
        assert_eq!(session.receive().await, long, "polling has its own compression");
        let mut socket = WebSocket::try_open(node.addr, &session.upgrade_target(), &[(EXTENSIONS, OFFER)]).await.unwrap();
        let mut client = Deflating::default();
        socket.send_raw(client.text("2probe")).await;
        assert_eq!(socket.text().await, "3probe");
        client.reset();
        let upgrade = client.text("5");
        client.reset();
        socket.send_raw([upgrade, client.text(&long)].concat()).await;
        let frame = socket.frame().await.unwrap();
        assert_eq!(client.inflate(&frame), long);
    }
}

#[tokio::test]
async fn upgrade_passes_with_a_context_of_the_client() {
    let takeover = PerMessageDeflate::default().client_no_context_takeover(false);
    let (_, node) = start(|options| options.upgrade_timeout(Duration::from_secs(30)).per_message_deflate(takeover));
    let session = Polling::open(node.addr, "/engine.io/").await;
    let mut socket = WebSocket::try_open(node.addr, &session.upgrade_target(), &[(EXTENSIONS, OFFER)]).await.unwrap();
    let mut client = Deflating::default();
    socket.send_raw(client.text("2probe")).await;
    assert_eq!(socket.text().await, "3probe");
    socket.send_raw(client.text("5")).await;
    for _ in 0..2 {
        socket.send_raw(client.text("4the context stays")).await;
        assert_eq!(socket.text().await, "4the context stays");
    }
}
