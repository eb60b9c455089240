//! Server addresses without the credentials in them.

/// Returns one address without a password or token, also where the address is malformed.
pub(crate) fn address(address: &str) -> String {
    let (scheme, rest) = address.split_at(address.find("://").map_or(0, |at| at + 3));
    match (rest.rsplit_once('@'), rest.split_once(':')) {
        (Some((_, host)), _) => format!("{scheme}…@{host}"),
        // A suffix that is no port may be a password, without its host or cut by a comma.
        (None, Some((host, port))) if !port.bytes().all(|byte| byte.is_ascii_digit()) => format!("{scheme}{host}:…"),
        _ => address.to_owned(),
    }
}

/// Returns a list of addresses without credentials.
pub(crate) fn addresses(list: &str) -> String {
    list.split(',').map(|one| address(one.trim())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_credentials_alone() {
        assert_eq!(addresses("nats://host:4222"), "nats://host:4222");
        assert_eq!(addresses("nats://me:secret@host:4222, tls://token@other"), "nats://…@host:4222, tls://…@other");
    }

    #[test]
    fn malformed_addresses_lose_what_may_be_a_password() {
        for list in ["nats://me:secret,secret@host", "nats://me:secret", "me:secret", "nats://me:secret@ho st", "nats://me:s@secret@host"] {
            assert!(!addresses(list).contains("secret"), "{list}");
        }
    }
}
