//! A Socket.IO cluster for backends in any language.
//!
//! The crate uses the public API of [`sociable`] alone. An application mounts its parts, and `sociable-node` serves them by its settings.
//!
//! # Layout of the source
//!
//! * `json.rs`: arguments as JSON, with a form for binary values. `emit.rs`: an event that a backend sends.
//! * `api/`: the operations of the API, and the ways to call them. `webhooks/`: requests to backends. `jwt/`: tokens of clients.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `api` | yes | The HTTP API by which backends send events and move sockets. |
//! | `jwt` | yes | Connections with JSON Web Tokens. |
//! | `nats` | yes | The API over NATS, and idempotency keys that hold in the whole cluster. |
//! | `webhooks` | yes | Requests to backends about connections and events. |

// Documentation on docs.rs shows the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "api")]
pub mod api;
mod emit;
mod json;
#[cfg(feature = "jwt")]
pub mod jwt;
#[cfg(feature = "webhooks")]
pub mod webhooks;

/// The examples of the guides, compiled as doctests.
#[cfg(all(doctest, feature = "jwt"))]
#[doc = include_str!("../../docs/guide/tokens.md")]
struct TokensGuide;

pub use self::emit::{EmitEvent, EmitFault};
pub use self::json::{Json, JsonFault};

/// The examples of the guides, compiled and run as doctests.
#[cfg(all(doctest, feature = "api"))]
mod guides {
    macro_rules! pages {
        ($($name:ident = $path:literal,)*) => { $(#[doc = include_str!($path)] struct $name;)* };
    }
    pages! {
        Api = "../../docs/guide/api.md",
    }
}
