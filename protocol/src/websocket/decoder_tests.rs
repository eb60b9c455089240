//! The tests of the decoder.

use bytes::Bytes;
use proptest::prelude::*;

use super::header::frame_header;
use super::*;

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 99, 200, 3];
    let (mut header, length) = frame_header(0, payload.len());
    header[0] = first;
    header[1] |= MASKED;
    let mut frame = header[..length].to_vec();
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn decode(limit: usize, bytes: &[u8], step: usize) -> (Vec<Message>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(limit);
    let mut messages = vec![];
    for chunk in bytes.chunks(step.max(1)) {
        if let Err(error) = decoder.read(&mut chunk.to_vec(), |message| messages.push(message)) {
            return (messages, Err(error));
        }
    }
    (messages, Ok(()))
}

#[test]
fn frames_of_every_header_length_are_read_back() {
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let text = "x".repeat(length);
        let mut builder = FramesBuilder::with_capacity(0);
        builder
            .text_with(|out| {
                out.extend_from_slice(text.as_bytes());
                Ok::<_, ()>(())
            })
            .unwrap();
        builder.binary(text.as_bytes());
        builder
            .text_with(|out| {
                out.extend_from_slice(text.as_bytes());
                Ok::<_, ()>(())
            })
            .unwrap();
        let frames = builder.finish();
        let expected = [Payload::Text(&text), Payload::Binary(text.as_bytes()), Payload::Text(&text)];
        assert_eq!(frames.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn control_frame_may_come_between_fragments() {
    let mut bytes = client_frame(TEXT, b"he");
    bytes.extend(client_frame(FIN | PING, b"?"));
    bytes.extend(client_frame(FIN | CONTINUATION, b"llo"));
    let (messages, end) = decode(100, &bytes, 1);
    assert_eq!(messages, [Message::Ping(Bytes::from_static(b"?")), Message::Text("hello".into())]);
    assert_eq!(end, Ok(()));
}

#[test]
fn protocol_violations_are_refused() {
    let refused = |bytes: &[u8]| decode(10, bytes, 3).1.unwrap_err();
    assert_eq!(refused(&[FIN | TEXT, 1, b'x']), FrameError::NotMasked);
    assert_eq!(refused(&client_frame(FIN | 0x40 | TEXT, b"x")), FrameError::ReservedBit);
    assert_eq!(refused(&client_frame(FIN | 3, b"x")), FrameError::UnknownOpcode(3));
    assert_eq!(refused(&client_frame(PING, b"x")), FrameError::BadControl);
    assert_eq!(refused(&client_frame(FIN | PING, &[0; 126])), FrameError::BadControl);
    assert_eq!(refused(&client_frame(FIN | CONTINUATION, b"x")), FrameError::BadContinuation);
    assert_eq!(refused(&[client_frame(TEXT, b"x"), client_frame(TEXT, b"x")].concat()), FrameError::BadContinuation);
    assert_eq!(refused(&client_frame(FIN | TEXT, &[0xFF])), FrameError::NotUtf8);
    assert_eq!(refused(&client_frame(FIN | TEXT, &[b'x'; 11])), FrameError::TooLarge { limit: 10 });
}

#[test]
fn limit_applies_to_all_fragments_together() {
    let bytes = [client_frame(BINARY, &[0; 6]), client_frame(FIN | CONTINUATION, &[0; 6])].concat();
    assert_eq!(decode(10, &bytes, 100).1, Err(FrameError::TooLarge { limit: 10 }));
    assert_eq!(decode(12, &bytes, 100).0, [Message::Binary(Bytes::from_static(&[0; 12]))]);
}

#[test]
fn announced_length_takes_no_memory() {
    let mut decoder = Decoder::new(usize::MAX);
    let mut head = vec![FIN | BINARY, MASKED | 127];
    head.extend((1u64 << 40).to_be_bytes());
    head.extend([0; 4]);
    decoder.read(&mut head, |_| panic!("no message")).unwrap();
    assert!(decoder.held_bytes() < 100);
}

proptest! {
    #[test]
    fn messages_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5), step in 1usize..400) {
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| client_frame(FIN | BINARY, payload)).collect();
        let (messages, end) = decode(1000, &bytes, step);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(messages, payloads.into_iter().map(|p| Message::Binary(p.into())).collect::<Vec<_>>());
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
        let _ = decode(64, &bytes, step);
    }
}
