use proptest::prelude::*;

use super::*;

fn forwarding(forwarded_header: ForwardedHeader) -> Forwarding {
    Forwarding::new(
        ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec(),
        forwarded_header,
        vec!["X-Edge-Visitor".into()],
    )
}

fn read<'a>(forwarded_header: ForwardedHeader, peer: &str, fields: &'a [(&'a str, &'a str)]) -> Origin<'a> {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    // Tests keep what was read.
    Box::leak(Box::new(forwarding(forwarded_header))).read(peer.parse().unwrap(), false, Some(b"here:8080"), fields)
}

fn written(origin: &Origin<'_>) -> String {
    let mut out = Vec::new();
    origin.write(&mut out);
    String::from_utf8(out).unwrap()
}

/// Returns the client of this chain of `X-Forwarded-For` from a trusted peer.
fn client(chain: &str) -> String {
    read(ForwardedHeader::XForwarded, "10.0.0.1", &[("X-Forwarded-For", chain)]).client().to_string()
}

/// Returns the same for `Forwarded`.
fn client_of(elements: &str) -> String {
    read(ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", elements)]).client().to_string()
}

const LIES: [(&str, &str); 5] = [
    ("X-Forwarded-For", "198.51.100.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "bank.example"),
    ("Forwarded", "for=198.51.100.7;proto=https;host=bank.example"),
    ("X-Real-IP", "198.51.100.7"),
];

#[test]
fn untrusted_peer_is_the_client_whatever_it_claims() {
    for forwarded_header in [ForwardedHeader::XForwarded, ForwardedHeader::Forwarded] {
        let origin = read(forwarded_header, "192.0.2.1", &LIES);
        assert_eq!((origin.client().to_string().as_str(), origin.is_secure()), ("192.0.2.1", false));
        assert_eq!(
            written(&origin),
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: here:8080\r\n\
             Forwarded: for=192.0.2.1;proto=http;host=\"here:8080\"\r\n"
        );
        for name in LIES.map(|(name, _)| name).into_iter().chain(["x-forwarded-port", "X-FORWARDED-SERVER", "CF-Connecting-IP"]) {
            assert!(origin.replaces(name.as_bytes()), "{name}");
        }
        assert!(!origin.replaces(b"x-zip") && !origin.replaces(b"Host") && !origin.replaces(b"X-Request-Id"));
    }
}

#[test]
fn claims_of_clients_are_dropped() {
    let (client, proxy) = (read(ForwardedHeader::XForwarded, "192.0.2.1", &[]), read(ForwardedHeader::XForwarded, "10.0.0.1", &[]));
    for name in [
        "X-Real-IP",
        "X-Client-IP",
        "Client-IP",
        "X-Cluster-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "CF-Connecting-IPv6",
        "CF-Pseudo-IPv4",
        "Fastly-Client-IP",
        "X-Azure-ClientIP",
        "X-Azure-SocketIP",
        "X-Appengine-User-IP",
        "X-Appengine-Remote-Addr",
        "Fly-Client-IP",
        "DO-Connecting-IP",
        "X-NF-Client-Connection-IP",
        "X-Vercel-Forwarded-For",
        "X-Original-Forwarded-For",
        "Forwarded-For",
        "X-Forwarded",
        "X-Originating-IP",
        "X-Remote-IP",
        "X-Remote-Addr",
        "Remote-Addr",
        "WL-Proxy-Client-IP",
        "X-ProxyUser-IP",
        "Incap-Client-IP",
        "X-Sucuri-ClientIP",
        "CloudFront-Viewer-Address",
        "X-Envoy-External-Address",
        "X-Edge-Visitor",
    ] {
        for name in [name.to_owned(), name.to_uppercase(), name.replace('-', "_")] {
            assert!(client.replaces(name.as_bytes()), "{name}");
            assert!(!proxy.replaces(name.as_bytes()), "{name}");
        }
    }
    for name in ["X-Zip", "Trip", "Accept", "X-Ship", "Origin", "User-Agent", "Cookie", "X-Forward", "IP"] {
        assert!(!client.replaces(name.as_bytes()), "{name}");
    }
    assert!(proxy.replaces(b"x_forwarded_for"));
}

#[test]
fn trusted_peer_is_appended_to_its_chain() {
    let fields = [
        ("x-forwarded-for", "198.51.100.7, 192.0.2.9"),
        ("X-Forwarded-For", "fd00::1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "chat.example"),
        // The proxy passes on a field of its client.
        ("Forwarded", "for=203.0.113.1"),
    ];
    let origin = read(ForwardedHeader::XForwarded, "10.0.0.1", &fields);
    assert_eq!((origin.client().to_string().as_str(), origin.is_secure(), origin.host()), ("192.0.2.9", true, Some(&b"chat.example"[..])));
    assert_eq!(
        written(&origin),
        "X-Forwarded-For: 198.51.100.7, 192.0.2.9, fd00::1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: chat.example\r\n\
         Forwarded: for=198.51.100.7, for=192.0.2.9;proto=https;host=\"chat.example\", for=\"[fd00::1]\", \
         for=10.0.0.1;proto=http;host=\"here:8080\"\r\n"
    );
    assert!(origin.replaces(b"Forwarded") && origin.replaces(b"X-Forwarded-For"));
    assert!(!origin.replaces(b"X-Forwarded-Port") && !origin.replaces(b"X-Real-IP"));
}

#[test]
fn written_fields_are_read_as_the_same_origin() {
    let fields = [("X-Forwarded-For", "198.51.100.7, fd00::1"), ("X-Forwarded-Proto", "wss"), ("X-Forwarded-Host", "[fd00::2]:80")];
    let first = read(ForwardedHeader::XForwarded, "10.0.0.1", &fields);
    let text = written(&first);
    let fields: Vec<_> = text.lines().map(|line| line.split_once(": ").unwrap()).collect();
    for forwarded_header in [ForwardedHeader::XForwarded, ForwardedHeader::Forwarded] {
        let second = read(forwarded_header, "10.0.0.2", &fields);
        assert_eq!((second.client(), second.is_secure(), second.host()), (first.client(), true, first.host()), "{forwarded_header:?}");
        assert!(written(&second).starts_with("X-Forwarded-For: 198.51.100.7, fd00::1, 10.0.0.1, 10.0.0.2\r\n"));
    }
}

#[test]
fn client_is_the_last_untrusted_address() {
    assert_eq!(client("198.51.100.7, 192.0.2.9"), "192.0.2.9");
    assert_eq!(client("198.51.100.7, 192.0.2.9, 10.1.1.1,10.2.2.2"), "192.0.2.9");
    assert_eq!(client("2001:db8::1"), "2001:db8::1");
    // All addresses are trusted, so the client is an internal one.
    assert_eq!(client("10.3.3.3, fd00::2"), "10.3.3.3");
    assert_eq!(client(""), "10.0.0.1");
    assert_eq!(client(" , ,"), "10.0.0.1");
}

#[test]
fn address_is_read_with_port_and_brackets() {
    for (text, expected) in [
        ("192.0.2.9:4711", "192.0.2.9"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("::ffff:10.0.0.9", "10.0.0.9"),
    ] {
        assert_eq!(client(text), expected);
    }
}

#[test]
fn chain_ends_at_an_invalid_address() {
    for garbage in ["unknown", "_hidden", "1.2.3", "[192.0.2.1]", "fe80::1%eth0", "\u{e9}", "192.0.2.1 192.0.2.2", "\"192.0.2.1\""] {
        assert_eq!(client(&format!("198.51.100.7, {garbage}")), "10.0.0.1", "{garbage}");
        assert_eq!(client(&format!("198.51.100.7, {garbage}, 10.2.2.2")), "10.2.2.2", "{garbage}");
        let chain = format!("198.51.100.7, {garbage}, 10.2.2.2");
        let fields = [("X-Forwarded-For", chain.as_str())];
        assert!(written(&read(ForwardedHeader::XForwarded, "10.0.0.1", &fields)).starts_with("X-Forwarded-For: 10.2.2.2, 10.0.0.1\r\n"));
    }
}

#[test]
fn scheme_and_host_are_those_of_the_client() {
    let of = |chain: &'static str, proto: &'static str| {
        let fields = [("X-Forwarded-For", chain), ("X-Forwarded-Proto", proto)];
        read(ForwardedHeader::XForwarded, "10.0.0.1", &fields).is_secure()
    };
    // One value for each hop, one for all, and an invalid one, which changes nothing.
    assert!(of("192.0.2.9, 10.2.2.2", "https, http"));
    assert!(!of("192.0.2.9, 10.2.2.2", "http, https"));
    assert!(!of("198.51.100.7, 192.0.2.9", "https, http"));
    assert!(of("192.0.2.9, 10.2.2.2, 10.3.3.3", "https"));
    assert!(of("", "HTTPS"));
    assert!(!of("192.0.2.9", "javascript"));
    for bad in ["a b", "a\"b", "a;b", "b\u{e4}r", "a/b", "user@host", &"a".repeat(262)] {
        let fields = [("X-Forwarded-For", "192.0.2.9"), ("X-Forwarded-Host", bad)];
        assert_eq!(read(ForwardedHeader::XForwarded, "10.0.0.1", &fields).host(), Some(&b"here:8080"[..]), "{bad}");
    }
}

#[test]
fn malformed_host_is_left_out() {
    let forwarding = forwarding(ForwardedHeader::XForwarded);
    let origin = forwarding.read("192.0.2.1".parse().unwrap(), true, Some(b"a\r\nb"), std::iter::empty());
    assert_eq!(written(&origin), "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=192.0.2.1;proto=https\r\n");
}

#[test]
fn forwarded_field_is_read() {
    assert_eq!(client_of("for=192.0.2.9"), "192.0.2.9");
    assert_eq!(client_of("For=\"192.0.2.9:4711\""), "192.0.2.9");
    assert_eq!(client_of("for=\"[2001:db8::1]:4711\";by=10.0.0.1"), "2001:db8::1");
    assert_eq!(client_of("for=198.51.100.7, proto=https;by=\"a,b;c\";for=192.0.2.9 , for=10.2.2.2"), "192.0.2.9");
    let fields = [("Forwarded", "for=198.51.100.7;proto=http, for=192.0.2.9;proto=https;host=\"chat.example:1\", for=10.2.2.2;proto=http")];
    let origin = read(ForwardedHeader::Forwarded, "10.0.0.1", &fields);
    assert_eq!((origin.is_secure(), origin.host()), (true, Some(&b"chat.example:1"[..])));
    assert!(written(&origin).starts_with("X-Forwarded-For: 198.51.100.7, 192.0.2.9, 10.2.2.2, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"));
}

#[test]
fn chain_ends_at_a_malformed_forwarded_element() {
    for garbage in ["for=unknown", "for=_x", "proto=https", "for=\"192.0.2.1\\\"\"", "for=\"[2001:db8::1\"", "for=1.2.3"] {
        assert_eq!(client_of(&format!("for=198.51.100.7, {garbage}, for=10.2.2.2")), "10.2.2.2", "{garbage}");
    }
    // A client that opens a quotation, for what the proxy appends to close it.
    for whole in ["for=\"", "for=\", for=198.51.100.7", "for=\"a, for=\"[2001:db8::1]\"", "for", "for=1.2.3.4;for=5.6.7.8", "=\"\"x"] {
        assert_eq!(client_of(whole), "10.0.0.1", "{whole}");
    }
}

#[test]
fn long_chain_is_cut_at_its_beginning() {
    let chain = vec!["198.51.100.7"; 3_000].join(",") + ",192.0.2.9" + &",10.2.2.2".repeat(MAX_CHAIN - 1);
    assert_eq!(client(&chain), "192.0.2.9");
    let origin = chain.split(',').map(|address| format!("for={address}")).collect::<Vec<_>>().join(",");
    assert_eq!(client_of(&origin), "192.0.2.9");
    let fields = [("X-Forwarded-For", chain.as_str())];
    let text = written(&read(ForwardedHeader::XForwarded, "10.0.0.1", &fields));
    assert_eq!(text.lines().next().unwrap().split(',').count(), MAX_CHAIN + 1);
}

proptest! {
    /// Any input gives at most four lines of visible characters, and only a trusted peer's claims count.
    #[test]
    fn head_is_written_whatever_fields_arrive(
        lines in proptest::collection::vec((0..4_usize, prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "(for=|proto=|host=|by=|[0-9.:\\[\\]\"\\\\;, a-z]|192\\.0\\.2\\.9|10\\.2\\.2\\.2|https){0,20}".prop_map(String::into_bytes),
        ]), 0..6),
        forwarded_header in prop_oneof![Just(ForwardedHeader::XForwarded), Just(ForwardedHeader::Forwarded)],
        trusted in any::<bool>(),
        host in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let names: [&[u8]; 4] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"];
        let fields = lines.iter().map(|(name, value)| (names[*name], value.as_slice()));
        let peer: IpAddr = if trusted { "10.0.0.1" } else { "192.0.2.1" }.parse().unwrap();
        let forwarding = forwarding(forwarded_header);
        let origin = forwarding.read(peer, true, Some(&host), fields);
        prop_assert!(trusted || origin.client() == peer);
        let text = written(&origin);
        prop_assert!((3..=4).contains(&text.lines().count()) && text.ends_with("\r\n"));
        prop_assert!(text.bytes().all(|byte| byte == b'\r' || byte == b'\n' || (b' '..=b'~').contains(&byte)));
        for line in text.lines() {
            prop_assert!(names.iter().any(|name| line.to_ascii_lowercase().as_bytes().starts_with(name)));
        }
    }
}
