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
    for Overlay { name, port, node_port, health_port, .. } in overlays {
        let _ = write!(text, "\nlisten {name}\n  bind 127.0.0.1:{port}\n  balance roundrobin\n");
        let mut check = String::from("check inter 500ms fall 2 rise 1");
        if let Some(health_port) = health_port {
            text += "  option httpchk GET /healthz\n";
            check += &format!(" port {health_port}");
        }
        for machine in Machine::all() {
            let _ = writeln!(text, "  server {} {}:{node_port} {check}", machine.name(), machine.address());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_without_a_pod_of_the_service_gets_no_clients() {
        let settings = settings_of(&Overlay::ALL);
        let (dev, production) = settings.split_once("\nlisten production\n").unwrap();
        assert!(production.contains("  option httpchk GET /healthz\n"));
        assert!(production.contains("  server node-3 10.98.0.13:30443 check inter 500ms fall 2 rise 1 port 30444\n"));
        // The nodes forward to each other: any of them will do.
        assert!(dev.contains("  server node-3 10.98.0.13:30080 check inter 500ms fall 2 rise 1\n") && !dev.contains("httpchk"));
    }
}
