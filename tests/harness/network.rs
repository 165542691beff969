//! Hosts on one network: namespaces joined by a bridge, made here and removed at the end.
//!
//! That takes root and iproute2. Where they are missing whoever asks is told so, loudly.

use super::Dev;
use std::process::Command;

/// Runs `ip`; whether it did what it was told.
pub fn ip(args: &str) -> bool {
    let output = Command::new("ip").args(args.split_whitespace()).output();
    output.is_ok_and(|o| o.status.success())
}

/// A bridge with hosts on it, gone when dropped.
pub struct Network {
    tag: String,
    /// The names of the hosts' namespaces.
    pub hosts: Vec<String>,
}

impl Network {
    /// `None`, said aloud, where namespaces cannot be made. Their names are shared by the whole
    /// machine: one network to a process at a time.
    pub fn of(names: &[&str]) -> Option<Self> {
        let tag = format!("q{}", std::process::id() % 10_000);
        let network = Self {
            hosts: names.iter().map(|n| format!("{tag}{n}")).collect(),
            tag,
        };
        network.clear();
        let made = ip(&format!("netns add {}", network.switch()))
            && ip(&format!(
                "-n {} link add name bridge0 type bridge",
                network.switch()
            ))
            && ip(&format!("-n {} link set bridge0 up", network.switch()))
            && (1..)
                .zip(&network.hosts)
                .all(|(at, host)| network.plug(host, at));
        if made {
            return Some(network);
        }
        eprintln!("SKIPPED: network namespaces cannot be made here (root and iproute2 are needed)");
        None
    }

    fn switch(&self) -> String {
        format!("{}sw", self.tag)
    }

    fn plug(&self, host: &str, at: usize) -> bool {
        let switch = self.switch();
        ip(&format!("netns add {host}"))
            && ip(&format!(
                "link add eth0 netns {host} type veth peer name p{at} netns {switch}"
            ))
            && ip(&format!("-n {switch} link set p{at} master bridge0"))
            && ip(&format!("-n {switch} link set p{at} up"))
            && ip(&format!("-n {host} link set lo up"))
            && ip(&format!("-n {host} addr add 10.77.0.{at}/24 dev eth0"))
            && ip(&format!("-n {host} link set eth0 up"))
            && ip(&format!("-n {host} route add default via 10.77.0.254"))
    }

    /// Gives a host another address.
    pub fn renumber(&self, host: usize, address: &str) {
        let host = &self.hosts[host];
        assert!(ip(&format!("-n {host} addr flush dev eth0")));
        assert!(ip(&format!("-n {host} addr add {address}/24 dev eth0")));
    }

    fn clear(&self) {
        for host in self.hosts.iter().chain([&self.switch()]) {
            let _ = ip(&format!("netns del {host}"));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A developer whose commands run on a host of the network.
pub fn on_host(name: &str, network: &Network, host: usize) -> Dev {
    let mut dev = Dev::new(name);
    dev.prefix = ["ip", "netns", "exec", &network.hosts[host]]
        .map(str::to_owned)
        .to_vec();
    dev.env
        .push(("QUARRY_LISTEN".into(), "/ip4/0.0.0.0/tcp/4746".into()));
    dev.env
        .push(("QUARRY_DOOR_LISTEN".into(), "/ip4/0.0.0.0/tcp/4747".into()));
    dev.env.push(("QUARRY_MDNS".into(), "on".into()));
    dev
}
