//! The configuration that an `App` is told of its server. actix-web has no public way to build one; this file is the only place that
//! knows how it is done all the same, and its test tells when that changes.

use std::net::SocketAddr;

use actix_web::dev::AppConfig;

pub(super) fn app_config(secure: bool, addr: SocketAddr) -> AppConfig {
    AppConfig::__priv_test_new(secure, addr.to_string(), addr)
}

#[cfg(test)]
mod tests {
    use super::app_config;

    #[test]
    fn an_app_is_told_whether_it_is_behind_tls_and_where_it_listens() {
        let addr = "127.0.0.1:3000".parse().unwrap();
        let config = app_config(true, addr);
        assert!(config.secure());
        assert_eq!(config.local_addr(), addr);
        assert_eq!(config.host(), "127.0.0.1:3000");
        assert!(!app_config(false, addr).secure());
    }
}
