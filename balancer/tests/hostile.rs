//! Misbehaving clients and nodes, on raw sockets. Each test checks the client's answer, the requests that reached the
//! node, and that others are served.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use sociable_balancer_core::Options;

use self::world::{KEY, World, eventually, pattern, until, until_end};

const SID: &str = "HoSteeeeeeeeeeeeeeee";
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[test]
fn request_is_refused_when_it_has_two_readings() {
    let world = World::new();
    let fields = [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "content-length: 4\r\ncontent-length: 4",
        "content-length: 4\r\ncontent-length: 5",
        "content-length: 4, 4",
        "content-length: +4",
        "content-length: -4",
        "content-length: 0x4",
        "content-length:",
        "x: a\r\n folded",
        " x: folded",
        "x: a\rb",
        "x: a\0b",
        "x: a\ny: b",
        "x y: a",
        ": a",
        "host: b",
    ];
    for field in fields {
        let answer =
            world.send(format!("POST /a HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{field:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1 + answer.matches("no HTTP/1.1 request").count(), "{field:?}: {answer}");
    }
    let heads = [
        "GET /a HTTP/1.1\nhost: a\n\n",
        "POST /a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: u@a\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://a,b/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\r\n\r\n",
    ];
    for head in heads {
        let answer = world.send(head);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    let answer = world.send(format!("GET /socket.io/?sid={SID}&sid=HoStffffffffffffffff HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with(r#"{"code":3,"message":"Bad request"}"#), "{answer}");
    for method in ["CONNECT a:80", "TRACE /"] {
        assert!(world.send(format!("{method} HTTP/1.1\r\nhost: a\r\n\r\n")).starts_with("HTTP/1.1 501 "));
    }
    assert_eq!(world.node.requests(), <[&str; 0]>::default());
    world.serves_others();
}

#[test]
fn request_ends_when_a_chunk_is_malformed() {
    let world = World::new();
    for body in [
        "x\r\n",
        "5;\0\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdef\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "0\r\n folded\r\n\r\n",
    ] {
        let answer = world.send(format!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
    }
    // The node had started to read, and its connection was closed, so it took none of them for a request.
    assert_eq!(world.node.requests().iter().filter(|request| request.ends_with("0\r\n\r\n")).count(), 0);
    world.serves_others();
}

#[test]
fn head_for_the_node_is_rewritten() {
    let world = World::new();
    let request = "POST http://real/a?b=c HTTP/1.1\r\nHost: other\r\nX-A: 1\r\nKeep-Alive: x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\
                   Proxy-Connection: x\r\nConnection: close, X-Hop, HTTP2-Settings\r\nX-Hop: secret\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
                   Forwarded: for=1.2.3.4\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nx-trailer: 1\r\n\r\n";
    assert!(world.send(request).ends_with("ok"));
    let [seen] = &world.node.requests()[..] else { panic!("one request") };
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a?b=c HTTP/1.1\r\nhost: real\r\n") && head.contains("X-A: 1\r\n"), "{head}");
    let lower = head.to_lowercase();
    for gone in ["keep-alive", "\r\nte:", "h2c", "http2", "proxy-connection", "x-hop", "1.2.3.4", "x-real-ip", "trailer", "connection"] {
        assert!(!lower.contains(gone), "{gone} in {head}");
    }
    assert!(lower.contains("x-forwarded-for: 127.0.0.1\r\n") && lower.contains("x-forwarded-proto: http\r\n"), "{head}");
    assert_eq!(body.replace("2\r\nab\r\n1\r\nc\r\n", "3\r\nabc\r\n"), "3\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let answer = world.send(
        "GET /interim HTTP/1.1\r\nhost: a\r\n\r\nPOST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
         HEAD /a HTTP/1.1\r\nhost: a\r\n\r\nGET /socket.io/?sid=xxxxeeeeeeeeeeeeeeee HTTP/1.1\r\nhost: a\r\n\r\nGET /chunks HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    let at = |part: &str| answer.find(part).unwrap_or_else(|| panic!("{part} in {answer}"));
    assert!(
        at("204 No Content") < at("content-length: 2\r\n\r\nok") && at("\r\n\r\nok") < at(UNKNOWN) && at(UNKNOWN) < at("3\r\nabc\r\n"),
        "{answer}"
    );
    assert_eq!((answer.matches("HTTP/1.1 ").count(), world.node.requests().len()), (5, 4), "{answer}");
}

#[test]
fn malformed_answer_reaches_no_client() {
    let world = World::new();
    let get = |path: &str, version: &str| world.send(format!("GET {path} HTTP/{version}\r\nhost: a\r\nconnection: close\r\n\r\n"));
    for path in ["/both", "/switch"] {
        assert!(get(path, "1.1").starts_with("HTTP/1.1 502 "), "{path}");
    }
    // Bytes behind an answer belong to no request, and a broken body stays broken.
    for _ in 0..5 {
        assert!(get("/extra", "1.1").ends_with("\r\n\r\nok"));
        assert!(get("/broken", "1.1").ends_with("\r\n\r\nabc"));
        world.serves_others();
    }
    assert!(get("/until-close", "1.1").contains("transfer-encoding: chunked\r\n"), "its end is told");
    assert!(get("/until-close", "1.1").ends_with("0\r\n\r\n"));
    let old = get("/chunks", "1.0");
    assert!(old.ends_with("\r\n\r\nabcde") && !old.contains("chunked"), "{old}");
    // An answer that comes before the body was read ends the connection: the rest is no request.
    let early = world.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 400\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(early.matches("HTTP/1.1 ").count(), 1, "{early}");
    world.serves_others();
    assert!(!world.node.requests().iter().any(|request| request.starts_with("GET /smuggled")));
}

#[test]
fn tunnel_opens_when_the_node_has_agreed() {
    let world = World::new();
    let head = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n{KEY}{fields}\r\n");
    for (path, fields, status) in [
        ("/ws", "sec-websocket-version: 8\r\n", 426),
        ("/ws", "sec-websocket-version: 13\r\ncontent-length: 4\r\n", 400),
        ("/ws", "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
        ("/ws-no", "sec-websocket-version: 13\r\n", 403),
        ("/ws-wrong", "sec-websocket-version: 13\r\n", 502),
    ] {
        let answer = world.send(format!("{}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", head(path, fields)));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {fields}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    assert!(world.send(head("/ws", "").replace("dGhl", "dGh")).starts_with("HTTP/1.1 400 "), "a bad key");
    let refused = world.send(head("/socket.io/?sid=xxxxeeeeeeeeeeeeeeee", ""));
    assert!(refused.ends_with("\r\n\r\nSession ID unknown"), "{refused}");

    let mut stream = world.connect();
    stream.write_all(format!("{}early", head("/ws", "")).as_bytes()).unwrap();
    assert!(until(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
    assert_eq!(until(&mut stream, "early"), "early");
    // Both directions carry more than all buffers hold. One direction continues after the other has ended.
    let sent = pattern(4 << 20);
    let mut writes = stream.try_clone().unwrap();
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || (writes.write_all(&to_send).unwrap(), writes.shutdown(Shutdown::Write).unwrap()));
    let mut got = vec![];
    stream.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
    assert!(!world.node.requests().iter().any(|request| request.contains("/smuggled")));
    world.serves_others();
}

#[test]
fn slow_client_is_cut_off() {
    let second = Duration::from_secs(1);
    let options = Options {
        header_timeout: second,
        body_timeout: second,
        keep_alive: second,
        write_timeout: second,
        tunnel_idle: second,
        ..Options::default()
    };
    let world = World::with(options);
    assert_eq!(world.send(""), "", "not a byte");
    assert!(world.send("GET /a HTTP/1.1\r\nhost").starts_with("HTTP/1.1 408 "), "a head that stops");
    assert!(world.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\na").starts_with("HTTP/1.1 408 "), "a body that stops");
    // However it is dealt out.
    for begin in ["GET /a HTTP/1.1\r\nx: ", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n"] {
        let mut stream = world.connect();
        let mut drips = stream.try_clone().unwrap();
        stream.write_all(begin.as_bytes()).unwrap();
        let drip = std::thread::spawn(move || {
            while drips.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        assert!(until_end(&mut stream).starts_with("HTTP/1.1 408 "), "{begin}");
        drop(stream);
        drip.join().unwrap();
    }
    let mut idle = world.connect();
    idle.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(until_end(&mut idle).ends_with("ok"), "then it is closed");
    // The node is let go when its answer is not taken.
    let mut deaf = world.connect();
    deaf.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the node is let go", || world.node.gone() == 1);
    world.serves_others();
}

#[test]
fn node_learns_when_a_client_leaves_its_poll() {
    let world = World::new();
    let mut stream = world.connect();
    stream.write_all(b"GET /silent HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the poll waits", || world.node.requests().len() == 1);
    assert_eq!(world.node.gone(), 0);
    drop(stream);
    eventually("the node knows", || world.node.gone() == 1);
    world.serves_others();
}

#[test]
fn every_part_of_a_request_has_a_limit() {
    let world = World::with(Options { max_body: 1000, ..Options::default() });
    let long = "x".repeat(20_000);
    let fields: String = (0..101).map(|at| format!("x-{at}: 1\r\n")).collect();
    for (request, status) in [
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..9000]), 414),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"), 431),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n".into(), 413),
        (format!("POST /socket.io/?sid={SID} HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n"), 413),
        ("POST / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 1\r\n\r\na".into(), 501),
    ] {
        assert!(world.send(&request).starts_with(&format!("HTTP/1.1 {status} ")), "{status}");
    }
    assert_eq!(world.node.requests(), <[&str; 0]>::default());
    let chunked = format!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n", &long[..1001]);
    assert!(world.send(chunked).starts_with("HTTP/1.1 413 "));
    let mut waits = world.connect();
    waits.write_all(b"POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n").unwrap();
    assert_eq!(until(&mut waits, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    waits.write_all(b"ab").unwrap();
    assert!(until_end(&mut waits).ends_with("ok"));
    world.serves_others();
}

#[test]
fn sessions_and_guesses_of_an_address_are_limited() {
    let world = World::with(Options { session_rate: 0.01, guess_rate: 0.01, ..Options::default() });
    let open = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(world.send(open).starts_with("HTTP/1.1 200 "));
    let refused = world.send(open);
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    let guess = |sid: &str| world.send(format!("GET /socket.io/?sid={sid} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    assert!(guess("nonsense").ends_with(&format!("\r\n\r\n{UNKNOWN}")));
    let refused = guess("xxxxeeeeeeeeeeeeeeee");
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: "), "{refused}");
    // Sessions that live are not touched by it.
    assert!(guess(SID).starts_with("HTTP/1.1 200 "));
}

#[test]
fn client_gets_503_when_there_are_too_many() {
    let world = World::with(Options { max_connections: 2, ..Options::default() });
    let mut held = [world.connect(), world.connect()];
    for stream in &mut held {
        stream.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert!(until(stream, "\r\n\r\nok").starts_with("HTTP/1.1 200 "));
    }
    let refused = world.send("");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: "), "{refused}");
    assert_eq!(world.count("connections_shed_total"), 1);
    drop(held);
    eventually("there is room again", || {
        world.send("GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 200 ")
    });
}
