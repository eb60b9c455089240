//! The content codings that a client accepts.

/// Returns one part of `Accept-Encoding`: a name and its weight.
pub(crate) fn weighted(part: &str) -> (&str, f32) {
    let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
    let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.trim().parse().ok());
    (name.trim(), weight.unwrap_or(0.0))
}
