//! Tokens: connections of clients that prove their claims.
