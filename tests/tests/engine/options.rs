//! Options of an engine, by what requests get.

use super::*;

#[tokio::test]
async fn path_matches_as_a_prefix_with_its_slash() {
    let (_, node) = start(|options| options.path("/my/path/"));
    let query = "?EIO=4&transport=polling";
    for path in ["/my/path/", "/my/path/more/of/it"] {
        assert_eq!(get(node.addr, &format!("{path}{query}")).await.status, 200, "{path}");
    }
    for path in ["/my/path", "/my/pathx/", "/engine.io/", "/", "/x/my/path/"] {
        assert_eq!(get(node.addr, &format!("{path}{query}")).await.status, 404, "{path}");
        let refused = WebSocket::try_open(node.addr, &format!("{path}?EIO=4&transport=websocket"), &[]).await.unwrap_err();
        assert_eq!(refused.status, 404, "{path}");
    }
    WebSocket::open(node.addr, "/my/path/deep?EIO=4&transport=websocket").await;
}

#[tokio::test]
async fn path_matches_without_its_trailing_slash() {
    let (_, node) = start(|options| options.path("/engine.io/").add_trailing_slash(false));
    for path in ["/engine.io", "/engine.io/", "/engine.io/more"] {
        assert_eq!(get(node.addr, &format!("{path}?EIO=4&transport=polling")).await.status, 200, "{path}");
    }
    WebSocket::open(node.addr, "/engine.io?EIO=4&transport=websocket").await;
    assert_eq!(get(node.addr, "/engine?EIO=4&transport=polling").await.status, 404);
}

#[tokio::test]
async fn unlisted_transport_is_unknown() {
    let (_, node) = start(|options| options.transports([Transport::WebSocket]));
    assert_refused(&get(node.addr, POLLING).await, 400, 0, "Transport unknown");
    WebSocket::open(node.addr, WEBSOCKET).await;
    let (_, node) = start(|options| options.transports([Transport::Polling]));
    let session = Polling::open(node.addr, "/engine.io/").await;
    assert_eq!(session.handshake["upgrades"], serde_json::json!([]));
    for target in [WEBSOCKET, &session.upgrade_target()] {
        assert_eq!(WebSocket::try_open(node.addr, target, &[]).await.unwrap_err().brief(), (400, "Transport unknown"));
    }
}

#[tokio::test]
async fn unannounced_upgrade_is_served() {
    let (_, node) = start(|options| options.allow_upgrades(false));
    let session = Polling::open(node.addr, "/engine.io/").await;
    assert_eq!(session.handshake["upgrades"], serde_json::json!([]));
    let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
}

#[tokio::test]
async fn initial_packet_follows_the_handshake() {
    let (_, node) = start(|options| options.initial_packet("hello"));
    assert_eq!(Polling::open(node.addr, "/engine.io/").await.early, ["4hello"]);
    let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
    assert!(socket.text().await.starts_with('0'));
    assert_eq!(socket.text().await, "4hello");
}

#[tokio::test]
async fn cookie_is_set_by_polling_handshakes_only() {
    let (_, node) = start(|options| options.cookie(Cookie { http_only: false, ..Cookie::named("session") }));
    let response = get(node.addr, POLLING).await;
    let sid = &response.text()[9..29];
    assert_eq!(response.header("set-cookie"), Some(&*format!("session={sid}; Path=/; SameSite=Lax")));
    let target = format!("{POLLING}&sid={sid}");
    assert_eq!(post(node.addr, &target, "4x").await.header("set-cookie"), None);
    assert_eq!(get(node.addr, &target).await.header("set-cookie"), None);
    assert_eq!(WebSocket::open(node.addr, WEBSOCKET).await.response.header("set-cookie"), None);
}

