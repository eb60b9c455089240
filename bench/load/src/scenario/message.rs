//! Broadcasts with a number and their time of sending.

/// The event before the argument of a broadcast.
const EVENT: &[u8] = b"2[\"msg\",\"";

/// The digits of a number in an argument.
const DIGITS: usize = 16;

/// The form of all broadcasts of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    /// The end of each argument.
    padding: String,
}

/// A broadcast that a client received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) number: usize,
    pub(super) sent: u64,
    /// The offset that a server with recovery adds.
    pub(super) offset: Option<&'a [u8]>,
}

impl Form {
    /// Returns the form of arguments of so many bytes. A text that compresses like JSON of an application fills it if wanted.
    pub(super) fn new(size: usize, is_compressible: bool) -> Self {
        let size = size.saturating_sub(2 * DIGITS);
        Self { padding: if is_compressible { records(size) } else { "x".repeat(size) } }
    }

    /// Returns the packet by which a client asks for a broadcast.
    pub(super) fn packet(&self, room: usize, number: usize, sent: u64) -> String {
        format!("42[\"broadcast\",\"room-{room}\",\"{number:016x}{sent:016x}{}\"]", self.padding)
    }

    /// Reads a broadcast. Anything else is nothing.
    pub(super) fn read<'a>(&self, packet: &'a [u8]) -> Option<Message<'a>> {
        let argument = packet.strip_prefix(EVENT)?;
        let (number, rest) = argument.split_at_checked(DIGITS)?;
        let (sent, rest) = rest.split_at_checked(DIGITS)?;
        let offset = match rest.strip_prefix(self.padding.as_bytes())? {
            b"\"]" => None,
            rest => Some(rest.strip_prefix(b"\",\"")?.strip_suffix(b"\"]")?),
        };
        Some(Message { number: super::hexadecimal(number)? as usize, sent: super::hexadecimal(sent)?, offset })
    }
}

/// Returns a text of so many characters that compresses as JSON of an application does.
fn records(size: usize) -> String {
    let record = |n: u32| format!("id:{:x},room:red,user:{:x},text:hello;", n.wrapping_mul(2_654_435_761), n.wrapping_mul(40_503) % 9_973);
    (1..).map(record).flat_map(String::into_bytes).take(size).map(char::from).collect()
}

/// Returns a broadcast as a server delivers it.
#[cfg(test)]
pub(super) fn delivery(number: usize) -> String {
    format!("2[\"msg\",\"{number:016x}{:016x}{}\"]", 5, "x".repeat(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_is_read_with_its_number_and_time() {
        let form = Form::new(64, false);
        let read =
            |packet: &str| form.read(packet.as_bytes()).map(|message| (message.number, message.sent, message.offset.map(<[u8]>::to_vec)));
        assert_eq!(read(&delivery(0x2a)), Some((0x2a, 5, None)));
        assert_eq!(read(&delivery(0x2a).replace("\"]", "\",\"abc\"]")), Some((0x2a, 5, Some(b"abc".to_vec()))));
        let wrong = [delivery(1).replace("xx", "x"), delivery(1).replacen('0', "g", 1), delivery(1).replace("\"]", "\",1]")];
        for wrong in ["2[\"msg\",\"\"]", "2[\"other\",1]", ""].map(String::from).into_iter().chain(wrong) {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}
