//! The cases of the Autobahn test suite for servers, against a bare echo over the frames of this crate.
//!
//! The table has the numbers of the suite, without its measurements of time (9.7, 9.8). Cases 12 and 13 stand for all lengths and parameters there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sociable_protocol::Frames;
use sociable_protocol::websocket::deflate::{Agreement, ContextDeflater, Settings, Terms, negotiate};
use sociable_protocol::websocket::{CLOSE_FRAME, Decoder, Message, close_frame, pong_frame};

const LIMIT: usize = 16 << 20;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it. `first` is its first byte.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x81, payload)
}

fn binary(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x82, payload)
}

fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x89, payload)
}

fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x88, [&code.to_be_bytes(), reason.as_ref()].concat())
}

/// A text message in fragments.
fn fragments(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let first = |at| if at == 0 { 1 } else { 0 } | if at == last { 0x80 } else { 0 };
    parts.iter().enumerate().flat_map(|(at, part)| frame(first(at), part)).collect()
}

/// The answers of the server to a client that sends these bytes in pieces.
fn echo(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut decoder, mut output, mut closed) = (Decoder::new(LIMIT), vec![], false);
    for piece in bytes.chunks(piece) {
        let read = decoder.read(&mut piece.to_vec(), |message| {
            if closed {
                return;
            }
            match message {
                Message::Text(text) => output.extend_from_slice(Frames::text(&text).as_bytes()),
                Message::Binary(bytes) => output.extend_from_slice(Frames::binary(&bytes).as_bytes()),
                Message::Ping(payload) => output.extend(pong_frame(&payload)),
                Message::Pong => {}
                Message::Close(code) => {
                    closed = true;
                    output.extend(code.map_or(CLOSE_FRAME.to_vec(), |code| close_frame(code).to_vec()));
                }
            }
        });
        if closed {
            break;
        }
        if let Err(error) = read {
            output.extend(close_frame(error.close_code()));
            break;
        }
    }
    output
}

fn text_back(payload: &str) -> Vec<u8> {
    Frames::text(payload).as_bytes().to_vec()
}

fn binary_back(payload: &[u8]) -> Vec<u8> {
    Frames::binary(payload).as_bytes().to_vec()
}

fn closed(code: u16) -> Vec<u8> {
    close_frame(code).to_vec()
}

/// Checks cases: the number, the bytes of the client, and the answers.
fn check(cases: impl IntoIterator<Item = (String, Vec<u8>, Vec<u8>)>) {
    for (case, sent, expected) in cases {
        for piece in [sent.len().max(1), 997, 1] {
            // Byte by byte, the longest take too long.
            if piece > 1 || sent.len() < 10_000 {
                assert!(echo(&sent, piece) == expected, "case {case}, in pieces of {piece}");
            }
        }
    }
}

fn case(number: impl ToString, sent: Vec<u8>, expected: Vec<u8>) -> (String, Vec<u8>, Vec<u8>) {
    (number.to_string(), sent, expected)
}

#[test]
fn cases_1_framing() {
    let lengths = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    check(lengths.into_iter().zip(1..).flat_map(|(length, n)| {
        let (stars, bytes) = ("*".repeat(length), vec![0xfe; length]);
        [case(format!("1.1.{n}"), text(&stars), text_back(&stars)), case(format!("1.2.{n}"), binary(&bytes), binary_back(&bytes))]
    }));
}

#[test]
fn cases_2_pings() {
    let longest = [0xfe; 125];
    let many: Vec<_> = (0..10).map(|n| format!("payload-{n}")).collect();
    let (pings, pongs) =
        (many.iter().flat_map(ping).collect::<Vec<_>>(), many.iter().flat_map(|n| pong_frame(n.as_bytes())).collect::<Vec<_>>());
    check([
        case("2.1", ping(""), pong_frame(b"")),
        case("2.2", ping("Hello, world!"), pong_frame(b"Hello, world!")),
        case("2.3", ping([0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff]), pong_frame(&[0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff])),
        case("2.4 and 2.6", ping(longest), pong_frame(&longest)),
        case("2.5", ping([0xfe; 126]), closed(1002)),
        case("2.7", frame(0x8a, ""), vec![]),
        case("2.8", frame(0x8a, "unsolicited pong payload"), vec![]),
        case("2.9", [frame(0x8a, "unsolicited"), ping("ping payload")].concat(), pong_frame(b"ping payload")),
        case("2.10 and 2.11", pings, pongs),
    ]);
}

