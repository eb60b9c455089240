//! Credentials of a NATS client.

use std::fmt;
use std::path::{Path, PathBuf};

use async_nats::{ConnectOptions, ServerAddr};
use nkeys::KeyPair;

use crate::error::NatsConfigError;

/// Credentials that a process shows to a NATS server.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsAuth {
    /// The credentials in the server addresses, if there are any.
    #[default]
    None,
    /// A user name and a password.
    User(String, String),
    /// A token.
    Token(String),
    /// The seed of an nkey, which starts with `SU`.
    Nkey(String),
    /// A file with a JWT and an nkey, as `nsc` writes it.
    Credentials(PathBuf),
}

impl fmt::Debug for NatsAuth {
    /// Writes the kind, never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User(..) => "User",
            Self::Token(_) => "Token",
            Self::Nkey(_) => "Nkey",
            Self::Credentials(_) => "Credentials",
        })
    }
}

impl NatsAuth {
    /// Parses the credentials, as far as that needs no server. A file is read, which blocks.
    pub(crate) fn check(&self) -> Result<(), NatsConfigError> {
        match self {
            Self::Nkey(seed) => KeyPair::from_seed(seed).map(drop).map_err(|error| NatsConfigError::Nkey(error.to_string())),
            Self::Credentials(path) => {
                let parsed = std::fs::read_to_string(path).and_then(|text| ConnectOptions::with_credentials(&text));
                parsed.map(drop).map_err(|error| unusable(path, error))
            }
            Self::None | Self::User(..) | Self::Token(_) => Ok(()),
        }
    }

    /// Adds the credentials to the options of a client, or those of the first address that has some.
    pub(crate) async fn apply(&self, options: ConnectOptions, servers: &[ServerAddr]) -> Result<ConnectOptions, NatsConfigError> {
        Ok(match self {
            Self::None => match servers.iter().find_map(|server| Some((server.username()?, server.password()))) {
                Some((name, Some(password))) => options.user_and_password(name.to_owned(), password.to_owned()),
                Some((token, None)) => options.token(token.to_owned()),
                None => options,
            },
            Self::User(name, password) => options.user_and_password(name.clone(), password.clone()),
            Self::Token(token) => options.token(token.clone()),
            Self::Nkey(seed) => options.nkey(seed.clone()),
            Self::Credentials(path) => options.credentials_file(path).await.map_err(|error| unusable(path, error))?,
        })
    }
}

fn unusable(path: &Path, error: std::io::Error) -> NatsConfigError {
    NatsConfigError::Credentials { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    /// A file as `nsc` writes it.
    fn credentials(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn debug_shows_the_kind_alone() {
        for (auth, kind) in [
            (NatsAuth::None, "None"),
            (NatsAuth::User("me".into(), "SECRET".into()), "User"),
            (NatsAuth::Token("SECRET".into()), "Token"),
            (NatsAuth::Nkey("SUSECRET".into()), "Nkey"),
            (NatsAuth::Credentials("/SECRET.creds".into()), "Credentials"),
        ] {
            assert_eq!(format!("{auth:?}"), kind);
        }
    }

    #[test]
    fn check_accepts_usable_credentials() {
        let folder = Folder::new();
        let seed = KeyPair::new_user().seed().unwrap();
        let file = folder.file("right.creds", &credentials("jwt", &seed));
        for auth in [NatsAuth::None, NatsAuth::Token("t".into()), NatsAuth::Nkey(seed), NatsAuth::Credentials(file)] {
            auth.check().unwrap();
        }
    }

    #[test]
    fn check_refuses_unusable_credentials_without_a_secret() {
        let folder = Folder::new();
        let wrong_seed = folder.file("seed.creds", &credentials("jwt", "SUSECRET"));
        let nonsense = folder.file("nonsense.creds", "SECRET");
        for (auth, expected) in [
            (NatsAuth::Nkey("SUSECRET".into()), "starts with SU"),
            (NatsAuth::Nkey(KeyPair::new_user().public_key()), "starts with SU"),
            (NatsAuth::Credentials(folder.path().join("none.creds")), "none.creds failed"),
            (NatsAuth::Credentials(wrong_seed), "seed.creds failed"),
            (NatsAuth::Credentials(nonsense), "nonsense.creds failed"),
        ] {
            let error = auth.check().unwrap_err();
            let (shown, debug) = (error.to_string(), format!("{error:?}"));
            assert!(shown.contains(expected) && !shown.contains("SECRET") && !debug.contains("SECRET"), "{shown} {debug}");
        }
    }
}
