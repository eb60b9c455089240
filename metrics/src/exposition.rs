//! The text of an endpoint.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::encode::info;
use crate::process::Process;

/// Returns the metrics of a registry, of the process and of the build, as OpenMetrics.
///
/// # Errors
///
/// A collector of the registry fails.
pub fn exposition(registry: &Registry, process: Process, version: &'static str) -> Result<String, fmt::Error> {
    let mut shared = Registry::default();
    shared.register_collector(Box::new(Build { version }));
    shared.register_collector(Box::new(process));
    let mut out = String::new();
    text::encode_registry(&mut out, registry)?;
    text::encode_registry(&mut out, &shared)?;
    text::encode_eof(&mut out)?;
    Ok(out)
}

/// The version and the platform that a program was built for.
#[derive(Debug)]
struct Build {
    version: &'static str,
}

impl Collector for Build {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("version", self.version), ("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)];
        info(&mut encoder, "sociable_build_info", "Version and platform of the build; the value is 1.", &labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposition_ends_once_and_has_all_parts() {
        let registry = Registry::with_prefix("some");
        let text = exposition(&registry, Process::default(), "1.2.3").unwrap();
        assert!(text.contains("sociable_build_info{version=\"1.2.3\",os=\""), "{text}");
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        assert!(!text.contains("process_"), "a figure that is unknown is absent: {text}");
    }
}
