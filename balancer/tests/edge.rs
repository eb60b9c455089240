//! The layers below HTTP: the PROXY protocol, TLS, and IPv6 addresses.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::time::Duration;

use sociable_balancer_core::Options;

use self::world::{Certificate, World, eventually, listener, until, until_end};

const LAST: &[u8] = b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
/// 192.0.2.1:54321 speaks to 198.51.100.1:443, says a header of the PROXY protocol.
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\xd4\x31\x01\xbb";

/// A second for all that comes before a request.
fn options(trusted: &str) -> Options {
    Options { header_timeout: Duration::from_secs(1), trusted: vec![trusted.parse().unwrap()], ..Options::default() }
}

fn stalls(world: &World, with: &[u8]) -> TcpStream {
    let mut stream = world.connect();
    stream.write_all(with).unwrap();
    stream
}

#[test]
fn connection_closes_when_it_has_no_proxy_header() {
    let world = World::behind(listener("127.0.0.1:0"), None, true, options("127.0.0.0/8"));
    let serves = |requests: usize| {
        let answer = world.send([PROXY, LAST].concat());
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        let seen = world.node.requests();
        assert!(seen.len() == requests && seen[requests - 1].to_lowercase().contains("x-forwarded-for: 192.0.2.1\r\n"), "{seen:?}");
    };
    let late: Vec<_> = [&[][..], &PROXY[..1], &PROXY[..16], &PROXY[..27]].into_iter().map(|part| stalls(&world, part)).collect();
    serves(1);
    for mut stream in late {
        assert_eq!(until_end(&mut stream), "");
    }
    assert_eq!(world.count("proxy_headers_refused_total"), 4);
    let (mut version, mut signature) = (PROXY.to_vec(), PROXY.to_vec());
    (version[12], signature[11]) = (0x31, b'x');
    for wrong in [b"PROXY TCP4 192.0.2.1 198.51.100.1 54321 443\r\n", &version[..], &signature, &[]] {
        assert_eq!(world.send([wrong, LAST].concat()), "", "{}", wrong.escape_ascii());
    }
    assert_eq!(world.count("proxy_headers_refused_total"), 8);
    serves(2);
}

#[test]
fn proxy_header_is_refused_when_peer_is_not_trusted() {
    let world = World::behind(listener("127.0.0.1:0"), None, true, options("10.0.0.0/8"));
    for begin in [PROXY, &[]] {
        assert_eq!(world.send([begin, LAST].concat()), "");
    }
    assert_eq!(world.count("proxy_headers_refused_total"), 2);
    assert_eq!(world.node.requests(), <[&str; 0]>::default());
}

#[test]
fn connection_closes_when_its_tls_handshake_fails() {
    let certificate = Certificate::new();
    let world = World::behind(listener("127.0.0.1:0"), Some(certificate.server("http/1.1")), false, options("::1/128"));
    let serves = || {
        let mut stream = certificate.over(world.connect());
        stream.write_all(LAST).unwrap();
        let answer = until_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    };
    // The start of a TLS record of 512 bytes with a client hello.
    let late = [&[][..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"].map(|part| stalls(&world, part));
    serves();
    let plain = world.send(LAST);
    assert!(!plain.contains("HTTP"), "{plain}");
    for mut stream in late {
        assert_eq!(until_end(&mut stream), "");
    }
    // A connection is closed before it is counted.
    eventually("all are counted", || world.count("tls_handshake_failures_total") == 3);
    serves();
    assert_eq!(world.node.requests().len(), 2);
}

#[test]
fn tls_closes_cleanly_behind_a_whole_answer() {
    let certificate = Certificate::new();
    let world = World::behind(listener("127.0.0.1:0"), Some(certificate.server("http/1.1")), false, Options::default());
    // A client of HTTP/1.0 sees the end of an answer without a length by the TLS close alone.
    for (path, begin, whole) in [("/chunks", "abcde", true), ("/broken-chunks", "abc", false)] {
        let mut stream = certificate.over(world.connect());
        write!(stream, "GET {path} HTTP/1.0\r\nhost: a\r\n\r\n").unwrap();
        until(&mut stream, &format!("\r\n\r\n{begin}"));
        let end = stream.read_to_end(&mut vec![]).map_err(|error| error.kind());
        assert!(if whole { end == Ok(0) } else { end == Err(ErrorKind::UnexpectedEof) }, "{path}: {end:?}");
    }
}

#[test]
fn ipv6_address_reaches_the_node() {
    if TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("not tried: this machine has no IPv6");
    }
    let trusted = Options { trusted: vec!["::1/128".parse().unwrap()], ..Options::default() };
    for (options, said, x_forwarded_for, forwarded) in [
        (Options::default(), "2001:db8::1", "::1", r#"for="[::1]";proto=http;host="[::1]:80""#),
        (
            trusted,
            "2001:DB8:0::1, 192.0.2.1, [2001:db8::2]:4711",
            "2001:db8::1, 192.0.2.1, 2001:db8::2, ::1",
            r#"for="[2001:db8::1]", for=192.0.2.1, for="[2001:db8::2]";proto=http;host="[::1]:80", for="[::1]";proto=http;host="[::1]:80""#,
        ),
    ] {
        let world = World::behind(listener("[::1]:0"), None, false, options);
        let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, world.node.address.port(), 0, 0);
        assert_eq!(world.node.address, address.into(), "the node is there too");
        let request = format!("GET /a HTTP/1.1\r\nhost: [::1]:80\r\nx-forwarded-for: {said}\r\nconnection: close\r\n\r\n");
        assert!(world.send(request).ends_with("\r\n\r\nok"));
        let [seen] = &world.node.requests()[..] else { panic!("one request") };
        for field in [format!("X-Forwarded-For: {x_forwarded_for}\r\n"), format!("Forwarded: {forwarded}\r\n")] {
            assert!(seen.contains(&format!("\r\n{field}")), "{field} in {seen}");
        }
        eventually("no connection is left", || world.count("connections") == 0);
    }
}
