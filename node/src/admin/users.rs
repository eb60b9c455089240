//! The users of the admin UI: their names, and the bcrypt hashes of their passwords.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bcrypt::HashParts;

/// The highest cost of a hash: its check takes about 2 s.
const MAX_COST: u32 = 15;

/// The longest name of a user, in bytes.
const MAX_NAME: usize = 256;

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
