//! The server configuration that an `App` sees. actix-web has no public constructor for it.
//!
//! Only this file uses the way around, and its test fails when actix-web changes it.

use std::net::SocketAddr;

use actix_web::dev::AppConfig;

pub(super) fn app_config(secure: bool, addr: SocketAddr) -> AppConfig {
    AppConfig::__priv_test_new(secure, addr.to_string(), addr)
}

#[cfg(test)]
mod tests {
    use super::app_config;

    #[test]
    fn app_sees_tls_and_listening_address() {
        let addr = "127.0.0.1:3000".parse().unwrap();
        let config = app_config(true, addr);
        assert!(config.secure());
        assert_eq!(config.local_addr(), addr);
        assert_eq!(config.host(), "127.0.0.1:3000");
        assert!(!app_config(false, addr).secure());
    }
}
