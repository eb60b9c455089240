//! Heads of requests, as the balancer reads and writes them.

use std::net::{IpAddr, Ipv4Addr};

use sociable_balancer_core::fuzzing::{Body, MAX_REQUEST_HEAD, RequestHead, request_head};

/// An untrusted peer, whose claims about its client are ignored.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// The input starts with the head of a request.
pub fn http_request_head(input: &[u8]) {
    let read = request_head(input, CLIENT);
    // A trusted proxy is believed in who the client is, and in nothing else.
    let of_proxy = request_head(input, PROXY);
    match (&read, &of_proxy) {
        (Ok(Some(read)), Ok(Some(of_proxy))) => {
            assert_eq!((read.length, read.body, read.upgrades), (of_proxy.length, of_proxy.body, of_proxy.upgrades));
        }
        // The client's chain counts against the limit on fields of a proxy alone.
        (Ok(Some(_)), Err("long_head")) | (Err("long_head"), Ok(Some(_))) => {}
        _ => assert_eq!(read, of_proxy),
    }
    if let Ok(Some(read)) = read {
        assert!(read.length <= input.len() && read.length <= MAX_REQUEST_HEAD + b"\r\n".len());
        assert_eq!(read.client, CLIENT);
        prefixes(input, &read);
        is_unambiguous(&read);
        is_written_again(&read);
    }
}

/// The head is read when all of it is there and no sooner, and what follows is of no matter.
fn prefixes(input: &[u8], read: &RequestHead) {
    assert_eq!(request_head(&input[..read.length], CLIENT), Ok(Some(read.clone())));
    let step = (read.length / 64).max(1);
    for end in (0..read.length).step_by(step).chain([read.length - 1]) {
        assert_eq!(request_head(&input[..end], CLIENT), Ok(None), "{end} of {} bytes", read.length);
    }
}

/// Every server reads the written head in one way.
fn is_unambiguous(read: &RequestHead) {
    let written = &read.written;
    let text = written.strip_suffix(b"\r\n\r\n").expect("an empty line ends the head");
    let mut fields = vec![];
    for (place, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.is_empty() && !line.iter().any(|byte| matches!(byte, b'\r' | 0)), "{}", written.escape_ascii());
        if place > 0 {
            let colon = line.iter().position(|byte| *byte == b':').expect("a name ends with a colon");
            assert!(colon > 0 && line[..colon].iter().all(|byte| byte.is_ascii_graphic()), "{}", written.escape_ascii());
            fields.push((line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii()));
        }
    }
    let values = |name: &str| -> Vec<_> { fields.iter().filter(|(field, _)| field == name.as_bytes()).map(|(_, value)| *value).collect() };
    assert_eq!(values("host").len(), 1);
    assert_eq!(values("x-forwarded-for"), [CLIENT.to_string().as_bytes()]);
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match read.body {
        Body::Empty => assert!(codings.is_empty() && (lengths.is_empty() || lengths == [b"0"])),
        Body::Length(length) => assert!(codings.is_empty() && lengths == [length.to_string().as_bytes()]),
        Body::Chunked => assert!(lengths.is_empty() && codings == [b"chunked"]),
        Body::Close => panic!("no request ends with its connection"),
    }
    let connection = values("connection");
    assert!(if read.upgrades { connection == [b"Upgrade"] } else { connection.is_empty() });
}

/// The written head is read as the same request, and written as it stands.
fn is_written_again(read: &RequestHead) {
    if read.written.len() <= MAX_REQUEST_HEAD {
        let again = request_head(&read.written, CLIENT).expect("a written head is accepted").expect("a written head is whole");
        assert_eq!(again.written.escape_ascii().to_string(), read.written.escape_ascii().to_string());
        assert_eq!((again.length, again.body, again.upgrades), (read.written.len(), read.body, read.upgrades));
    }
}
