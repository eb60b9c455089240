//! Handshakes, messages and refused requests, by their exact answers.

use super::*;

#[tokio::test]
async fn handshake_has_the_session_id_and_its_times() {
    for (_, node) in everywhere() {
        let response = get(node.addr, POLLING).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("x-xss-protection"), None);
        assert_eq!(response.header("set-cookie"), None);
        assert_eq!(response.header("access-control-allow-origin"), None);
        let (sid, rest) = response.text().strip_prefix(r#"0{"sid":""#).unwrap().split_at(20);
        assert!(sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{sid}");
        assert_eq!(rest, r#"","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#);

        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        let open = socket.text().await;
        assert_eq!(&open[..9], r#"0{"sid":""#);
        assert_eq!(&open[29..], r#"","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#);
    }
}

#[tokio::test]
async fn messages_go_both_ways_on_every_worker() {
    for (_, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        for round in 0..8 {
            let response = session.post(&format!("4one {round}\u{1e}4two\u{1e}bAQID")).await;
            assert_eq!(response.brief(), (200, "ok"));
            assert_eq!(response.header("content-type"), Some("text/html"));
            assert_eq!(response.header("content-length"), Some("2"));
            assert_eq!(response.header("cache-control"), Some("no-store"));
            assert_eq!(session.receive().await, format!("4one {round}\u{1e}4two\u{1e}bAQID"));
        }
        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        socket.text().await;
        socket.send("4hello").await;
        assert_eq!(socket.text().await, "4hello");
        socket.send_binary(&[1, 2, 3]).await;
        assert_eq!(socket.frame().await, Some(sociable_tests::Frame::Binary(vec![1, 2, 3])));
        socket.send("bAQID").await;
        assert_eq!(socket.frame().await, Some(sociable_tests::Frame::Binary(vec![1, 2, 3])), "base 64 within a text frame");
    }
}

#[tokio::test]
async fn poll_gets_a_message_from_another_connection() {
    for (_, node) in everywhere() {
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut connection = Connection::open(node.addr).await;
        connection.ask("GET", &session.target, &[], "").await;
        session.send("4late").await;
        assert_eq!(connection.response().await.unwrap().brief(), (200, "4late"));
    }
}

#[tokio::test]
async fn unknown_transport_is_refused() {
    for (_, node) in everywhere() {
        for query in ["", "?EIO=4", "?EIO=4&transport=", "?EIO=4&transport=webtransport", "?EIO=4&transport=constructor"] {
            let target = format!("/engine.io/{query}");
            assert_refused(&get(node.addr, &target).await, 400, 0, "Transport unknown");
            let refused = WebSocket::try_open(node.addr, &target, &[]).await.unwrap_err();
            assert_eq!(refused.brief(), (400, "Transport unknown"));
        }
    }
}

#[tokio::test]
async fn unknown_session_is_refused() {
    for (engines, node) in everywhere() {
        for sid in ["nobody", "aaaaaaaaaaaaaaaaaaaa", "%00", "../../../../etc/passwd", "aaaaaaaaaaaaaaaaaaaaa"] {
            let target = format!("{POLLING}&sid={sid}");
            assert_refused(&get(node.addr, &target).await, 400, 1, "Session ID unknown");
            assert_refused(&post(node.addr, &target, "4x").await, 400, 1, "Session ID unknown");
            assert_refused(&request(node.addr, "PUT", &target, &[], "4x").await, 400, 1, "Session ID unknown");
            let target = format!("{WEBSOCKET}&sid={sid}");
            assert_refused(&get(node.addr, &target).await, 400, 1, "Session ID unknown");
            let refused = WebSocket::try_open(node.addr, &target, &[]).await.unwrap_err();
            assert_eq!(refused.brief(), (400, "Session ID unknown"));
        }
        assert_eq!(engines.engine.session_count(), 0, "none was opened");
    }
}

#[tokio::test]
async fn handshake_is_refused_unless_get() {
    let (_, node) = start(|options| options);
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_refused(&request(node.addr, method, POLLING, &[], "").await, 400, 2, "Bad handshake method");
    }
    assert_eq!(request(node.addr, "HEAD", POLLING, &[], "").await.status, 400);
}

#[tokio::test]
async fn session_continues_when_another_method_is_refused() {
    let (engines, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_refused(&request(node.addr, method, &session.target, &[], "").await, 400, 2, "Bad handshake method");
    }
    session.send("4still here").await;
    assert_eq!(session.receive().await, "4still here");
    assert_eq!(engines.end_of(&session.sid), None);
}

#[tokio::test]
async fn websocket_transport_is_refused_without_upgrade() {
    let (_, node) = start(|options| options);
    assert_refused(&get(node.addr, WEBSOCKET).await, 400, 3, "Bad request");
    let session = Polling::open(node.addr, "/engine.io/").await;
    assert_refused(&get(node.addr, &session.upgrade_target()).await, 400, 3, "Bad request");
    session.send("4still here").await;
    // And polling can't be upgraded to itself.
    let refused = WebSocket::try_open(node.addr, POLLING, &[]).await.unwrap_err();
    assert_eq!(refused.brief(), (400, "Bad request"));
}

#[tokio::test]
async fn other_protocol_version_is_refused_before_the_101() {
    for (_, node) in everywhere() {
        for revision in ["", "EIO=3&", "EIO=5&", "EIO=abc&"] {
            let target = format!("/engine.io/?{revision}transport=");
            assert_refused(&get(node.addr, &format!("{target}polling")).await, 400, 5, "Unsupported protocol version");
            let refused = WebSocket::try_open(node.addr, &format!("{target}websocket"), &[]).await.unwrap_err();
            assert_eq!(refused.brief(), (400, "Unsupported protocol version"));
        }
        let session = Polling::open(node.addr, "/engine.io/").await;
        let other = session.target.replace("EIO=4", "EIO=3");
        assert_refused(&get(node.addr, &other).await, 400, 3, "Bad request");
    }
}

#[tokio::test]
async fn request_is_refused_when_a_parameter_is_repeated() {
    let (engines, node) = start(|options| options.jsonp(true));
    for query in ["EIO=3&EIO=4&transport=polling", "EIO=4&transport=websocket&transport=polling", "EIO=4&transport=polling&sid=&sid="] {
        assert_refused(&get(node.addr, &format!("/engine.io/?{query}")).await, 400, 3, "Bad request");
    }
    assert_eq!(engines.engine.session_count(), 0);
    // The last value of other parameters counts.
    assert_eq!(get(node.addr, "/engine.io/?EIO=4&transport=polling&j=x&j=0&a=1&a=2").await.status, 200);
}

#[tokio::test]
async fn refused_upgrade_gets_text_and_a_closed_connection() {
    let nodes = both(|options| options);
    for (_, node) in nodes {
        let mut connection = Connection::open(node.addr).await;
        connection.send(upgrade_request("/engine.io/?EIO=4&transport=none", &[])).await;
        let response = connection.response().await.unwrap();
        assert_eq!(response.brief(), (400, "Transport unknown"));
        assert_eq!(response.header("content-type"), Some("text/html"));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(connection.rest().await.is_empty());
    }
}

#[tokio::test]
async fn websocket_headers_are_checked() {
    let nodes = both(|options| options);
    let good = upgrade_request(WEBSOCKET, &[]);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (_, node) in nodes {
        for (wrong, text) in [
            (good.replace("Version: 13", "Version: 12"), "Missing or invalid Sec-WebSocket-Version header"),
            (good.replace("Sec-WebSocket-Version: 13\r\n", ""), "Missing or invalid Sec-WebSocket-Version header"),
            (good.replace(key, ""), "Missing or invalid Sec-WebSocket-Key header"),
            (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), "Missing or invalid Sec-WebSocket-Key header"),
        ] {
            let mut connection = Connection::open(node.addr).await;
            connection.send(wrong).await;
            let response = connection.response().await.unwrap();
            assert_eq!(response.brief(), (400, text));
            let versions = text.contains("Version").then_some("13, 8");
            assert_eq!(response.header("sec-websocket-version"), versions, "{text}");
        }
    }
}

#[tokio::test]
async fn websocket_opens_beside_other_connection_options() {
    let good = upgrade_request(WEBSOCKET, &[]);
    assert!(good.contains("\r\nConnection: Upgrade\r\n"));
    for (_, node) in everywhere() {
        for options in ["Upgrade, close", "close, Upgrade", "Upgrade,close", "keep-alive, Upgrade", "close , upgrade"] {
            let mut connection = Connection::open(node.addr).await;
            connection.send(good.replace("Connection: Upgrade", &format!("Connection: {options}"))).await;
            let mut socket = WebSocket::opened(connection).await.unwrap();
            assert!(socket.text().await.starts_with("0{"), "{options}");
            socket.send("4hello").await;
            assert_eq!(socket.text().await, "4hello", "{options}");
        }
        let mut connection = Connection::open(node.addr).await;
        connection.send(good.replace("Version: 13", "Version: 8")).await;
        assert!(WebSocket::opened(connection).await.unwrap().text().await.starts_with("0{"), "version 8 has the same frames");
        for options in ["close", "keep-alive", "Upgraded", "x-upgrade"] {
            let mut connection = Connection::open(node.addr).await;
            connection.send(good.replace("Connection: Upgrade", &format!("Connection: {options}"))).await;
            assert_eq!(connection.response().await.unwrap().status, 400, "{options}");
        }
    }
}

#[tokio::test]
async fn origin_with_a_control_character_is_refused() {
    let (engines, node) = start(|options| options);
    let response = request(node.addr, "GET", POLLING, &[("Origin", "http://a\u{1}b")], "").await;
    assert_eq!(response.status, 400);
    assert_eq!(engines.engine.session_count(), 0);
}

#[tokio::test]
async fn answers_to_old_browsers_disable_the_xss_filter() {
    let (_, node) = start(|options| options);
    for agent in ["Mozilla/5.0 (compatible;MSIE 10.0)", "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0)"] {
        let response = request(node.addr, "GET", POLLING, &[("User-Agent", agent)], "").await;
        assert_eq!(response.header("x-xss-protection"), Some("0"));
    }
}
