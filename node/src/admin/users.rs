//! The users of the admin UI: their names, and the bcrypt hashes of their passwords.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bcrypt::HashParts;
use parking_lot::{Mutex, RwLock};
use sociable_engine::ConfigError;
use sociable_protocol::Id;
use sociable_protocol::maps::Map;

use crate::socket::Socket;

/// The highest cost of a hash: its check takes about 2 s.
const MAX_COST: u32 = 15;

/// The longest name of a user, in bytes.
const MAX_NAME: usize = 256;

/// The users of the admin UI. Clones share the same users, which can be [replaced](Self::replace) while the server runs.
///
/// ```
/// use sociable::AdminOptions;
///
/// let old = ("ada", "$2y$10$QOFuDnHyYzVDpm1NI8dKveQ8I5SbTyRsvnBfyHCVrU7ql.BQYtMv2");
/// let new = ("bob", "$2y$10$QOFuDnHyYzVDpm1NI8dKveQ8I5SbTyRsvnBfyHCVrU7ql.BQYtMv2");
/// let options = AdminOptions::new([old]);
/// let users = options.users();
/// users.replace([old, new])?;
/// assert_eq!(users.names(), ["ada", "bob"]);
/// # Ok::<(), sociable::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdminUsers(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<Users>>,
    /// The sockets that are logged in on this server, each with its user.
    logged_in: Mutex<Map<Id, (Socket, String)>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.read().fmt(f)
    }
}

impl AdminUsers {
    pub(super) fn new(users: Users) -> Self {
        Self(Arc::new(Shared { current: RwLock::new(Arc::new(users)), logged_in: Mutex::default() }))
    }

    /// Replaces all users: their names, and the bcrypt hashes of their passwords.
    ///
    /// Sockets of users that remain stay connected. Sockets of removed users are disconnected. A new hash ends the session ids of its user.
    ///
    /// # Errors
    ///
    /// There is no user, or a hash is not one of bcrypt. The users stay as they are.
    pub fn replace<N: Into<String>, H: Into<String>>(&self, users: impl IntoIterator<Item = (N, H)>) -> Result<(), ConfigError> {
        let users: Users = users.into_iter().map(|(name, hash)| (name.into(), hash.into())).collect();
        users.check().map_err(|text| ConfigError::single(format!("admin: {text}")))?;
        let users = Arc::new(users);
        *self.0.current.write() = Arc::clone(&users);
        let removed: Vec<_> = self.0.logged_in.lock().extract_if(|_, (_, user)| users.find(user).is_none()).collect();
        for (_, (socket, _)) in removed {
            socket.disconnect();
        }
        Ok(())
    }

    /// Returns the names of the users, sorted.
    pub fn names(&self) -> Vec<String> {
        self.current().0.keys().cloned().collect()
    }

    pub(super) fn current(&self) -> Arc<Users> {
        Arc::clone(&self.0.current.read())
    }

    /// Notes that a user's socket is logged in. False if the user is not there any more.
    pub(super) fn enter(&self, socket: &Socket, user: String) -> bool {
        // Noted first: a replacement after the check finds the socket.
        self.0.logged_in.lock().insert(socket.id(), (socket.clone(), user.clone()));
        let is_known = self.current().find(&user).is_some();
        if !is_known {
            self.leave(socket.id());
        }
        is_known
    }

    /// Notes that a socket has left.
    pub(super) fn leave(&self, socket: Id) {
        self.0.logged_in.lock().remove(&socket);
    }
}

#[derive(Clone, Default)]
pub(super) struct Users(BTreeMap<String, String>);

/// The hashes are left out.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Users {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(users: T) -> Self {
        Self(users.into_iter().collect())
    }
}

impl Users {
    /// Returns the fault of the first user that cannot log in. The text does not quote the hash.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.0.is_empty() {
            return Err("there is no user: add one with the bcrypt hash of a password".into());
        }
        for (name, hash) in &self.0 {
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(format!("the name of a user has {} bytes: use 1 to {MAX_NAME}", name.len()));
            }
            match HashParts::from_str(hash) {
                Ok(parts) if parts.get_cost() > MAX_COST => {
                    return Err(format!("the hash of user {name:?} has the cost {}: use at most {MAX_COST}", parts.get_cost()));
                }
                Ok(_) => {}
                Err(_) => {
                    return Err(format!("the password of user {name:?} is no bcrypt hash: make one by `htpasswd -nB {}`", name.trim()));
                }
            }
        }
        Ok(())
    }

    /// Returns the name, as this owns it, and the hash of a user.
    pub(super) fn find(&self, name: &str) -> Option<(&str, &str)> {
        self.0.get_key_value(name).map(|(name, hash)| (&**name, &**hash))
    }

    /// Returns whether a password is that of a user. This takes the time of a bcrypt check, also for an unknown name.
    pub(super) fn verify(&self, name: &str, password: &str) -> bool {
        let known = self.find(name);
        let hash = known.map(|(_, hash)| hash).or_else(|| self.0.values().next().map(|hash| &**hash));
        let is_right = hash.is_some_and(|hash| bcrypt::verify(password, hash).unwrap_or(false));
        known.is_some() && is_right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(users: &[(&str, &str)]) -> Users {
        users.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect()
    }

    #[test]
    fn hash_of_each_common_prefix_is_checked() {
        let hash = bcrypt::hash("changeit", 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let users = users(&[("ada", &format!("{prefix}{}", &hash[4..]))]);
            assert_eq!(users.check(), Ok(()));
            assert!(users.verify("ada", "changeit"), "{prefix}");
            assert!(!users.verify("ada", "other") && !users.verify("bob", "changeit"));
        }
    }

    #[test]
    fn unusable_users_are_refused_without_their_hash() {
        assert!(users(&[]).check().unwrap_err().contains("no user"));
        let fault = users(&[("ada", "changeit")]).check().unwrap_err();
        assert!(fault.contains("\"ada\" is no bcrypt hash") && !fault.contains("changeit"), "{fault}");
        let costly = format!("$2b$16${}", &bcrypt::hash("a", 4).unwrap()[7..]);
        assert!(users(&[("ada", &costly)]).check().unwrap_err().contains("cost 16"));
    }
}
