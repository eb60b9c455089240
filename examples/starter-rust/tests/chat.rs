//! The application as its clients see it: routes, logins, and sockets in rooms.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::time::Duration;

use actix_web::cookie::Key;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use actix_web::{App, dev::ServiceResponse};
use serde_json::{Value, json};
use sociable::testing::{TestClient, TestError, TestServer};
use sociable::{Recovery, Server};
use starter::Application;
use starter::login::{COOKIE, Logins};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn logins() -> Logins {
    Logins::new(Key::from(&[7; 64]), Duration::from_secs(60))
}

fn application() -> Application {
    Application::new("node-1", Server::builder().recovery(Recovery::default()), logins()).unwrap()
}

/// Serves the application to sockets.
fn serve(application: &Application) -> TestServer {
    let served = application.clone();
    TestServer::start_with(&application.io, move || App::new().configure(|app| served.configure(app))).unwrap()
}

/// Sends a request to the routes. They share the server with the sockets.
async fn request(application: &Application, request: TestRequest) -> ServiceResponse {
    let app = init_service(App::new().configure(|app| application.configure(app))).await;
    call_service(&app, request.to_request()).await.map_into_boxed_body()
}

/// Logs in by the route, and returns the token.
async fn token(application: &Application, name: &str) -> String {
    let response = request(application, TestRequest::post().uri("/login").set_json(json!({ "name": name }))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.response().cookies().find(|cookie| cookie.name() == COOKIE).map(|cookie| cookie.value().to_owned());
    let body: Value = read_body_json(response).await;
    assert_eq!(cookie.as_deref(), body["token"].as_str(), "the cookie is the token");
    cookie.unwrap()
}

/// Connects a user who joined a room.
async fn member(application: &Application, server: &TestServer, name: &str, room: &str) -> Result<TestClient, TestError> {
    let auth = json!({ "token": token(application, name).await });
    let client = server.client().namespace("/chat").auth(&auth).connect().await?;
    let joined: Value = client.emit_with_ack("join", room).await?.decode(0)?;
    assert_eq!(joined["room"], *room, "{joined}");
    Ok(client)
}

fn code(answer: &Value) -> Option<&str> {
    answer["error"]["data"]["code"].as_str()
}

#[actix_web::test]
async fn chat_refuses_clients_without_a_valid_token() -> Outcome {
    let application = application();
    let server = serve(&application);
    let other = Logins::new(Key::generate(), Duration::from_secs(60));
    let forged = other.issue(&serde_json::from_value(json!({ "name": "Ada" }))?);
    for auth in [json!({}), json!({ "token": forged }), json!({ "token": 7 })] {
        match server.client().namespace("/chat").auth(&auth).connect().await {
            Err(TestError::Refused { data, .. }) => assert_eq!(data["code"], "E_LOGIN"),
            other => panic!("{auth}: {other:?}"),
        }
    }
    Ok(())
}

#[actix_web::test]
async fn chat_admits_clients_by_cookie_and_by_token() -> Outcome {
    let application = application();
    let server = serve(&application);
    let token = token(&application, "Ada").await;
    let chat = || server.client().namespace("/chat");
    chat().header("cookie", &format!("theme=dark; {COOKIE}={token}")).connect().await?;
    chat().auth(&json!({ "token": token })).connect().await?;
    Ok(())
}

#[actix_web::test]
async fn message_reaches_the_room_and_nobody_else() -> Outcome {
    let application = application();
    let server = serve(&application);
    let ada = member(&application, &server, "Ada", "red").await?;
    let bob = member(&application, &server, "Bob", "red").await?;
    let cy = member(&application, &server, "Cy", "blue").await?;
    assert_eq!(ada.expect("joined").await?.data::<Value>()?, json!({ "room": "red", "name": "Bob" }));

    let answer: Value = ada.emit_with_ack("say", json!({ "room": "red", "text": "hello" })).await?.decode(0)?;
    assert_eq!((answer["name"].as_str(), answer["text"].as_str()), (Some("Ada"), Some("hello")));
    for receiver in [&ada, &bob] {
        assert_eq!(receiver.expect("said").await?.data::<Value>()?, answer);
    }
    cy.sync().await?;
    assert!(cy.pending().is_empty(), "{:?}", cy.pending());

    bob.emit_with_ack("leave", "red").await?;
    assert_eq!(ada.expect("left").await?.data::<Value>()?["name"], "Bob");
    Ok(())
}

#[actix_web::test]
async fn join_returns_the_members_of_the_room() -> Outcome {
    let application = application();
    let server = serve(&application);
    let _ada = member(&application, &server, "Ada", "red").await?;
    let _again = member(&application, &server, "Ada", "red").await?;
    let bob = member(&application, &server, "Bob", "red").await?;
    let joined: Value = bob.emit_with_ack("join", "red").await?.decode(0)?;
    assert_eq!(joined["members"], json!(["Ada", "Bob"]));
    Ok(())
}

#[actix_web::test]
async fn wrong_events_are_answered_with_a_code() -> Outcome {
    let application = application();
    let server = serve(&application);
    let ada = member(&application, &server, "Ada", "red").await?;
    let refused = [
        ("say", json!({ "room": "blue", "text": "hello" }), "E_ROOM"),
        ("say", json!({ "room": "red", "text": "" }), "E_ARGUMENTS"),
        ("say", json!({ "room": "red", "text": "x".repeat(2_001) }), "E_ARGUMENTS"),
        ("join", json!("a room"), "E_ARGUMENTS"),
        ("join", json!(null), "E_ARGUMENTS"),
    ];
    for (event, argument, expected) in refused {
        let answer: Value = ada.emit_with_ack(event, argument).await?.decode(0)?;
        assert_eq!(code(&answer), Some(expected), "{event}: {answer}");
    }
    for room in 1..32 {
        ada.emit_with_ack("join", format!("room-{room}")).await?;
    }
    let answer: Value = ada.emit_with_ack("join", "one-more").await?.decode(0)?;
    assert_eq!(code(&answer), Some("E_ROOMS"), "{answer}");
    Ok(())
}

#[actix_web::test]
async fn client_misses_nothing_when_its_connection_breaks() -> Outcome {
    let application = application();
    let server = serve(&application);
    let ada = member(&application, &server, "Ada", "red").await?;
    let bob = member(&application, &server, "Bob", "red").await?;
    let lost = bob.drop_connection();
    assert_eq!(ada.expect("left").await?.data::<Value>()?["name"], "Bob");
    ada.emit_with_ack("say", json!({ "room": "red", "text": "while away" })).await?;
    let bob = server.client().namespace("/chat").recover(lost).connect().await?;
    assert!(bob.recovered());
    assert_eq!(bob.expect("said").await?.data::<Value>()?["text"], "while away");
    assert_eq!(ada.expect("joined").await?.data::<Value>()?["name"], "Bob");
    Ok(())
}

#[actix_web::test]
async fn logout_closes_all_sockets_of_the_user() -> Outcome {
    let application = application();
    let server = serve(&application);
    let tabs = [member(&application, &server, "Ada", "red").await?, member(&application, &server, "Ada", "blue").await?];
    let bob = member(&application, &server, "Bob", "red").await?;
    let bearer = format!("Bearer {}", token(&application, "Ada").await);
    let response = request(&application, TestRequest::post().uri("/logout").insert_header((AUTHORIZATION, bearer))).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    for tab in tabs {
        tab.disconnected().await?;
    }
    bob.sync().await?;
    Ok(())
}

#[actix_web::test]
async fn announcement_of_a_route_reaches_the_room() -> Outcome {
    let application = application();
    let server = serve(&application);
    let bob = member(&application, &server, "Bob", "red").await?;
    let post = |room: &str, text: &str| TestRequest::post().uri(&format!("/rooms/{room}/announcements")).set_json(json!({ "text": text }));
    let response = request(&application, post("red", "lunch")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);

    let bearer = format!("Bearer {}", token(&application, "Ada").await);
    let response = request(&application, post("red", "lunch").insert_header((AUTHORIZATION, bearer.clone()))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let announced = bob.expect("announced").await?.data::<Value>()?;
    assert_eq!((announced["name"].as_str(), announced["text"].as_str()), (Some("Ada"), Some("lunch")));

    for (room, text, status) in [("red", "", StatusCode::BAD_REQUEST), ("a%20room", "lunch", StatusCode::NOT_FOUND)] {
        let response = request(&application, post(room, text).insert_header((AUTHORIZATION, bearer.clone()))).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("content-type").map(|kind| kind.as_bytes()), Some(&b"application/problem+json"[..]));
    }
    Ok(())
}

#[cfg(feature = "api")]
#[actix_web::test]
async fn event_of_the_api_reaches_the_room() -> Outcome {
    use sociable_gateway::api::{Api, Keys};

    let application = application();
    let server = serve(&application);
    let bob = member(&application, &server, "Bob", "red").await?;
    let key = "a secret of 32 characters or more";
    let keys = json!({ "keys": { "shop": { "secret": key, "operations": ["emit"], "namespaces": ["/chat"] } } });
    let api = Api::builder(&application.io, Keys::new(serde_json::from_value(keys)?)?).build();
    let app = init_service(App::new().service(api.service())).await;
    let event = json!({ "namespace": "/chat", "rooms": ["room:red"], "event": "sold", "args": ["tea"] });
    for (key, status) in [("another", StatusCode::UNAUTHORIZED), (key, StatusCode::OK)] {
        let emit = TestRequest::post().uri("/api/v1/emit").insert_header((AUTHORIZATION, format!("Bearer {key}"))).set_json(&event);
        assert_eq!(call_service(&app, emit.to_request()).await.status(), status);
    }
    assert_eq!(bob.expect("sold").await?.data::<String>()?, "tea");
    Ok(())
}

#[actix_web::test]
async fn health_reports_the_node_until_it_drains() -> Outcome {
    let application = application();
    let response = request(&application, TestRequest::get().uri("/healthz")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let health: Value = read_body_json(response).await;
    assert_eq!((&health["name"], &health["draining"], &health["sessions"]), (&json!("node-1"), &json!(false), &json!(0)));
    assert_eq!(request(&application, TestRequest::get().uri("/readyz")).await.status(), StatusCode::OK);

    application.io.drain(Duration::ZERO).await;
    assert_eq!(request(&application, TestRequest::get().uri("/readyz")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(request(&application, TestRequest::get().uri("/healthz")).await.status(), StatusCode::OK);
    Ok(())
}