#[test]
fn cases_3_reserved_bits() {
    let hello = "Hello, world!";
    let before = [text(hello), frame(0x81 | 2 << 4, hello), ping("")].concat();
    check([
        case("3.1", frame(0x81 | 1 << 4, hello), closed(1002)),
        case("3.2", before.clone(), [text_back(hello), closed(1002)].concat()),
        case("3.3 and 3.4", [text(hello), frame(0x81 | 3 << 4, hello), ping("")].concat(), [text_back(hello), closed(1002)].concat()),
        case("3.4", [text(hello), frame(0x81 | 4 << 4, hello), ping("")].concat(), [text_back(hello), closed(1002)].concat()),
        case("3.5", frame(0x82 | 5 << 4, [0x00, 0xff]), closed(1002)),
        case("3.6", frame(0x89 | 6 << 4, hello), closed(1002)),
        case("3.7", frame(0x88 | 7 << 4, ""), closed(1002)),
    ]);
}

#[test]
fn cases_4_opcodes() {
    check((3..=7).chain(11..=15).enumerate().flat_map(|(n, opcode)| {
        let (group, n) = if opcode < 8 { (1, n + 1) } else { (2, n - 4) };
        let hello = "Hello, world!";
        [
            case(format!("4.{group}.{n}"), frame(0x80 | opcode, ""), closed(1002)),
            case(format!("4.{group}.{n} with payload"), frame(0x80 | opcode, hello), closed(1002)),
            case(
                format!("4.{group}.{n} after a message"),
                [text(hello), frame(0x80 | opcode, hello)].concat(),
                [text_back(hello), closed(1002)].concat(),
            ),
        ]
    }));
}

#[test]
fn cases_5_fragments() {
    let (a, b, c) = (frame(0x01, "fragment1"), frame(0x80, "fragment2"), frame(0x00, "fragment2"));
    let whole = text_back("fragment1fragment2");
    let pong = pong_frame(b"ping payload");
    let five = |ping: Vec<u8>| {
        [frame(0x01, "1"), frame(0x00, "2"), ping.clone(), frame(0x00, "3"), frame(0x00, "4"), ping, frame(0x80, "5")].concat()
    };
    check([
        case("5.1", [frame(0x09, "fragment1"), b.clone()].concat(), closed(1002)),
        case("5.2", [frame(0x0a, "fragment1"), b.clone()].concat(), closed(1002)),
        case("5.3 to 5.5", [a.clone(), b.clone()].concat(), whole.clone()),
        case("5.6 to 5.8", [a.clone(), ping("ping payload"), b.clone()].concat(), [pong.clone(), whole].concat()),
        case("5.9 to 5.14", [frame(0x80, "nothing to continue"), text("Hello")].concat(), closed(1002)),
        case("5.10 without FIN", [frame(0x00, "nothing to continue"), text("Hello")].concat(), closed(1002)),
        case(
            "5.15",
            [a.clone(), b.clone(), c.clone(), frame(0x01, "x")].concat(),
            [text_back("fragment1fragment2"), closed(1002)].concat(),
        ),
        case("5.16", [c.clone(), a.clone(), b.clone()].concat(), closed(1002)),
        case("5.17", [b, a.clone()].concat(), closed(1002)),
        case("5.18", [a.clone(), text("fragment2")].concat(), closed(1002)),
        case("5.18 binary", [a, frame(0x02, "fragment2")].concat(), closed(1002)),
        case("5.19 and 5.20", five(ping("ping payload")), [pong.clone(), pong, text_back("12345")].concat()),
    ]);
}

