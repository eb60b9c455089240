//! Logins, and what a page gets first.

use super::*;

fn refusal(refused: Result<TestClient, TestError>) -> String {
    match refused {
        Err(TestError::Refused { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn password_gives_a_session_id_for_every_node() {
    let (_, a) = start(options());
    let (b_io, b) = start(options());
    let first = login(&a).await;
    let session: String = first.expect("session").await.unwrap().data().unwrap();
    let again = page(&b).auth(&json!({ "sessionId": session })).connect().await.unwrap();
    let config: Value = again.expect("config").await.unwrap().data().unwrap();
    assert_eq!(config["supportedFeatures"].as_array().unwrap().len(), 8);
    again.sync().await.unwrap();
    assert!(!again.pending().contains(&"session".to_owned()), "the page has one already");
    assert_eq!(metric(&b_io, "admin_logins_total{outcome=\"session\"}").await, 1);
}

#[tokio::test]
async fn wrong_credentials_are_refused_as_in_javascript() {
    let (io, server) = start(options());
    for auth in [
        json!({ "username": "ada", "password": "wrong" }),
        json!({ "username": "bob", "password": PASSWORD }),
        json!({ "username": "ada" }),
        json!({ "sessionId": "1.YWRh.YWRh" }),
        json!({ "sessionId": null, "username": 1, "password": [] }),
        json!({ "username": "ada", "password": PASSWORD.repeat(1000) }),
        json!({}),
    ] {
        assert_eq!(refusal(page(&server).auth(&auth).connect().await), "invalid credentials", "{auth}");
    }
    assert_eq!(refusal(page(&server).connect().await), "invalid credentials");
    assert_eq!(metric(&io, "admin_logins_total{outcome=\"refused\"}").await, 8);
    assert_eq!(metric(&io, "admin_watched").await, 0, "a stranger starts nothing");
}

#[tokio::test]
async fn empty_password_never_logs_in() {
    let (_io, server) = start(AdminOptions::new([("ada", bcrypt::hash("", 4).unwrap())]));
    let auth = json!({ "username": "ada", "password": "" });
    assert_eq!(refusal(page(&server).auth(&auth).connect().await), "invalid credentials");
}

#[tokio::test]
async fn session_id_logs_in_after_too_many_wrong_passwords() {
    let (io, server) = start(options().attempts_per_minute(2));
    let session: String = login(&server).await.expect("session").await.unwrap().data().unwrap();
    let guess = || page(&server).auth(&json!({ "username": "ada", "password": "wrong" })).connect();
    while refusal(guess().await) == "invalid credentials" {}
    assert_eq!(refusal(guess().await), "too many attempts: try again in a minute");
    assert!(metric(&io, "admin_logins_total{outcome=\"throttled\"}").await >= 2);
    page(&server).auth(&json!({ "sessionId": session })).connect().await.unwrap();
}

#[tokio::test]
async fn unusable_options_are_refused() {
    let io = Server::builder().build().unwrap();
    for (options, fault) in [
        (AdminOptions::new([("ada", "changeit")]), "is no bcrypt hash"),
        (AdminOptions::new([] as [(&str, &str); 0]), "there is no user"),
        (options().namespace("admin"), "the namespace must be a name"),
        (options().secret("short"), "use at least 16"),
        (options().attempts_per_minute(0), "use at least 1"),
    ] {
        let error = io.admin(options).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
    assert!(io.namespace("/admin").is_none());
}

async fn with_password(server: &TestServer, user: &str) -> Result<TestClient, TestError> {
    page(server).auth(&json!({ "username": user, "password": PASSWORD })).connect().await
}

#[tokio::test]
async fn replaced_users_log_in_and_removed_ones_are_disconnected() {
    let options = AdminOptions::new(["ada", "bob"].map(|name| (name, &**HASH)));
    let users = options.users();
    let (_io, server) = start(options);
    let (ada, bob) = (login(&server).await, with_password(&server, "bob").await.unwrap());
    let of = async |page: &TestClient| page.expect("session").await.unwrap().data::<String>().unwrap();
    let (of_ada, of_bob) = (of(&ada).await, of(&bob).await);
    let by_session = async |session: &str| page(&server).auth(&json!({ "sessionId": session })).connect().await;

    users.replace([("eve", &**HASH), ("ada", &**HASH)]).unwrap();
    assert_eq!(users.names(), ["ada", "eve"]);
    assert_eq!(bob.disconnected().await.unwrap(), "io server disconnect");
    assert_eq!(refusal(with_password(&server, "bob").await), "invalid credentials");
    assert_eq!(refusal(by_session(&of_bob).await), "invalid credentials");
    with_password(&server, "eve").await.unwrap();
    by_session(&of_ada).await.unwrap();

    // A new password ends the session ids of its user, and no connection.
    users.replace([("ada", bcrypt::hash("other", 4).unwrap())]).unwrap();
    assert_eq!(refusal(by_session(&of_ada).await), "invalid credentials");
    assert!(users.replace([("ada", "changeit")]).unwrap_err().to_string().contains("is no bcrypt hash"));
    assert_eq!(users.names(), ["ada"]);
    page(&server).auth(&json!({ "username": "ada", "password": "other" })).connect().await.unwrap();
    ada.sync().await.unwrap();
}