#[tokio::test]
async fn handshake_is_refused_by_allow_request() {
    let (asked, ask) = note();
    let nodes = both(move |options| {
        let ask = ask.clone();
        options.allow_request(move |request| {
            ask(request.url().to_owned());
            async move {
                tokio::task::yield_now().await;
                match request.query_value("deny") {
                    None => Ok(()),
                    Some(text) if text.is_empty() => Err(sociable::Refusal::forbidden()),
                    Some(text) => Err(text.into_owned().into()),
                }
            }
        })
    });
    for (_, node) in nodes {
        assert_refused(&get(node.addr, &format!("{POLLING}&deny=")).await, 403, 4, "Forbidden");
        assert_refused(&get(node.addr, &format!("{POLLING}&deny=not+you")).await, 403, 4, "not you");
        let refused = WebSocket::try_open(node.addr, &format!("{WEBSOCKET}&deny=not+you"), &[]).await.unwrap_err();
        assert_eq!(refused.brief(), (400, "not you"));
        let session = Polling::open(node.addr, "/engine.io/").await;
        WebSocket::open(node.addr, WEBSOCKET).await;
        let before = asked.lock().unwrap().len();
        // The function is called for handshakes alone.
        session.send("4x").await;
        session.receive().await;
        WebSocket::open(node.addr, &session.upgrade_target()).await;
        assert_eq!(asked.lock().unwrap().len(), before);
    }
}

#[tokio::test]
async fn application_is_notified_of_refused_requests() {
    let (told, tell) = note();
    let (_, node) = start(move |options| {
        options
            .allow_request(async |request| if request.query_value("deny").is_some() { Err("no".into()) } else { Ok(()) })
            .on_connection_error(move |error| {
                tell((error.code, error.message.clone(), error.context.clone(), error.request.url().to_owned()))
            })
    });
    let session = Polling::open(node.addr, "/engine.io/").await;
    for (target, code, context) in [
        ("/engine.io/?transport=none", ErrorCode::UnknownTransport, "none"),
        ("/engine.io/", ErrorCode::UnknownTransport, "none given"),
        (&*format!("{POLLING}&sid=nobody"), ErrorCode::UnknownSid, "nobody"),
        (WEBSOCKET, ErrorCode::BadRequest, "TRANSPORT_HANDSHAKE_ERROR"),
        (&*session.upgrade_target(), ErrorCode::BadRequest, "TRANSPORT_MISMATCH"),
        (&*format!("{POLLING}&deny"), ErrorCode::Forbidden, "allow_request"),
        ("/engine.io/?EIO=3&transport=polling", ErrorCode::UnsupportedProtocolVersion, "3"),
    ] {
        let response = get(node.addr, target).await;
        let (told_code, message, told_context, url) = told.lock().unwrap().pop().unwrap();
        assert_eq!((told_code, &*told_context, &*url), (code, context, target));
        assert_eq!(response.text(), error(code as u8, &message));
    }
    post(node.addr, POLLING, "").await;
    assert_eq!(told.lock().unwrap().pop().unwrap().2, "POST");
    WebSocket::try_open(node.addr, "/engine.io/?transport=none", &[]).await.unwrap_err();
    assert_eq!(told.lock().unwrap().pop().unwrap().0, ErrorCode::UnknownTransport);
    assert_eq!(told.lock().unwrap().len(), 0, "each is told once");
}

#[tokio::test]
async fn application_adds_headers_to_every_answer() {
    use actix_http::header::{HeaderName, HeaderValue};
    let nodes = both(|options| {
        let header = |name| (HeaderName::from_static(name), HeaderValue::from_static("yes"));
        options.on_initial_headers(move |headers, _| headers.append(header("x-first").0, header("x-first").1)).on_headers(
            move |headers, request| {
                headers.insert(header("x-each").0, header("x-each").1);
                headers.insert(HeaderName::from_static("x-method"), HeaderValue::from_str(&request.query_value("EIO").unwrap()).unwrap());
            },
        )
    });
    for (_, node) in nodes {
        let seen = |response: &Response| (response.header("x-first").is_some(), response.header("x-each") == Some("yes"));
        assert_eq!(seen(&get(node.addr, POLLING).await), (true, true));
        assert_eq!(seen(&WebSocket::open(node.addr, WEBSOCKET).await.response), (true, true));
        let session = Polling::open(node.addr, "/engine.io/").await;
        let posted = session.post("4x").await;
        assert_eq!(seen(&posted), (false, true));
        assert_eq!(posted.header("x-method"), Some("4"));
        assert_eq!(seen(&session.poll().await), (false, true));
        assert_eq!(seen(&WebSocket::open(node.addr, &session.upgrade_target()).await.response), (false, true));
        assert_eq!(seen(&get(node.addr, "/engine.io/?EIO=4&transport=none").await), (false, true));
        let refused = WebSocket::try_open(node.addr, "/engine.io/?EIO=4&transport=none", &[]).await.unwrap_err();
        assert_eq!(seen(&refused), (false, true));
    }
}