#[test]
fn cases_6_utf8() {
    let greek = "Hello-µ@ßöäüàá-UTF-8!!";
    let valid: [(&str, &[u8]); 16] = [
        ("6.5.1", "κόσμε".as_bytes()),
        ("6.6.2", "κ".as_bytes()),
        ("6.7.1", &[0x00]),
        ("6.7.2", "\u{80}".as_bytes()),
        ("6.7.3", "\u{800}".as_bytes()),
        ("6.7.4", "\u{10000}".as_bytes()),
        ("6.9.1", "\u{7f}".as_bytes()),
        ("6.9.2", "\u{7ff}".as_bytes()),
        ("6.9.3", "\u{ffff}".as_bytes()),
        ("6.9.4", "\u{10ffff}".as_bytes()),
        ("6.11.1", "\u{d7ff}".as_bytes()),
        ("6.11.2", "\u{e000}".as_bytes()),
        ("6.11.3", "\u{fffd}".as_bytes()),
        ("6.22.1", "\u{fffe}".as_bytes()),
        ("6.22.34", "\u{fdd0}".as_bytes()),
        ("6.23.1", "\u{fffd}".as_bytes()),
    ];
    let invalid: [(&str, &[u8]); 32] = [
        ("6.3.1", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"),
        ("6.6.1", b"\xce"),
        ("6.6.3", b"\xce\xba\xe1"),
        ("6.6.4", b"\xce\xba\xe1\xbd"),
        ("6.8.1", b"\xf8\x88\x80\x80\x80"),
        ("6.8.2", b"\xfc\x84\x80\x80\x80\x80"),
        ("6.10.1", b"\xf7\xbf\xbf\xbf"),
        ("6.10.2", b"\xfb\xbf\xbf\xbf\xbf"),
        ("6.10.3", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
        ("6.11.5", b"\xf4\x90\x80\x80"),
        ("6.12.1", b"\x80"),
        ("6.12.2", b"\xbf"),
        ("6.12.8", b"\x80\xbf\x80\xbf\x80\xbf\xbe"),
        ("6.13.1", b"\xc0\x20\xc1\x20\xc2\x20"),
        ("6.13.2", b"\xe0\x20\xe1\x20"),
        ("6.13.3", b"\xf0\x20\xf1\x20"),
        ("6.14.1", b"\xc0"),
        ("6.14.2", b"\xe0\x80"),
        ("6.14.3", b"\xf0\x80\x80"),
        ("6.14.6", b"\xdf"),
        ("6.14.7", b"\xef\xbf"),
        ("6.14.8", b"\xf7\xbf\xbf"),
        ("6.15.1", b"\xc0\xe0\x80\xf0\x80\x80"),
        ("6.16.1", b"\xfe"),
        ("6.16.2", b"\xff"),
        ("6.17.1", b"\xc0\xaf"),
        ("6.17.2", b"\xe0\x80\xaf"),
        ("6.17.3", b"\xf0\x80\x80\xaf"),
        ("6.18.1", b"\xc1\xbf"),
        ("6.19.1", b"\xc0\x80"),
        ("6.20.1", b"\xed\xa0\x80"),
        ("6.21.1", b"\xed\xa0\x80\xed\xb0\x80"),
    ];
    let single: Vec<_> = greek.as_bytes().chunks(1).collect();
    check([
        case("6.1.1", text(""), text_back("")),
        case("6.1.2", fragments(&[b"", b"", b""]), text_back("")),
        case("6.1.3", fragments(&[b"", b"middle frame payload", b""]), text_back("middle frame payload")),
        case("6.2.1", text(greek), text_back(greek)),
        case("6.2.2", fragments(&[&greek.as_bytes()[..12], &greek.as_bytes()[12..]]), text_back(greek)),
        case("6.2.3 and 6.2.4", fragments(&single), text_back(greek)),
        // The bytes are wrong from the second fragment on; a server may wait for the end.
        case("6.4.1", fragments(&[b"\xce\xba", b"\xf4\x90\x80\x80", b"edited"]), closed(1007)),
    ]);
    check(valid.map(|(number, bytes)| case(number, text(bytes), text_back(std::str::from_utf8(bytes).unwrap()))));
    check(invalid.map(|(number, bytes)| case(number, text(bytes), closed(1007))));
}

#[test]
fn cases_7_closes() {
    let longest = "*".repeat(123);
    check([
        case("7.1.1", [text("Hello"), close(1000, "")].concat(), [text_back("Hello"), closed(1000)].concat()),
        case("7.1.2", [close(1000, ""), close(1000, "")].concat(), closed(1000)),
        case("7.1.3", [close(1000, ""), ping("")].concat(), closed(1000)),
        case("7.1.4", [close(1000, ""), text("Hello")].concat(), closed(1000)),
        case("7.1.5", [frame(0x01, "fragment1"), close(1000, ""), frame(0x80, "fragment2")].concat(), closed(1000)),
        case(
            "7.1.6",
            [text("*".repeat(256 << 10)), close(1000, ""), ping("")].concat(),
            [text_back(&"*".repeat(256 << 10)), closed(1000)].concat(),
        ),
        case("7.3.1", frame(0x88, ""), CLOSE_FRAME.to_vec()),
        case("7.3.2", frame(0x88, "a"), closed(1002)),
        case("7.3.3", close(1000, ""), closed(1000)),
        case("7.3.4", close(1000, "Hello, world!"), closed(1000)),
        case("7.3.5", close(1000, &longest), closed(1000)),
        case("7.3.6", close(1000, "*".repeat(124)), closed(1002)),
        case("7.5.1", close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65"), closed(1007)),
    ]);
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    check(valid.into_iter().zip(1..).map(|(code, n)| case(format!("7.7.{n}"), close(code, ""), closed(code))));
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    check(invalid.into_iter().zip(1..).map(|(code, n)| case(format!("7.9.{n}"), close(code, ""), closed(1002))));
    check([5000, 65_535].into_iter().zip(1..).map(|(code, n)| case(format!("7.13.{n}"), close(code, ""), closed(1002))));
}

#[test]
fn cases_9_and_10_limits() {
    let lengths = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
    check(lengths.into_iter().zip(1..).flat_map(|(length, n)| {
        let (stars, bytes) = ("*".repeat(length), vec![0xfe; length]);
        let parts: Vec<_> = stars.as_bytes().chunks(64 << 10).collect();
        [
            case(format!("9.1.{n}"), text(&stars), text_back(&stars)),
            case(format!("9.2.{n}"), binary(&bytes), binary_back(&bytes)),
            case(format!("9.3.{n}"), fragments(&parts), text_back(&stars)),
        ]
    }));
    let message = "*".repeat(65_536);
    check([case("10.1.1", fragments(&message.as_bytes().chunks(1_300).collect::<Vec<_>>()), text_back(&message))]);
}

/// The parameters of cases 13: what a client asks for.
const PARAMETERS: [&str; 7] = [
    "permessage-deflate; client_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=15; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits=8, permessage-deflate",
];

#[test]
fn cases_12_and_13_compression() {
    let terms = Terms {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    let settings = Settings { threshold: 0, level: 6, memory_level: 8 };
    for parameters in PARAMETERS {
        let (agreement, _) = negotiate(parameters, &terms).unwrap().unwrap();
        let Agreement { server_no_context_takeover: alone, server_window_bits, .. } = agreement;
        // The client of the test compresses and reads as the server does.
        let mut server = Decoder::new(LIMIT).deflated(agreement);
        let mut client = Decoder::new(LIMIT).deflated(Agreement {
            client_no_context_takeover: alone,
            client_window_bits: server_window_bits,
            ..agreement
        });
        let mut outbound = ContextDeflater::new(&settings, server_window_bits);
        let mut inbound = ContextDeflater::new(&settings, agreement.client_window_bits);
        for length in [16, 64, 256, 1_024, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072] {
            let json = r#"{"name":"autobahn","values":[1,2,3]},"#.repeat(length / 37 + 1);
            let plain = Frames::text(&json[..length]);
            for _ in 0..3 {
                if agreement.client_no_context_takeover {
                    inbound.break_context();
                }
                let sent = inbound.deflate(plain.as_bytes()).unwrap();
                let mut received = vec![];
                server.read(&mut as_client(&sent), |message| received.push(message)).unwrap();
                assert_eq!(received, [Message::Text(json[..length].into())], "{parameters}, {length}");

                let back = if alone { plain.deflated(&settings, server_window_bits, |_| {}) } else { outbound.deflate(plain.as_bytes()) };
                let back = back.unwrap_or_else(|| plain.as_bytes().clone());
                let mut received = vec![];
                client.read(&mut as_client(&back), |message| received.push(message)).unwrap();
                assert_eq!(received, [Message::Text(json[..length].into())], "{parameters}, {length}");
            }
        }
    }
}

/// A frame of the server as a client would send it.
fn as_client(bytes: &[u8]) -> Vec<u8> {
    let head = match bytes[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    frame(bytes[0], &bytes[head..])
}
