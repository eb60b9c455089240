//! Attacks from one address, on raw sockets: connections, WebSockets, guessed session ids. Others are served meanwhile.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use sociable_balancer_core::Options;
use socket2::{Domain, Socket, Type};

use self::world::{PATIENCE, World, eventually, listener, until, until_end, websocket};

const LAST: &str = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const REFUSED: &str = "requests_refused_total{reason=\"too_many_connections\"}";

fn limited(most: usize) -> Options {
    Options { max_connections_per_address: Some(most), ..Options::default() }
}

/// A connection of another address of this machine.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Returns the answer to this address on a new connection.
fn served(world: &World, from: [u8; 4]) -> String {
    let mut stream = connect_from(from, world.address);
    let _ = stream.write_all(LAST.as_bytes());
    until_end(&mut stream)
}

#[test]
fn address_does_not_take_all_connections() {
    let world = World::with(Options { max_connections: 20, ..limited(8) });
    // WebSockets, and connections that wait for a request.
    let mut held: Vec<_> = (0..4).map(|_| world.upgrade(world.connect(), "/ws")).collect();
    for _ in 0..4 {
        let mut idle = world.connect();
        idle.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert!(until(&mut idle, "\r\n\r\nok").starts_with("HTTP/1.1 200 "));
        held.push(idle);
    }
    for refused in 1..=30 {
        let answer = world.send("");
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: "), "{answer}");
        assert_eq!(world.count(REFUSED), refused);
    }
    assert!(served(&world, [127, 0, 0, 2]).ends_with("\r\n\r\nok"), "another address is served");
    assert_eq!((world.count("connections_shed_total"), world.count("connections")), (0, 8));
    drop(held);
    eventually("the address is served again", || world.send(LAST).ends_with("\r\n\r\nok"));
}

#[test]
fn address_gets_a_share_of_connections_by_default() {
    let world = World::with(Options { max_connections: 700, ..Options::default() });
    let held: Vec<_> = (0..70).map(|_| world.upgrade(world.connect(), "/ws")).collect();
    assert!(world.send("").starts_with("HTTP/1.1 429 "));
    assert!(served(&world, [127, 0, 0, 2]).ends_with("\r\n\r\nok"));
    drop(held);
}

#[test]
fn clients_of_a_trusted_proxy_are_limited_one_by_one() {
    let world = World::with(Options { trusted: vec!["127.0.0.1/32".parse().unwrap()], ..limited(3) });
    let ask = |client: &str| {
        let mut stream = world.connect();
        stream.write_all(websocket("/ws").replace("host: a\r\n", &format!("host: a\r\nx-forwarded-for: {client}\r\n")).as_bytes()).unwrap();
        let head = until(&mut stream, "\r\n\r\n");
        (head.starts_with("HTTP/1.1 101 "), head, stream)
    };
    let mut held = vec![];
    for client in 0..5 {
        for _ in 0..3 {
            let (open, head, stream) = ask(&format!("192.0.2.{client}"));
            assert!(open, "{head}");
            held.push(stream);
        }
    }
    let (_, head, _) = ask("192.0.2.1");
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    // Networks of IPv6 count as one.
    for host in 0..4 {
        let (open, head, stream) = ask(&format!("2001:db8::{host}"));
        assert_eq!(open, host < 3, "{head}");
        held.push(stream);
    }
    assert_eq!(world.count(REFUSED), 2);
}

#[test]
fn address_in_a_proxy_header_is_limited() {
    let header =
        |client: u8| [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02", &[client][..], b"\xc6\x33\x64\x01\xd4\x31\x01\xbb"].concat();
    let options = Options { trusted: vec!["127.0.0.0/8".parse().unwrap()], ..limited(2) };
    let world = World::behind(listener("127.0.0.1:0"), None, true, options);
    let open = |client: u8| {
        let mut stream = world.connect();
        stream.write_all(&[&header(client)[..], websocket("/ws").as_bytes()].concat()).unwrap();
        stream
    };
    let mut held: Vec<_> = (0..4).map(|at| open(1 + at % 2)).collect();
    for stream in &mut held {
        assert!(until(stream, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
    }
    assert_eq!(until_end(&mut open(1)), "", "closed");
    assert_eq!(world.count(REFUSED), 1);
    assert!(until(&mut open(3), "\r\n\r\n").starts_with("HTTP/1.1 101 "));
}

#[test]
fn guesses_with_a_living_tag_are_limited() {
    let paths = ["/socket.io/".into(), "/stranger/".into()];
    let world = World::with(Options { guess_rate: 0.5, engine_paths: paths.to_vec(), ..Options::default() });
    let ask = |path: &str, sid: &str| {
        let mut stream = connect_from([127, 0, 0, 3], world.address);
        stream.write_all(format!("GET {path}?sid={sid} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        until_end(&mut stream)
    };
    let known = "HoSteeeeeeeeeeeeeeee";
    assert!(ask("/socket.io/", known).starts_with("HTTP/1.1 200 "));
    // Ids with tags of no node do not use up this limit.
    let dead = (0..20).filter(|n| ask("/socket.io/", &format!("xxxxeeeeeeeeeeeeee{n:02}")).starts_with("HTTP/1.1 429 ")).count();
    assert!(dead >= 10, "{dead}");
    let before = world.node.requests().len();
    let refused = (0..40).filter(|n| ask("/stranger/", &format!("HoSteeeeeeeeeeeeee{n:02}")).starts_with("HTTP/1.1 429 ")).count();
    let asked = world.node.requests().len() - before;
    assert!(refused >= 20 && asked + refused == 40, "{refused} refused, {asked} asked");
    assert!(ask("/socket.io/", known).starts_with("HTTP/1.1 200 "), "a session that was right is not cut off");
    let other = world.send("GET /socket.io/?sid=HoStffffffffffffffff HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 200 "), "nor is another address: {other}");
    assert!(world.count("requests_refused_total{reason=\"too_many_guesses\"}") >= (dead + refused) as u64);
}
