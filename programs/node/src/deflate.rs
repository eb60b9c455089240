//! The flags of permessage-deflate, the compression of WebSocket messages.

use clap::Args;
use clap::builder::{BoolishValueParser, RangedU64ValueParser};
use sociable::PerMessageDeflate;

#[derive(Debug, Args)]
pub(crate) struct DeflateFlags {
    /// Compress WebSocket messages for clients that offer it (permessage-deflate)
    #[arg(long, env = "SOCIABLE_PER_MESSAGE_DEFLATE", value_parser = BoolishValueParser::new())]
    per_message_deflate: bool,

    /// Length from which a message is compressed
    #[arg(long, env = "SOCIABLE_DEFLATE_THRESHOLD", requires = "per_message_deflate", value_name = "BYTES", default_value_t = 1024)]
    deflate_threshold: usize,

    /// Effort of compression, from 0 (none) to 9 (most)
    #[arg(long, env = "SOCIABLE_DEFLATE_LEVEL", requires = "per_message_deflate", value_name = "N", default_value_t = 6, value_parser = RangedU64ValueParser::<u8>::new().range(..=9))]
    deflate_level: u8,

    /// Memory of a compressor besides its window, from 1 (least) to 9
    #[arg(long, env = "SOCIABLE_DEFLATE_MEMORY_LEVEL", requires = "per_message_deflate", value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<u8>::new().range(1..=9))]
    deflate_memory_level: u8,

    /// Compress the messages to one client in the context of earlier ones: a compressor for each connection
    #[arg(long, env = "SOCIABLE_DEFLATE_SERVER_TAKEOVER", requires = "per_message_deflate", value_parser = BoolishValueParser::new())]
    deflate_server_takeover: bool,

    /// Let clients compress their messages in the context of earlier ones: 48 KiB for each connection
    #[arg(long, env = "SOCIABLE_DEFLATE_CLIENT_TAKEOVER", requires = "per_message_deflate", value_parser = BoolishValueParser::new())]
    deflate_client_takeover: bool,

    /// Largest window of the node in bits, 8 to 15, such as 12; the client chooses if unset
    #[arg(long, env = "SOCIABLE_DEFLATE_SERVER_BITS", requires = "per_message_deflate", value_name = "N", value_parser = bits())]
    deflate_server_bits: Option<u8>,

    /// Largest window of a client in bits, 8 to 15, such as 12; the client chooses if unset
    #[arg(long, env = "SOCIABLE_DEFLATE_CLIENT_BITS", requires = "per_message_deflate", value_name = "N", value_parser = bits())]
    deflate_client_bits: Option<u8>,
}

fn bits() -> RangedU64ValueParser<u8> {
    RangedU64ValueParser::new().range(8..=15)
}

impl DeflateFlags {
    /// Returns the options of compression, if it is on.
    pub(crate) fn options(&self) -> Option<PerMessageDeflate> {
        let options = PerMessageDeflate::default()
            .threshold(self.deflate_threshold)
            .level(self.deflate_level)
            .memory_level(self.deflate_memory_level)
            .server_no_context_takeover(!self.deflate_server_takeover)
            .client_no_context_takeover(!self.deflate_client_takeover)
            .server_max_window_bits(self.deflate_server_bits)
            .client_max_window_bits(self.deflate_client_bits);
        self.per_message_deflate.then_some(options)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        deflate: DeflateFlags,
    }

    fn options(flags: &[&str]) -> Option<PerMessageDeflate> {
        Only::try_parse_from([&["node"], flags].concat()).ok()?.deflate.options()
    }

    #[test]
    fn compression_is_on_only_by_its_flag() {
        assert_eq!(options(&[]), None);
        assert_eq!(options(&["--deflate-level", "1"]), None, "refused");
        assert_eq!(options(&["--per-message-deflate"]), Some(PerMessageDeflate::default()));
        let flags = ["--per-message-deflate", "--deflate-server-takeover", "--deflate-client-bits", "9"];
        let expected = PerMessageDeflate::default().server_no_context_takeover(false).client_max_window_bits(9);
        assert_eq!(options(&flags), Some(expected));
    }

    #[test]
    fn value_out_of_range_is_refused() {
        for wrong in
            [["--deflate-level", "10"], ["--deflate-memory-level", "0"], ["--deflate-server-bits", "7"], ["--deflate-client-bits", "16"]]
        {
            assert_eq!(options(&[&["--per-message-deflate"], &wrong[..]].concat()), None, "{wrong:?}");
        }
    }
}
