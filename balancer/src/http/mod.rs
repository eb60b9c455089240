//! HTTP/1.1, as far as a proxy needs it: heads and bodies, without I/O.
//!
//! * `head`: the head of a request, split into its parts. HTTP/2 produces it too. `fields`: what of it concerns the connection and the framing.
//! * `request`: the head interpreted, and written for the node. `refusal`: why a request gets no further.
//! * `body`: bodies are taken out of one framing and put into another.
//! * `answer`: the head of a node's answer, read, and written for the client.
//! * `access_log`: one line a request.

pub(crate) mod access_log;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod refusal;
pub(crate) mod request;
