//! Connections to NATS servers with access control: each kind of credentials, right and wrong, and TLS.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use sociable::adapter::conformance::{Peer, check_all};
use sociable::{NatsAdapter, NatsAuth, NatsError, NatsOptions};
use sociable_tests::{Folder, Nats, within};

/// The permissions of a node in `docs/guide/cluster.md`.
const NEEDED: [&str; 2] = ["sociable.sociable.>", "_INBOX.>"];

async fn connect(nats: &Nats, auth: NatsAuth) -> Result<NatsAdapter, NatsError> {
    within("the server's verdict", NatsAdapter::connect(NatsOptions::new(nats.url()).auth(auth))).await
}

async fn is_let_in(nats: &Nats, auth: NatsAuth) {
    connect(nats, auth).await.unwrap();
}

async fn is_refused(nats: &Nats, auth: NatsAuth) {
    let error = connect(nats, auth).await.unwrap_err();
    assert!(matches!(error, NatsError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("authorization"), "{error}");
}

#[tokio::test]
async fn nats_link_authenticates_by_name_and_password() {
    let nats = Nats::with("authorization { users: [ { user: node, password: \"pass word\" } ] }");
    is_refused(&nats, NatsAuth::None).await;
    is_refused(&nats, NatsAuth::User("node".into(), "wrong".into())).await;
    is_let_in(&nats, NatsAuth::User("node".into(), "pass word".into())).await;
}

#[tokio::test]
async fn nats_link_authenticates_by_token() {
    let nats = Nats::with("authorization { token: \"a token\" }");
    is_refused(&nats, NatsAuth::Token("another".into())).await;
    is_let_in(&nats, NatsAuth::Token("a token".into())).await;
}

#[tokio::test]
async fn nats_link_authenticates_by_nkey() {
    let (node, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let nats = Nats::with(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", node.public_key()));
    is_refused(&nats, NatsAuth::None).await;
    is_refused(&nats, NatsAuth::Nkey(stranger.seed().unwrap())).await;
    is_let_in(&nats, NatsAuth::Nkey(node.seed().unwrap())).await;
    // Not a seed at all: it is said, and is no panic.
    connect(&nats, NatsAuth::Nkey("SUNONSENSE".into())).await.unwrap_err();
    connect(&nats, NatsAuth::Nkey(node.public_key())).await.unwrap_err();
}

/// A JWT as NATS has them: `issuer` vouches for these claims of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, expires: Option<u64>, mut claims: Value) -> String {
    claims["version"] = json!(2);
    let mut body =
        json!({ "jti": subject.public_key(), "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims });
    if let Some(expires) = expires {
        body["exp"] = json!(expires);
    }
    let [head, body] = [json!({ "typ": "JWT", "alg": "ed25519-nkey" }), body].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{head}.{body}");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// A user of this account, who may say and hear what a node has to, and nothing else.
fn user(account: &KeyPair, user: &KeyPair, expires: Option<u64>) -> String {
    let allowed = json!({ "allow": NEEDED });
    jwt(account, user, expires, json!({ "type": "user", "pub": allowed, "sub": allowed, "subs": -1, "data": -1, "payload": -1 }))
}

/// A file of credentials as `nsc` writes it.
fn credentials(jwt: &str, key: &KeyPair) -> String {
    let seed = key.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// A server that trusts an operator, who vouches for one account.
fn server_of_an_operator(account: &KeyPair) -> Nats {
    let operator = KeyPair::new_operator();
    let of_operator = jwt(&operator, &operator, None, json!({ "type": "operator" }));
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 });
    let of_account = jwt(&operator, account, None, json!({ "type": "account", "limits": limits }));
    let preloaded = format!("{}: {of_account}", account.public_key());
    Nats::with(&format!("operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {preloaded} }}"))
}

#[tokio::test]
async fn nats_link_authenticates_by_credentials_file() {
    let (account, node) = (KeyPair::new_account(), KeyPair::new_user());
    let nats = server_of_an_operator(&account);
    let folder = Folder::new("credentials");
    let of = |name: &str, jwt: &str, key: &KeyPair| NatsAuth::Credentials(folder.file(name, &credentials(jwt, key)));
    let good = user(&account, &node, None);
    is_let_in(&nats, of("good", &good, &node)).await;

    is_refused(&nats, NatsAuth::None).await;
    is_refused(&nats, of("another's key", &good, &KeyPair::new_user())).await;
    is_refused(&nats, of("expired", &user(&account, &node, Some(2)), &node)).await;
    is_refused(&nats, of("unknown account", &user(&KeyPair::new_account(), &node, None), &node)).await;
    // Claims without a valid signature: those of one user with the signature of another.
    let stranger = KeyPair::new_user();
    let theirs = user(&account, &stranger, None);
    let forged = format!("{}.{}", theirs.rsplit_once('.').unwrap().0, good.rsplit_once('.').unwrap().1);
    is_refused(&nats, of("forged", &forged, &stranger)).await;
}

#[tokio::test]
async fn error_names_an_unreadable_credentials_file() {
    let nats = Nats::start();
    let folder = Folder::new("no-credentials");
    for path in [folder.path().join("missing"), folder.file("nonsense", "no credentials")] {
        let error = connect(&nats, NatsAuth::Credentials(path.clone())).await.unwrap_err();
        assert!(matches!(&error, NatsError::Credentials { path: named, .. } if *named == path), "{error:?}");
    }
}

#[tokio::test]
async fn nats_link_authenticates_by_its_url() {
    let nats = Nats::with("authorization { users: [ { user: node, password: pass } ] }");
    let address = |who: &str| NatsOptions::new(format!("nats://{who}127.0.0.1:{}", nats.port()));
    NatsAdapter::connect(address("node:pass@")).await.unwrap();
    NatsAdapter::connect(address("node:wrong@")).await.unwrap_err();
    NatsAdapter::connect(address("")).await.unwrap_err();
    let nats = Nats::with("authorization { token: secret }");
    NatsAdapter::connect(NatsOptions::new(format!("nats://secret@127.0.0.1:{}", nats.port()))).await.unwrap();
}

#[tokio::test]
async fn node_works_with_the_permissions_of_the_guide() {
    let (account, node) = (KeyPair::new_account(), KeyPair::new_user());
    let nats = server_of_an_operator(&account);
    let folder = Folder::new("permissions");
    let file = folder.file("node", &credentials(&user(&account, &node, None), &node));
    // The permissions hold: this user can publish nothing else.
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let probe = async_nats::ConnectOptions::with_credentials_file(&file).await.unwrap().event_callback(move |event| {
        tell.send(event.to_string()).ok();
        std::future::ready(())
    });
    let probe = probe.connect(nats.url()).await.unwrap();
    probe.publish("elsewhere", "".into()).await.unwrap();
    let refusal = async { while !told.recv().await.unwrap().to_lowercase().contains("permissions violation") {} };
    within("the refusal", refusal).await;

    let options = NatsOptions::new(nats.url()).auth(NatsAuth::Credentials(file));
    let connect = async || Peer::start(NatsAdapter::connect(options.clone()).await.unwrap());
    within("the checks", check_all(connect)).await;
}

struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

/// Returns a self-signed certificate.
fn certificate(folder: &Folder, name: &str) -> Certificate {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    Certificate {
        certificate: folder.file(&format!("{name}.pem"), &key.cert.pem()),
        key: folder.file(&format!("{name}-key.pem"), &key.signing_key.serialize_pem()),
    }
}

fn tls(server: &Certificate, more: &str) -> Nats {
    let Certificate { certificate, key } = server;
    Nats::with(&format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, {more} }}"))
}

fn private(nats: &Nats, trusted: &Path) -> NatsOptions {
    NatsOptions::new(format!("tls://localhost:{}", nats.port())).root_certificates(trusted)
}

#[tokio::test]
async fn nats_link_verifies_the_server_certificate() {
    let folder = Folder::new("tls");
    let (server, other) = (certificate(&folder, "server"), certificate(&folder, "other"));
    let nats = tls(&server, "");
    let open = NatsOptions::new(format!("tls://localhost:{}", nats.port()));
    NatsAdapter::connect(open).await.expect_err("the certificate is unknown");
    NatsAdapter::connect(private(&nats, &other.certificate)).await.expect_err("another vouches for another");
    NatsAdapter::connect(private(&nats, &server.certificate)).await.unwrap();
    // And no link without it, where it is asked for.
    let open = Nats::start();
    NatsAdapter::connect(NatsOptions::new(open.url()).require_tls()).await.expect_err("the server has no TLS");
}

#[tokio::test]
async fn nats_link_authenticates_by_certificate() {
    let folder = Folder::new("client-tls");
    let (server, node, stranger) = (certificate(&folder, "server"), certificate(&folder, "node"), certificate(&folder, "stranger"));
    let nats = tls(&server, &format!("verify: true, ca_file: {:?}", node.certificate));
    let options = private(&nats, &server.certificate);
    NatsAdapter::connect(options.clone()).await.expect_err("the client has no certificate");
    NatsAdapter::connect(options.clone().client_certificate(stranger.certificate, stranger.key))
        .await
        .expect_err("the client's certificate is unknown");
    NatsAdapter::connect(options.client_certificate(node.certificate, node.key)).await.unwrap();
}
