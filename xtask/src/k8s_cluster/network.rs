//! The bridge that connects the Kubernetes nodes with the control plane.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::tools::succeeds;

/// The bridge. Its address on this machine is that of the API server, the DNS and the load balancer's way to the nodes.
pub(super) const BRIDGE: &str = "sociable-k8s";

/// The bridge's address.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

/// The addresses of services. The rest of the network has nodes and pods.
pub(super) const SERVICES: &str = "10.98.255.0/24";
pub(super) const NETWORK: &str = "10.98.0.0/16";

/// The rules for packets of the nodes, the last one first: they reach each other, and nobody else.
const RULES: [&[&str]; 2] = [&["-i", BRIDGE, "-j", "DROP"], &["-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"]];

/// Makes the bridge.
pub(super) fn up() -> Result<(), String> {
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["address", "add", &format!("{GATEWAY}/24"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    for rule in RULES {
        succeeds(Command::new("iptables").args(["-I", "FORWARD"]).args(rule))?;
    }
    Ok(())
}

/// Removes the bridge. The nodes' cables go with the nodes.
pub(super) fn down() {
    let quiet = |command: &mut Command| {
        let _ = command.stderr(Stdio::null()).status();
    };
    for rule in RULES {
        quiet(Command::new("iptables").args(["-D", "FORWARD"]).args(rule));
    }
    quiet(Command::new("ip").args(["link", "delete", BRIDGE]));
}

/// Runs `ip`.
pub(super) fn ip(args: &[&str]) -> Result<(), String> {
    succeeds(Command::new("ip").args(args)).map_err(|error| format!("ip {}: {error}", args.join(" ")))
}
