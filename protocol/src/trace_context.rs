//! The trace context of the W3C: a span as other processes name it.
//!
//! Two headers carry it: `traceparent` with the ids and the flags, and `tracestate` with entries of tracing systems. Both may come from
//! anybody. A malformed `traceparent` is ignored, and so is a malformed or long `tracestate`.

use std::fmt;

/// The name of the header with the ids and the flags.
pub const TRACEPARENT: &str = "traceparent";
/// The name of the header with the entries of tracing systems.
pub const TRACESTATE: &str = "tracestate";

/// The most bytes of a `tracestate` that are kept: the specification asks for at least as many.
const MAX_STATE: usize = 512;
/// The most entries of a `tracestate`.
const MAX_ENTRIES: usize = 32;
/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A span of any process, by its ids: the parent, or the link, of spans elsewhere.
///
/// ```
/// use sociable_protocol::TraceContext;
///
/// let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let context = TraceContext::parse(traceparent, Some("vendor=1")).expect("it is valid");
/// assert!(context.is_sampled());
/// assert_eq!((context.to_string().as_str(), context.state()), (traceparent, "vendor=1"));
/// assert_eq!(TraceContext::parse("00-0-0-01", None), None);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
    state: Option<Box<str>>,
}

impl TraceContext {
    /// Returns the context of a span. `None` if an id is zero, which the specification forbids.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Option<Self> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, sampled, state: None })
    }

    /// Returns the context with this `tracestate`. A malformed or long one is left out.
    #[must_use]
    pub fn with_state(mut self, state: &str) -> Self {
        self.state = is_state(state).then(|| state.into());
        self
    }

    /// Reads the values of the two headers. `None` if the `traceparent` is malformed.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let text = traceparent.as_bytes();
        let [version] = hex(text.get(..2)?)?;
        // Later versions may add fields. Version ff is forbidden.
        let is_whole = text.len() == LENGTH || version != 0 && text.get(LENGTH) == Some(&b'-');
        let has_dashes = [2, 35, 52].iter().all(|&at| text.get(at) == Some(&b'-'));
        if version == 0xff || !is_whole || !has_dashes {
            return None;
        }
        let [flags] = hex(text.get(53..55)?)?;
        let context = Self::new(hex(text.get(3..35)?)?, hex(text.get(36..52)?)?, flags & SAMPLED != 0)?;
        Some(match tracestate {
            Some(state) => context.with_state(state),
            None => context,
        })
    }

    /// Returns the id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Returns the id of the span.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Returns true if the process of the span records the trace.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Returns the value of `tracestate`, empty if there is none.
    pub fn state(&self) -> &str {
        self.state.as_deref().unwrap_or_default()
    }

    /// Returns the approximate memory of the context, in bytes.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + self.state().len()
    }
}

/// The value of `traceparent`, in version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self}, {:?})", self.state())
    }
}

/// Reads lower-case digits of base 16.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

/// Returns true if a text can be a `tracestate`: entries of printable ASCII, each with a name and a value.
fn is_state(state: &str) -> bool {
    let is_entry =
        |entry: &str| entry.is_empty() || entry.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty());
    !state.is_empty()
        && state.len() <= MAX_STATE
        && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && state.split(',').map(str::trim).all(is_entry)
        && state.split(',').count() <= MAX_ENTRIES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn parse(traceparent: &str) -> Option<TraceContext> {
        TraceContext::parse(traceparent, None)
    }

    #[test]
    fn traceparent_survives_a_round_trip() {
        for flags in ["00", "01"] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let context = parse(&text).unwrap();
            assert_eq!(context.to_string(), text);
            assert_eq!((context.is_sampled(), context.state()), (flags == "01", ""));
        }
    }

    #[test]
    fn unknown_flags_and_fields_of_later_versions_are_ignored() {
        for text in [format!("00-{TRACE}-{SPAN}-ff"), format!("cc-{TRACE}-{SPAN}-01"), format!("cc-{TRACE}-{SPAN}-01-what-else")] {
            assert_eq!(parse(&text).unwrap().to_string(), format!("00-{TRACE}-{SPAN}-01"), "{text}");
        }
    }

    #[test]
    fn malformed_traceparent_is_ignored() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".into(),
            "€".repeat(20),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn malformed_or_long_tracestate_is_left_out() {
        let context = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        for kept in ["a=1", "a=1,b=2", "a=1, b=2", "a=1,,b=2", "tenant@system=x y"] {
            assert_eq!(context.clone().with_state(kept).state(), kept);
        }
        let (long, many) = (format!("a={}", "x".repeat(MAX_STATE)), vec!["a=1"; MAX_ENTRIES + 1].join(","));
        for dropped in ["", "a", "=1", "a=", "a=1\nb=2", "a=€", long.as_str(), many.as_str()] {
            assert_eq!(context.clone().with_state(dropped).state(), "", "{dropped}");
        }
    }

    proptest! {
        #[test]
        fn parser_returns_what_it_can_write_again(text in "[0-9a-f-]{0,60}|\\PC{0,60}") {
            if let Some(context) = parse(&text) {
                prop_assert_eq!(parse(&context.to_string()), Some(context));
            }
        }
    }
}
