//! Slow clients and nodes. Each exceeded time ends its connection, no memory is held meanwhile, and progress keeps a
//! connection open. An expiring time is one second here, and every other time outlasts the test.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sociable_balancer_core::Options;

use self::world::{Certificate, PATIENCE, World, eventually, narrow_listener, pattern, until, until_end};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);
/// The bound of bytes in sockets, far below a node's answer. The bytes could be nowhere else.
const HELD: usize = 16 << 20;

/// No time is over in a test.
fn patient() -> Options {
    let long = 40 * PATIENCE;
    Options {
        header_timeout: long,
        body_timeout: long,
        keep_alive: long,
        answer_timeout: long,
        write_timeout: long,
        tunnel_idle: long,
        half_close: long,
        ..Options::default()
    }
}

/// Says something again and again, for as long as somebody takes it.
fn drip(stream: &TcpStream) -> JoinHandle<()> {
    let mut drips = stream.try_clone().unwrap();
    thread::spawn(move || {
        while drips.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn large_answer_over_tls_reaches_a_slow_reader_whole() {
    let certificate = Certificate::new();
    let world = World::behind(narrow_listener(), Some(certificate.server("http/1.1")), false, patient());
    let mut stream = certificate.over(world.connect_narrow());
    // TLS can't send the last bytes of each at once.
    for (length, connection) in [(100_000, "keep-alive"), (65_536, "keep-alive"), (200_001, "close")] {
        write!(stream, "GET /pattern?bytes={length} HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\n\r\n").unwrap();
        until(&mut stream, "\r\n\r\n");
        let mut got = vec![0; length];
        for piece in got.chunks_mut(2048) {
            thread::sleep(Duration::from_millis(1));
            stream.read_exact(piece).unwrap();
        }
        assert!(got == pattern(length), "{length} bytes came as others");
    }
    assert_eq!(until_end(&mut stream), "", "TLS closes with a notice, so the answer is complete");
}

#[test]
fn node_keeps_an_answer_that_its_client_does_not_read() {
    let world = World::behind(narrow_listener(), None, false, Options { write_timeout: SECOND, ..patient() });
    let mut deaf = world.connect_narrow();
    deaf.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the node begins", || world.node.taken() > 0);
    world.serves_others();
    eventually("the node is let go", || world.node.gone() == 1);
    assert!(world.node.taken() < HELD, "{} bytes", world.node.taken());
    assert!(until_end(&mut deaf).len() < HELD);
    eventually("the slow client is counted", || world.count("slow_clients_total") == 1);
}

#[test]
fn sender_keeps_what_a_websocket_peer_does_not_read() {
    let world = World::behind(narrow_listener(), None, false, Options { write_timeout: SECOND, ..patient() });
    // At the start, and later.
    let silent = world.upgrade(world.connect_narrow(), "/ws-pours");
    let speaks = world.upgrade(world.connect_narrow(), "/ws-answers");
    // Sending does not extend the time.
    let speaking = drip(&speaks);
    world.serves_others();
    eventually("the node is let go by both", || world.node.gone() == 2);
    assert!(world.node.taken() < 2 * HELD, "{} bytes", world.node.taken());
    speaking.join().unwrap();
    eventually("both slow clients are counted", || world.count("slow_clients_total") == 2);
    assert_eq!(world.count("tunnels_timed_out_total"), 0);
    drop(silent);
}

#[test]
fn slow_readers_share_one_budget() {
    const BUDGET: usize = 1 << 20;
    let world = World::behind(narrow_listener(), None, false, Options { max_waiting: BUDGET, ..patient() });
    let mut deaf: Vec<_> = (0..48).map(|_| world.upgrade(world.connect_narrow(), "/ws-pours")).collect();
    for _ in 0..48 {
        let mut stream = world.connect_narrow();
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        deaf.push(stream);
    }
    let waiting = || usize::try_from(world.count("waiting_bytes")).unwrap();
    eventually("much waits", || waiting() > BUDGET / 2);
    world.serves_others();
    // The last read of each may have been allowed before.
    assert!(waiting() < BUDGET + 96 * 1024, "{} bytes", waiting());
    // Heads that do not come to an end wait as well, until there is no room for them.
    let begun: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = world.connect();
            let _ = stream.write_all(format!("GET /a HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(12_000)).as_bytes());
            stream
        })
        .collect();
    eventually("some are refused", || world.count("requests_refused_total{reason=\"overloaded\"}") > 0);
    assert!(waiting() < BUDGET + 200 * 1024, "{} bytes", waiting());
    drop(begun);
    drop(deaf);
    eventually("the whole budget is free", || waiting() == 0);
    world.serves_others();
}

#[test]
fn websocket_closes_soon_after_one_side_has_ended() {
    let world = World::with(Options { half_close: SECOND, ..patient() });
    // However much it says.
    let mut ended = world.upgrade(world.connect(), "/ws-talks");
    ended.shutdown(Shutdown::Write).unwrap();
    assert!(until_end(&mut ended).contains('x'), "until then it went on");
    eventually("the node is let go", || world.node.gone() == 1);
    let mut told = world.upgrade(world.connect(), "/ws-ends");
    let telling = drip(&told);
    assert_eq!(until_end(&mut told), "");
    telling.join().unwrap();
    eventually("the node is let go", || world.node.gone() == 2);
    eventually("both are counted", || world.count("tunnels_timed_out_total") == 2);
    world.serves_others();
}

#[test]
fn websocket_closes_when_idle_and_not_before() {
    let world = World::with(Options { tunnel_idle: 2 * SECOND, ..patient() });
    let mut busy = world.upgrade(world.connect(), "/ws");
    let mut idle = world.upgrade(world.connect(), "/ws");
    let waiting = thread::spawn(move || until_end(&mut idle));
    let echo = |busy: &mut TcpStream| {
        busy.write_all(b"x").unwrap();
        busy.read_exact(&mut [0]).unwrap();
        thread::sleep(Duration::from_millis(20));
    };
    while !waiting.is_finished() {
        echo(&mut busy);
    }
    assert_eq!(waiting.join().unwrap(), "");
    // The busy connection is older than the other.
    echo(&mut busy);
    eventually("the other is counted", || world.count("tunnels_timed_out_total") == 1);
    assert_eq!(until_end(&mut busy), "", "nor is it for ever");
    assert_eq!(world.count("slow_clients_total"), 0);
}

#[test]
fn next_head_has_its_own_deadline() {
    let world = World::with(Options { header_timeout: SECOND, ..patient() });
    for (first, then) in [(GET.to_vec(), &b"GET /b HT"[..]), ([GET, b"GET /b HT"].concat(), b"")] {
        let mut stream = world.connect();
        stream.write_all(&first).unwrap();
        assert!(until(&mut stream, "\r\n\r\nok").starts_with("HTTP/1.1 200 "));
        stream.write_all(then).unwrap();
        let late = until_end(&mut stream);
        assert!(late.starts_with("HTTP/1.1 408 ") && late.contains("connection: close\r\n"), "{late}");
    }
    assert_eq!(world.count(r#"requests_refused_total{reason="slow"}"#), 2);
    assert_eq!(world.node.requests().len(), 2);
    // A client that sent nothing gets no answer.
    let world = World::with(Options { keep_alive: SECOND, ..patient() });
    let mut stream = world.connect();
    stream.write_all(GET).unwrap();
    assert!(until(&mut stream, "\r\n\r\nok").starts_with("HTTP/1.1 200 "));
    assert_eq!(until_end(&mut stream), "");
    assert_eq!(world.count(r#"requests_refused_total{reason="slow"}"#), 0);
}
