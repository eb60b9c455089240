//! Control frames of the WebSocket layer: pings and closes, in every state of a connection.

use futures_util::future::join_all;
use sociable_tests::{Frame, masked};

use super::*;
use crate::upgrade::probed;

/// Payloads of a client's close frame, and the status of the answer.
const CLOSES: [(&[u8], Option<u16>); 19] = [
    (b"", None),
    (b"\x03\xe8", Some(1000)),
    (b"\x03\xe8bye", Some(1000)),
    (b"\x03\xe9", Some(1001)),
    (b"\x03\xeb", Some(1003)),
    (b"\x03\xf6", Some(1014)),
    (b"\x0b\xb8", Some(3000)),
    (b"\x13\x87", Some(4999)),
    // One byte.
    (b"\x03", Some(1002)),
    // Forbidden: 0, 999, 1004, 1005, 1006, 1015, 2999, 5000.
    (b"\x00\x00", Some(1002)),
    (b"\x03\xe7", Some(1002)),
    (b"\x03\xec", Some(1002)),
    (b"\x03\xed", Some(1002)),
    (b"\x03\xee", Some(1002)),
    (b"\x03\xf7", Some(1002)),
    (b"\x0b\xb7", Some(1002)),
    (b"\x13\x88", Some(1002)),
    // Reasons that are not UTF-8.
    (b"\x03\xe8\xff", Some(1007)),
    (b"\x03\xe8\xed\xa0\x80", Some(1007)),
];

fn reason(code: Option<u16>) -> CloseReason {
    if matches!(code, Some(1002 | 1007)) { CloseReason::TransportError } else { CloseReason::TransportClose }
}

#[tokio::test]
async fn close_frame_of_a_session_is_answered() {
    for (engines, node) in both(|options| options) {
        let each = CLOSES.map(async |(payload, code)| {
            let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
            // Nothing after the close frame is read.
            socket.send_raw([masked(0x88, payload), masked(0x81, "4late"), vec![0xff; 10]].concat()).await;
            assert_eq!(socket.rest().await, [Frame::Close(code)], "{payload:?}");
            engines.ends(&sid, reason(code)).await;
        });
        join_all(each).await;
    }
}

#[tokio::test]
async fn close_frame_of_a_probe_is_answered() {
    for (engines, node) in both(|options| options) {
        let each = CLOSES.map(async |(payload, code)| {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut socket = probed(&session).await;
            socket.send_raw([masked(0x88, payload), vec![0xff; 10]].concat()).await;
            assert_eq!(socket.rest().await, [Frame::Close(code)], "{payload:?}");
            session.send("4still by polling").await;
            assert_eq!(session.receive().await, "4still by polling");
            assert_eq!(engines.end_of(&session.sid), None);
        });
        join_all(each).await;
    }
}

#[tokio::test]
async fn close_frame_right_after_the_upgrade_is_answered() {
    for (engines, node) in both(|options| options) {
        let each = CLOSES.map(async |(payload, code)| {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut socket = probed(&session).await;
            socket.send_raw([masked(0x81, "5"), masked(0x88, payload), masked(0x81, "4late"), vec![0xff; 10]].concat()).await;
            assert_eq!(socket.rest().await, [Frame::Close(code)], "{payload:?}");
            engines.ends(&session.sid, reason(code)).await;
        });
        join_all(each).await;
    }
}

#[tokio::test]
async fn ping_is_answered_in_every_state() {
    for (_, node) in both(|options| options) {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
        let longest = vec![b'x'; 125];
        for before in [None, Some("2probe"), Some("5")] {
            if let Some(packet) = before {
                socket.send(packet).await;
            }
            socket.send_raw([masked(0x8a, "unasked"), masked(0x89, &longest), masked(0x89, "")].concat()).await;
            if before == Some("2probe") {
                assert_eq!(socket.text().await, "3probe");
            }
            assert_eq!(socket.frame().await, Some(Frame::Pong(longest.clone())));
            assert_eq!(socket.frame().await, Some(Frame::Pong(vec![])));
        }
        socket.send("4upgraded").await;
        assert_eq!(socket.text().await, "4upgraded");
    }
}

#[tokio::test]
async fn control_frame_that_breaks_the_rules_is_refused() {
    for (engines, node) in both(|options| options) {
        for frame in [masked(0x89, vec![b'x'; 126]), masked(0x09, "fragment"), masked(0x8b, ""), masked(0xc9, ""), b"\x89\x00".to_vec()] {
            let (mut socket, sid) = WebSocket::session(node.addr, WEBSOCKET).await;
            socket.send_raw(&frame).await;
            assert_eq!(socket.rest().await, [Frame::Close(Some(1002))], "{frame:?}");
            engines.ends(&sid, CloseReason::TransportError).await;
        }
    }
}
