//! Stories about the door of a node that joins nobody: over a store and a swarm in memory.

use super::*;
use crate::store::MemoryStore;
use crate::swarm::memory::MemoryNet;
use crate::worker::hearing::Hearing;
use crate::worker::host::NodeHost;
use quarry_wrapper::home::Home;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// A founder's node with its door shut.
fn founder(dir: &std::path::Path, runtime: &tokio::runtime::Runtime) -> Joining {
    let home = Home::at(dir.join("home")).unwrap();
    home.create().unwrap();
    let team = Arc::new(Team::load(&home).unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let counters = Arc::new(Counters::resume(None));
    let host = NodeHost::new(
        store.clone(),
        team.clone(),
        counters.clone(),
        Arc::new(Hearing::new(false)),
    );
    let swarm = Arc::new(MemoryNet::new().join(team.peer(), Arc::new(host)));
    let config = Config {
        door_listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        ..Config::default()
    };
    let handle = runtime.handle().clone();
    let joining = Joining::new(&config, team, swarm, store, counters, handle);
    joining.found("desk", "alice").unwrap();
    joining
}

#[test]
fn the_door_of_a_new_ticket_is_open_however_often_upkeep_comes_by() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let joining = founder(dir.path(), &runtime);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    joining.tick();
                }
            });
            let invited = joining.invite("reader", 60).unwrap();
            over.store(true, Ordering::Relaxed);
            let ticket = Ticket::parse(&invited.ticket).unwrap();
            let port = ticket.addresses[0].rsplit('/').next().unwrap();
            let met = TcpStream::connect(format!("127.0.0.1:{port}"));
            assert!(met.is_ok(), "{:?} is shut", ticket.addresses);
        });
    }
}
