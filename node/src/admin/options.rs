//! The options of the admin UI, and their check.

use std::time::Duration;

use sociable_engine::ConfigError;

use super::users::AdminUsers;

/// The shortest secret of session ids, in bytes.
const MIN_SECRET: usize = 16;

/// The extent of the reports to the admin UI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminMode {
    /// Each node reports sums every 2 s: clients, messages, bytes, and the sockets of each namespace.
    #[default]
    Production,
    /// Each node also reports a sample of its sockets: their rooms, and the events that they receive and send.
    Development,
}

/// The options of [`Server::admin`](crate::Server::admin). All servers of a cluster have the same ones, apart from the server id. Clones share the
/// [users](Self::users).
///
/// ```
/// use sociable::{AdminMode, AdminOptions, Server};
///
/// let io = Server::builder().build()?;
/// // The hash of `changeit`, by `htpasswd -nbBC 10 ada changeit`.
/// let ada = ("ada", "$2y$10$QOFuDnHyYzVDpm1NI8dKveQ8I5SbTyRsvnBfyHCVrU7ql.BQYtMv2");
/// io.admin(AdminOptions::new([ada]).mode(AdminMode::Development).readonly(true))?;
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdminOptions {
    pub(super) users: AdminUsers,
    pub(super) namespace: String,
    pub(super) server_id: Option<String>,
    pub(super) mode: AdminMode,
    pub(super) readonly: bool,
    pub(super) secret: Vec<u8>,
    pub(super) session_age: Duration,
    pub(super) attempts_per_minute: u32,
    pub(super) waiting_attempts: usize,
    pub(super) sockets: usize,
    pub(super) sockets_bytes: usize,
    pub(super) changes_per_second: u32,
    pub(super) events_per_second: u32,
    pub(super) event_bytes: usize,
}

impl AdminOptions {
    /// Returns the default options for these users: their names, and the bcrypt hashes of their passwords.
    pub fn new<N: Into<String>, H: Into<String>>(users: impl IntoIterator<Item = (N, H)>) -> Self {
        Self {
            users: AdminUsers::new(users.into_iter().map(|(name, hash)| (name.into(), hash.into())).collect()),
            namespace: "/admin".into(),
            server_id: None,
            mode: AdminMode::default(),
            readonly: false,
            secret: vec![],
            session_age: Duration::from_secs(24 * 60 * 60),
            attempts_per_minute: 30,
            waiting_attempts: 8,
            sockets: 200,
            sockets_bytes: 512 * 1024,
            changes_per_second: 100,
            events_per_second: 20,
            event_bytes: 1024,
        }
    }

    /// Returns the users, which can be [replaced](AdminUsers::replace) while the server runs.
    pub fn users(&self) -> AdminUsers {
        self.users.clone()
    }

    /// Sets the namespace of the admin UI: `/admin` by default.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = name.into();
        self
    }

    /// Sets the name of this server in the admin UI: the host name by default. Each server needs its own.
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.server_id = Some(id.into());
        self
    }

    /// Sets the extent of the reports: [`AdminMode::Production`] by default.
    pub fn mode(mut self, mode: AdminMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets whether users may only look: no by default. Otherwise they may emit, and move and disconnect sockets.
    pub fn readonly(mut self, readonly: bool) -> Self {
        self.readonly = readonly;
        self
    }

    /// Sets a secret that signs session ids, together with the hash of the user: none by default.
    ///
    /// Without a secret, anyone who reads a hash can make session ids of its user. With one, the hash alone does not suffice.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = secret.into();
        self
    }

    /// Sets the time for which a session id is valid: 24 hours by default.
    pub fn session_age(mut self, age: Duration) -> Self {
        self.session_age = age;
        self
    }

    /// Sets how many failed passwords this server checks at once, and then in each minute: 30 by default. Further logins by password are refused; session
    /// ids still work.
    pub fn attempts_per_minute(mut self, attempts: u32) -> Self {
        self.attempts_per_minute = attempts;
        self
    }

    /// Sets how many logins wait while one password is checked: 8 by default. Further ones are refused.
    pub fn waiting_attempts(mut self, attempts: usize) -> Self {
        self.waiting_attempts = attempts;
        self
    }

    /// Sets how many sockets this server reports in development mode: 200 by default.
    pub fn sockets(mut self, sockets: usize) -> Self {
        self.sockets = sockets;
        self
    }

    /// Sets the size of the list of all reported sockets of the cluster, in bytes: 512 KiB by default. Its nodes share it.
    pub fn sockets_bytes(mut self, bytes: usize) -> Self {
        self.sockets_bytes = bytes;
        self
    }

    /// Sets how many changes of reported sockets this server sends in a second: 100 by default. After an overflow, the list of sockets is sent again.
    pub fn changes_per_second(mut self, changes: u32) -> Self {
        self.changes_per_second = changes;
        self
    }

    /// Sets how many events of reported sockets this server sends in a second: 20 by default.
    pub fn events_per_second(mut self, events: u32) -> Self {
        self.events_per_second = events;
        self
    }

    /// Sets the longest arguments of a reported event, in bytes: 1 KiB by default. Their length replaces longer ones.
    pub fn event_bytes(mut self, bytes: usize) -> Self {
        self.event_bytes = bytes;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// There is no user, a hash is not one of bcrypt, or another option cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fault = |text: String| Err(ConfigError::single(format!("admin: {text}")));
        if let Err(text) = self.users.current().check() {
            return fault(text);
        }
        if !self.namespace.starts_with('/') || self.namespace.len() < 2 {
            return fault("the namespace must be a name such as \"/admin\"".into());
        }
        if !self.secret.is_empty() && self.secret.len() < MIN_SECRET {
            return fault(format!("the secret has {} bytes: use at least {MIN_SECRET}", self.secret.len()));
        }
        if self.attempts_per_minute == 0 {
            return fault("attempts_per_minute is 0, so nobody can log in: use at least 1".into());
        }
        Ok(())
    }

    /// Returns whether sockets are reported.
    pub(super) fn is_development(&self) -> bool {
        self.mode == AdminMode::Development
    }
}
