//! Requests of Engine.IO and their exact answers: on one worker, on more, and in a plain `HttpServer`.
#![allow(clippy::unwrap_used, clippy::unit_arg, reason = "a helper that fails fails its test, and a handler is often one call")]

use sociable::{CloseReason, Cookie, Cors, ErrorCode, Transport};
use sociable_tests::{Connection, Engines, Node, Polling, Response, WebSocket, get, note, post, request, upgrade_request};

const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

fn error(code: u8, message: &str) -> String {
    format!(r#"{{"code":{code},"message":"{message}"}}"#)
}

fn assert_refused(response: &Response, status: u16, code: u8, message: &str) {
    assert_eq!(response.brief(), (status, &*error(code, message)));
    assert_eq!(response.header("content-type"), Some("application/json"));
}

/// A default engine on one, two and four workers, and in a plain `HttpServer`.
fn everywhere() -> Vec<(Engines, Node)> {
    let nodes = [1, 2, 4].map(|workers| {
        let engines = Engines::new(|options| options);
        let node = Node::raw(&engines.engine, workers);
        (engines, node)
    });
    let engines = Engines::new(|options| options);
    let node = Node::plain(&engines.engine, 2);
    nodes.into_iter().chain([(engines, node)]).collect()
}

/// The raw way, and a plain `HttpServer`.
fn both(options: impl Fn(sociable::engine::EngineBuilder) -> sociable::engine::EngineBuilder) -> [(Engines, Node); 2] {
    [true, false].map(|raw| {
        let engines = Engines::new(&options);
        let node = if raw { Node::raw(&engines.engine, 2) } else { Node::plain(&engines.engine, 2) };
        (engines, node)
    })
}

fn start(options: impl FnOnce(sociable::engine::EngineBuilder) -> sociable::engine::EngineBuilder) -> (Engines, Node) {
    let engines = Engines::new(options);
    let node = Node::start(&engines.engine);
    (engines, node)
}

mod requests {
    use super::*;

    #[tokio::test]
    async fn a_handshake_tells_the_session_and_its_times() {
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
    async fn messages_go_both_ways_whichever_worker_a_request_meets() {
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
    async fn a_poll_waits_for_what_comes_by_another_connection() {
        for (_, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut connection = Connection::open(node.addr).await;
            connection.ask("GET", &session.target, &[], "").await;
            session.send("4late").await;
            assert_eq!(connection.response().await.unwrap().brief(), (200, "4late"));
        }
    }

    #[tokio::test]
    async fn a_transport_that_is_none_is_refused() {
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
    async fn an_unknown_session_is_refused() {
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
    async fn a_handshake_is_a_get() {
        let (_, node) = start(|options| options);
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert_refused(&request(node.addr, method, POLLING, &[], "").await, 400, 2, "Bad handshake method");
        }
        assert_eq!(request(node.addr, "HEAD", POLLING, &[], "").await.status, 400);
    }

    #[tokio::test]
    async fn other_methods_of_a_session_are_refused_and_it_goes_on() {
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
    async fn a_websocket_transport_needs_an_upgrade() {
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
    async fn another_revision_is_refused_before_the_101() {
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
    async fn a_parameter_is_refused_when_it_is_repeated() {
        let (engines, node) = start(|options| options.jsonp(true));
        for query in ["EIO=3&EIO=4&transport=polling", "EIO=4&transport=websocket&transport=polling", "EIO=4&transport=polling&sid=&sid="] {
            assert_refused(&get(node.addr, &format!("/engine.io/?{query}")).await, 400, 3, "Bad request");
        }
        assert_eq!(engines.engine.session_count(), 0);
        // Of others the last one counts.
        assert_eq!(get(node.addr, "/engine.io/?EIO=4&transport=polling&j=x&j=0&a=1&a=2").await.status, 200);
    }

    #[tokio::test]
    async fn a_refused_upgrade_is_answered_in_text_and_the_connection_closed() {
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
    async fn the_headers_of_a_websocket_are_checked() {
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
    async fn a_control_character_in_the_origin_is_refused() {
        let (engines, node) = start(|options| options);
        let response = request(node.addr, "GET", POLLING, &[("Origin", "http://a\u{1}b")], "").await;
        assert_eq!(response.status, 400);
        assert_eq!(engines.engine.session_count(), 0);
    }

    #[tokio::test]
    async fn old_browsers_are_told_not_to_guess() {
        let (_, node) = start(|options| options);
        for agent in ["Mozilla/5.0 (compatible;MSIE 10.0)", "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0)"] {
            let response = request(node.addr, "GET", POLLING, &[("User-Agent", agent)], "").await;
            assert_eq!(response.header("x-xss-protection"), Some("0"));
        }
    }
}

mod options {
    use super::*;

    #[tokio::test]
    async fn the_path_is_a_prefix_with_its_slash() {
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
    async fn the_slash_can_be_left_out() {
        let (_, node) = start(|options| options.path("/engine.io/").add_trailing_slash(false));
        for path in ["/engine.io", "/engine.io/", "/engine.io/more"] {
            assert_eq!(get(node.addr, &format!("{path}?EIO=4&transport=polling")).await.status, 200, "{path}");
        }
        WebSocket::open(node.addr, "/engine.io?EIO=4&transport=websocket").await;
        assert_eq!(get(node.addr, "/engine?EIO=4&transport=polling").await.status, 404);
    }

    #[tokio::test]
    async fn a_transport_that_is_not_listed_is_unknown() {
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
    async fn upgrades_that_are_not_announced_are_served_all_the_same() {
        let (_, node) = start(|options| options.allow_upgrades(false));
        let session = Polling::open(node.addr, "/engine.io/").await;
        assert_eq!(session.handshake["upgrades"], serde_json::json!([]));
        let mut socket = WebSocket::open(node.addr, &session.upgrade_target()).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
    }

    #[tokio::test]
    async fn an_initial_packet_comes_right_behind_the_handshake() {
        let (_, node) = start(|options| options.initial_packet("hello"));
        assert_eq!(Polling::open(node.addr, "/engine.io/").await.early, ["4hello"]);
        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        assert!(socket.text().await.starts_with('0'));
        assert_eq!(socket.text().await, "4hello");
    }

    #[tokio::test]
    async fn a_cookie_is_set_by_the_handshake_of_polling_alone() {
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
    async fn whom_the_application_does_not_allow_is_refused() {
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
            // It is asked about handshakes alone.
            session.send("4x").await;
            session.receive().await;
            WebSocket::open(node.addr, &session.upgrade_target()).await;
            assert_eq!(asked.lock().unwrap().len(), before);
        }
    }

    #[tokio::test]
    async fn refused_requests_are_told_to_the_application() {
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
    async fn the_application_can_add_headers_to_every_answer() {
        use actix_http::header::{HeaderName, HeaderValue};
        let nodes = both(|options| {
            let header = |name| (HeaderName::from_static(name), HeaderValue::from_static("yes"));
            options.on_initial_headers(move |headers, _| headers.append(header("x-first").0, header("x-first").1)).on_headers(
                move |headers, request| {
                    headers.insert(header("x-each").0, header("x-each").1);
                    headers
                        .insert(HeaderName::from_static("x-method"), HeaderValue::from_str(&request.query_value("EIO").unwrap()).unwrap());
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
            assert_eq!((response.status, seen(&response)), (200, None), "it is not refused, the page can't read it");
            let response = request(node.addr, "GET", "/engine.io/?transport=none", &allowed, "").await;
            assert_eq!((response.status, seen(&response)), (400, ours.clone()));
            assert_eq!(seen(&WebSocket::try_open(node.addr, WEBSOCKET, &allowed).await.unwrap().response), ours);
            let refused = WebSocket::try_open(node.addr, "/engine.io/?transport=none", &allowed).await.unwrap_err();
            assert_eq!(seen(&refused), ours);
        }
    }

    #[tokio::test]
    async fn a_preflight_request_is_answered_by_204() {
        let (engines, node) = start(|options| options.cors(Cors::any()));
        let asked =
            [("Origin", "https://a.example"), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-token")];
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
    async fn sessions_beyond_the_limit_are_refused_until_one_has_gone() {
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
}

mod closing {
    use super::*;

    #[tokio::test]
    async fn two_polls_at_once_end_the_session() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let (mut first, mut second) = (Connection::open(node.addr).await, Connection::open(node.addr).await);
            // Which of them comes first is not told; one gets the close packet, the other is refused.
            first.ask("GET", &session.target, &[], "").await;
            second.ask("GET", &session.target, &[], "").await;
            let mut answers = [first.response().await.unwrap(), second.response().await.unwrap()];
            answers.sort_by_key(|answer| answer.status);
            assert_eq!(answers.each_ref().map(Response::brief), [(200, "1"), (400, "")]);
            engines.ends(&session.sid, CloseReason::TransportError).await;
            assert_refused(&session.poll().await, 400, 1, "Session ID unknown");
        }
    }

    #[tokio::test]
    async fn two_posts_at_once_end_the_session() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            // They may miss each other: then they are sent once more.
            let refused = loop {
                let mut first = Connection::open(node.addr).await;
                first.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n4", session.target)).await;
                let second = session.post("4x").await;
                first.send("x").await;
                let first = first.response().await.unwrap();
                match [first, second].into_iter().find(|response| response.status != 200) {
                    Some(refused) => break refused,
                    None => drop(session.receive().await),
                }
            };
            assert_eq!(refused.brief(), (400, ""));
            engines.ends(&session.sid, CloseReason::TransportError).await;
        }
    }

    #[tokio::test]
    async fn bytes_as_the_body_of_a_post_end_the_session() {
        let (engines, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        let response = request(node.addr, "POST", &session.target, &[("Content-Type", "application/octet-stream")], "4x").await;
        assert_eq!(response.brief(), (400, ""));
        engines.ends(&session.sid, CloseReason::TransportError).await;
    }

    #[tokio::test]
    async fn too_long_a_body_is_refused_and_the_session_goes_on() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            assert_eq!(session.post(&format!("4{}", "a".repeat(1_000_000))).await.brief(), (413, ""));
            // A body that does not tell its length is measured as it comes.
            let mut connection = Connection::open(node.addr).await;
            connection.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n", session.target)).await;
            for _ in 0..32 {
                connection.send(format!("8000\r\n{}\r\n", "4".repeat(0x8000))).await;
            }
            connection.send("0\r\n\r\n").await;
            assert_eq!(connection.response().await.unwrap().brief(), (413, ""));
            session.send(&format!("4{}", "a".repeat(999_999))).await;
            assert_eq!(session.receive().await.len(), 1_000_000);
            assert_eq!(engines.engine.stats().bodies_too_large, 2);
            assert_eq!(engines.end_of(&session.sid), None);
        }
    }

    #[tokio::test]
    async fn too_long_a_frame_ends_the_session() {
        for (engines, node) in everywhere() {
            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            socket.send(&"4".repeat(1_000_000)).await;
            assert_eq!(socket.text().await.len(), 1_000_000);
            socket.send(&"4".repeat(1_000_001)).await;
            assert_eq!(socket.frame().await, Some(sociable_tests::Frame::Close(Some(1009))));
            engines.ends(&sid, CloseReason::TransportError).await;
        }
    }

    #[tokio::test]
    async fn what_is_no_packet_ends_the_session() {
        for body in ["", "x", "9", "abc", "4ok\u{1e}x", "\u{1e}"] {
            let (engines, node) = start(|options| options);
            let session = Polling::open(node.addr, "/engine.io/").await;
            assert_eq!(session.post(body).await.brief(), (200, "ok"), "{body:?}");
            engines.ends(&session.sid, CloseReason::ParseError).await;
            if body.is_empty() || body.len() > 4 {
                continue;
            }
            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            socket.send(body).await;
            assert_eq!(socket.rest().await.last(), Some(&sociable_tests::Frame::Close(None)), "{body:?}");
            engines.ends(&sid, CloseReason::ParseError).await;
        }
    }

    #[tokio::test]
    async fn an_empty_frame_ends_the_session() {
        let (engines, node) = start(|options| options);
        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        let sid = socket.text().await[9..29].to_owned();
        socket.send("").await;
        engines.ends(&sid, CloseReason::ParseError).await;
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_replaced_and_are_no_type() {
        let (engines, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        for body in [&[b'4', 0xff, 0xfe], &[0xff, 0xfe, b'4']] {
            let mut connection = Connection::open(node.addr).await;
            connection.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n", session.target)).await;
            connection.send(body).await;
            assert_eq!(connection.response().await.unwrap().brief(), (200, "ok"));
            if body[0] == b'4' {
                assert_eq!(session.receive().await, "4\u{fffd}\u{fffd}");
            }
        }
        engines.ends(&session.sid, CloseReason::ParseError).await;
    }

    #[tokio::test]
    async fn a_ping_of_the_client_ends_the_session() {
        let (engines, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        session.send("2").await;
        engines.ends(&session.sid, CloseReason::TransportError).await;
        let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
        let sid = socket.text().await[9..29].to_owned();
        socket.send("2").await;
        engines.ends(&sid, CloseReason::TransportError).await;
    }

    #[tokio::test]
    async fn packets_that_mean_nothing_here_are_ignored() {
        let (engines, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        session.send("0\u{1e}5\u{1e}6\u{1e}3\u{1e}4still here").await;
        assert_eq!(session.receive().await, "4still here");
        assert_eq!(engines.end_of(&session.sid), None);
    }

    #[tokio::test]
    async fn a_client_that_says_goodbye_gets_its_poll_answered() {
        for (engines, node) in everywhere() {
            // The goodbye may overtake a poll on another connection, which then comes too late: that is tried again.
            let session = loop {
                let session = Polling::open(node.addr, "/engine.io/").await;
                let mut poll = Connection::open(node.addr).await;
                poll.ask("GET", &session.target, &[], "").await;
                session.send("1").await;
                match poll.response().await.unwrap().brief() {
                    (200, answer) => {
                        assert_eq!(answer, "6");
                        break session;
                    }
                    late => assert_eq!(late.0, 400),
                }
            };
            engines.ends(&session.sid, CloseReason::TransportClose).await;
            assert_refused(&session.poll().await, 400, 1, "Session ID unknown");
        }
    }

    #[tokio::test]
    async fn a_goodbye_by_websocket_closes_at_once() {
        for (engines, node) in everywhere() {
            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            socket.send("1").await;
            assert_eq!(socket.rest().await.last(), Some(&sociable_tests::Frame::Close(None)));
            engines.ends(&sid, CloseReason::TransportClose).await;
        }
    }

    #[tokio::test]
    async fn a_server_that_closes_says_so_to_the_poll_that_waits() {
        let (engines, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        let mut poll = Connection::open(node.addr).await;
        poll.ask("GET", &session.target, &[], "").await;
        session.send("4here").await;
        poll.response().await.unwrap();
        poll.ask("GET", &session.target, &[], "").await;
        // Either the poll waits already, or it is the next.
        session.send("4close").await;
        let last = poll.response().await.unwrap();
        assert!(["1", "6\u{1e}1"].contains(&last.text()), "{last:?}");
        sociable_tests::eventually("the session ends", || engines.end_of(&session.sid).is_some()).await;
    }

    #[tokio::test]
    async fn a_server_that_closes_says_so_to_the_next_poll() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            session.send("4close").await;
            engines.ends(&session.sid, CloseReason::ForcedServerClose).await;
            assert_eq!(session.receive().await, "6\u{1e}1");
            assert_refused(&session.poll().await, 400, 1, "Session ID unknown");

            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            socket.send("4close").await;
            assert_eq!(socket.rest().await.last(), Some(&sociable_tests::Frame::Close(None)));
            engines.ends(&sid, CloseReason::ForcedClose).await;
        }
    }

    #[tokio::test]
    async fn what_waits_is_delivered_before_the_close() {
        let (_, node) = start(|options| options);
        let session = Polling::open(node.addr, "/engine.io/").await;
        session.send("4one\u{1e}4two\u{1e}4close\u{1e}4never").await;
        assert_eq!(session.receive().await, "4one\u{1e}4two");
        assert_eq!(session.receive().await, "6\u{1e}1");
    }

    #[tokio::test]
    async fn a_poll_that_is_given_up_ends_the_session() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut poll = Connection::open(node.addr).await;
            poll.ask("GET", &session.target, &[], "").await;
            session.send("4here").await;
            poll.response().await.unwrap();
            poll.ask("GET", &session.target, &[], "").await;
            drop(poll);
            engines.ends(&session.sid, CloseReason::TransportError).await;
            sociable_tests::eventually("the session is gone", || engines.engine.session_count() == 0).await;
        }
    }

    #[tokio::test]
    async fn a_post_that_is_given_up_ends_the_session() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut post = Connection::open(node.addr).await;
            post.send(format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n4half", session.target)).await;
            drop(post);
            engines.ends(&session.sid, CloseReason::TransportError).await;
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_lost_ends_its_session() {
        for (engines, node) in everywhere() {
            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            drop(socket);
            engines.ends(&sid, CloseReason::TransportClose).await;
            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            socket.close().await;
            assert_eq!(socket.rest().await, [sociable_tests::Frame::Close(None)]);
            engines.ends(&sid, CloseReason::TransportClose).await;
            sociable_tests::eventually("both are gone", || engines.engine.session_count() == 0).await;
        }
    }

    #[tokio::test]
    async fn an_engine_that_closes_lets_all_go_and_nobody_in() {
        for (engines, node) in everywhere() {
            let session = Polling::open(node.addr, "/engine.io/").await;
            let mut socket = WebSocket::open(node.addr, WEBSOCKET).await;
            let sid = socket.text().await[9..29].to_owned();
            let engine = engines.engine.clone();
            let closing = tokio::spawn(async move { engine.close(sociable_tests::patience()).await });
            assert_eq!(socket.rest().await, [sociable_tests::Frame::Close(None)]);
            drop(socket);
            engines.ends(&session.sid, CloseReason::ServerShuttingDown).await;
            assert_eq!(session.receive().await, "6\u{1e}1");
            sociable_tests::within("the end of the close", closing).await.unwrap();
            engines.ends(&sid, CloseReason::ServerShuttingDown).await;
            assert_eq!(get(node.addr, POLLING).await.status, 503);
            assert_eq!(engines.engine.session_count(), 0);
        }
    }
}
