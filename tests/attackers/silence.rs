//! Members and strangers that say nothing, or far too little: a few seconds, once.

use super::mallory::{Attack, MARK, Script, address, mallory_and_bob};
use super::wire;
use crate::harness::wait_for;
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

/// What a build of three crates may take in all; alone it takes one to three seconds here.
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn a_member_who_never_answers() {
    let (mallory, bob) = mallory_and_bob();
    let script = Script {
        answers: Default::default(),
        ..mallory.honestly()
    };
    let _attack = mallory.attack(&bob, script);
    let took = mallory.bob_compiles_instead(&bob);
    assert!(took < PATIENCE, "{took:?}");
    mallory.was_refused(&bob, "silent", "no answer in time");
}

#[test]
fn a_member_who_promises_objects_and_sends_none() {
    let (mallory, bob) = mallory_and_bob();
    let script = Script {
        objects: Default::default(),
        ..mallory.honestly()
    };
    let _attack = mallory.attack(&bob, script);
    let took = mallory.bob_compiles_instead(&bob);
    assert!(took < PATIENCE, "{took:?}");
    mallory.was_refused(&bob, "silent", "no answer in time");
}

#[test]
fn a_member_who_is_silent_after_some_of_the_objects() {
    let (mallory, bob) = mallory_and_bob();
    let mut script = mallory.honestly();
    // What is asked for first is there: the list of inputs and the metadata, but no library.
    for entry in mallory.honest.iter().map(|honest| &honest.entry) {
        let last = entry.outputs.iter().max_by_key(|o| o.object.size).unwrap();
        script.objects.remove(&last.object.digest);
    }
    let _attack = mallory.attack(&bob, script);
    let took = mallory.bob_compiles_instead(&bob);
    assert!(took < PATIENCE, "{took:?}");
    mallory.was_refused(&bob, "silent", "no answer in time");
    assert!(bob.count("bytes.fetched") == 0, "none of it was whole");
}

#[test]
fn a_member_who_gives_an_object_byte_by_byte() {
    let (mallory, bob) = mallory_and_bob();
    // The most that a fetch is ever given time for, were it believed.
    let size = 500 << 20;
    let mut script = mallory.offering(|honest| {
        let mut entry = honest.entry.clone();
        for output in &mut entry.outputs {
            output.object.size = size;
        }
        let bytes = quarry_trust::canon::Canonical::to_canon(&entry);
        (honest.prediction.clone(), mallory.sign(bytes))
    });
    let mut reply = wire::head(size);
    for byte in MARK.iter().cycle().take(10_000) {
        reply.extend(wire::chunk(1, &[*byte]));
    }
    script
        .objects
        .values_mut()
        .for_each(|r| r.clone_from(&reply));
    script.trickle = Some(Duration::from_millis(100));
    let _attack = mallory.attack(&bob, script);
    let took = mallory.bob_compiles_instead(&bob);
    assert!(took < PATIENCE, "{took:?}");
    mallory.was_refused(&bob, "silent", "no answer in time");
}

#[test]
fn a_member_who_never_gives_its_roster_is_never_asked() {
    let (mallory, bob) = mallory_and_bob();
    let script = Script {
        roster: Vec::new(),
        ..mallory.honestly()
    };
    let attack = Attack::begin(&bob, mallory.identity(), script);
    wait_for("a connection", || *attack.bob.borrow());
    let key = mallory.honest[0].entry.lookup;
    let question = wire::frame(3, key.as_bytes());
    let back = attack.say(wire::ASK, &question, Duration::from_secs(2));
    assert_eq!(back, wire::frame(4, &[]), "busy, and nothing else");
    let took = mallory.bob_compiles_instead(&bob);
    assert!(took < PATIENCE, "{took:?}");
    assert_eq!(bob.json(&["status"])["peers"], 0);
}

#[test]
fn strangers_who_connect_and_say_nothing() {
    let (mallory, bob) = mallory_and_bob();
    let place = super::strangers::socket_address(&address(&bob));
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(place).unwrap())
        .collect();
    let took = mallory.bob_compiles_instead(&bob);
    assert!(took < PATIENCE, "{took:?}");
    // Each is hung up on; and whoever has something to say is heard.
    for mut stream in silent {
        stream.set_read_timeout(Some(crate::harness::SOON)).unwrap();
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        let timed_out = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "a silent stranger is not hung up on");
    }
    let _attack = mallory.attack(&bob, mallory.honestly());
}
