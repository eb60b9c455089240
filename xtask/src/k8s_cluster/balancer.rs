//! The load balancer in front of the cluster: it takes clients on the loopback device to the node ports of all nodes.

use std::fmt::Write;
use std::net::TcpStream;
use std::process::Command;

use super::machine::Machine;
use super::overlays::Overlay;
use super::{Cluster, write};

/// Starts the load balancer.
pub(super) fn up(cluster: &Cluster) -> Result<(), String> {
    let settings = cluster.path("haproxy.cfg");
    write(&settings, settings_of(&Overlay::ALL))?;
    cluster.processes.start("load-balancer", Command::new("haproxy").arg("-db").arg("-f").arg(settings))?;
    cluster.wait_for("load-balancer", || Overlay::ALL.iter().all(|overlay| TcpStream::connect(("127.0.0.1", overlay.port)).is_ok()))
}

fn settings_of(overlays: &[Overlay]) -> String {
    // A node that dies between two checks costs a client one attempt, not its connection.
    let mut text = String::from(
        "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  retries 3\n  option redispatch 1\n",
    );
    for overlay in overlays {
        let _ = write!(text, "\nlisten {}\n  bind 127.0.0.1:{}\n  balance roundrobin\n", overlay.name, overlay.port);
        let check = overlay.health_port.map_or(String::new(), |port| {
            text += "  option httpchk GET /healthz\n";
            format!(" port {port}")
        });
        for machine in Machine::all() {
            let _ = writeln!(
                text,
                "  server {} {}:{} check{check} inter 500ms fall 2 rise 1",
                machine.name(),
                machine.address(),
                overlay.node_port
            );
        }
    }
    text
}
