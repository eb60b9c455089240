//! A server that checks tokens in its main namespace.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sociable::testing::{TestClient, TestClientBuilder, TestError, TestServer};
use sociable::{Recovery, Server, ServerBuilder};
use sociable_gateway::jwt::{Jwt, JwtFault, Settings};

use crate::issuer::SECRET;

/// The longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A file of a test, which is removed with this.
pub(crate) struct TestFile(pub(crate) PathBuf);

impl TestFile {
    pub(crate) fn new(contents: &[u8]) -> Self {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let name = format!("sociable-jwt-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let file = Self(std::env::temp_dir().join(name));
        file.write(contents);
        file
    }

    /// Replaces the contents as operators do: at once.
    pub(crate) fn write(&self, contents: &[u8]) {
        let new = self.0.with_extension("new");
        fs::write(&new, contents).unwrap();
        fs::rename(&new, &self.0).unwrap();
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// A running server that checks tokens.
pub(crate) struct Node {
    pub(crate) io: Server,
    pub(crate) server: TestServer,
    pub(crate) jwt: Jwt,
}

pub(crate) fn settings(settings: &Value) -> Settings {
    serde_json::from_value(settings.clone()).unwrap()
}

impl Node {
    /// Starts a server with these settings of tokens.
    pub(crate) fn start(table: &Value) -> Self {
        Self::start_on(Server::builder(), table).unwrap()
    }

    /// Starts a server with a shared secret.
    pub(crate) fn by_secret(changes: &Value) -> Self {
        let file = TestFile::new(SECRET);
        let mut table = json!({ "secret-file": file.path() });
        table.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Self::start_on(Server::builder().recovery(Recovery::default().skip_middlewares(false)), &table).unwrap()
    }

    pub(crate) fn start_on(builder: ServerBuilder, table: &Value) -> Result<Self, JwtFault> {
        let io = builder.build().unwrap();
        let jwt = Jwt::start(settings(table))?;
        io.middleware(jwt.middleware());
        Ok(Self { server: TestServer::start(&io).unwrap(), io, jwt })
    }

    pub(crate) fn client(&self) -> TestClientBuilder {
        self.server.client().patience(PATIENCE)
    }

    /// Connects with a token.
    pub(crate) async fn connect(&self, token: &str) -> Result<TestClient, TestError> {
        self.client().auth(&json!({ "token": token })).connect().await
    }

    /// Returns the reason for which a token is refused; none if it is not.
    pub(crate) async fn refusal(&self, token: &str) -> Option<String> {
        reason(self.connect(token).await)
    }

    /// Returns how many sockets were refused for a reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        let stats = self.jwt.stats();
        stats.refused.iter().find(|(name, _)| *name == reason).unwrap().1
    }
}

/// Returns the reason of a refusal; none for a connection.
pub(crate) fn reason(connected: Result<TestClient, TestError>) -> Option<String> {
    match connected {
        Ok(_) => None,
        Err(TestError::Refused { message, data }) => {
            assert_eq!(message, "not authorized");
            assert_eq!(data["code"].as_str(), Some("E_TOKEN"));
            Some(data["reason"].as_str().unwrap().to_owned())
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for a condition that nothing announces.
pub(crate) async fn eventually(what: &str, done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}