#[tokio::test]
async fn cross_origin_headers_are_on_every_answer() {
    let nodes = both(|options| options.cors(Cors::list(["https://a.example"]).credentials(true)));
    for (_, node) in nodes {
        let allowed = [("Origin", "https://a.example")];
        let other = [("Origin", "https://b.example")];
        let seen = |response: &Response| {
            assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
            assert_eq!(response.header("vary"), Some("Origin"));
            response.header("access-control-allow-origin").map(str::to_owned)
        };
        let ours = Some("https://a.example".to_owned());
        let response = request(node.addr, "GET", POLLING, &allowed, "").await;
        assert_eq!((response.status, seen(&response)), (200, ours.clone()));
        let response = request(node.addr, "GET", POLLING, &other, "").await;
        assert_eq!((response.status, seen(&response)), (200, None), "the request is served, and the page can't read the answer");
        let response = request(node.addr, "GET", "/engine.io/?transport=none", &allowed, "").await;
        assert_eq!((response.status, seen(&response)), (400, ours.clone()));
        assert_eq!(seen(&WebSocket::try_open(node.addr, WEBSOCKET, &allowed).await.unwrap().response), ours);
        let refused = WebSocket::try_open(node.addr, "/engine.io/?transport=none", &allowed).await.unwrap_err();
        assert_eq!(seen(&refused), ours);
    }
}

#[tokio::test]
async fn preflight_request_gets_204() {
    let (engines, node) = start(|options| options.cors(Cors::any()));
    let asked = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-token")];
    let response = request(node.addr, "OPTIONS", POLLING, &asked, "").await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("access-control-allow-methods"), Some("GET,HEAD,PUT,PATCH,POST,DELETE"));
    assert_eq!(response.header("access-control-allow-headers"), Some("x-token"));
    assert_eq!(engines.engine.session_count(), 0);
}

#[tokio::test]
async fn long_poll_responses_are_compressed_and_short_ones_are_not() {
    use std::io::Read;
    let (_, node) = start(|options| options);
    let session = Polling::open(node.addr, "/engine.io/").await;
    let poll = async |headers: &[(&str, &str)], length: usize| {
        session.send(&format!("4{}", "a".repeat(length - 1))).await;
        request(node.addr, "GET", &session.target, headers, "").await
    };
    let gzip = [("Accept-Encoding", "deflate, gzip;q=1.0")];
    let response = poll(&gzip, 1024).await;
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert!(response.body.len() < 200);
    let mut body = String::new();
    flate2::read::GzDecoder::new(&*response.body).read_to_string(&mut body).unwrap();
    assert_eq!(body, format!("4{}", "a".repeat(1023)));

    let response = poll(&[("Accept-Encoding", "deflate")], 2000).await;
    assert_eq!(response.header("content-encoding"), Some("deflate"));
    let mut body = String::new();
    flate2::read::ZlibDecoder::new(&*response.body).read_to_string(&mut body).unwrap();
    assert_eq!(body.len(), 2000);

    for (headers, length) in [(&gzip[..], 1023), (&[], 2000), (&[("Accept-Encoding", "gzip;q=0, br")], 2000)] {
        let response = poll(headers, length).await;
        assert_eq!((response.header("content-encoding"), response.body.len()), (None, length));
    }
    let (_, node) = start(|options| options.http_compression(None));
    let session = Polling::open(node.addr, "/engine.io/").await;
    session.send(&format!("4{}", "a".repeat(5000))).await;
    assert_eq!(request(node.addr, "GET", &session.target, &gzip, "").await.header("content-encoding"), None);
}

#[tokio::test]
async fn session_is_refused_while_the_limit_is_reached() {
    let (engines, node) = start(|options| options.max_sessions(2));
    let sessions = [Polling::open(node.addr, "/engine.io/").await, Polling::open(node.addr, "/engine.io/").await];
    let refused = get(node.addr, POLLING).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(WebSocket::try_open(node.addr, WEBSOCKET, &[]).await.unwrap_err().status, 503);
    sessions[0].send("1").await;
    sessions[0].poll().await;
    sociable_tests::eventually("the session is gone", || engines.engine.session_count() == 1).await;
    Polling::open(node.addr, "/engine.io/").await;
}
