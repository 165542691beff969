//! How people join, and how they fail to.

use super::*;
use crate::ticket::TicketError;
use std::net::TcpStream;
use std::sync::mpsc;

/// The port on which a door listens.
fn port(door: &Door) -> u16 {
    listen::socket(&door.addresses()[0].parse().unwrap())
        .unwrap()
        .port()
}

#[test]
fn bob_redeems_alices_ticket_and_nobody_redeems_it_again() {
    let runtime = runtime();
    let (alice, bob, carol) = (
        Admin::new("alice"),
        Person::new("bob"),
        Person::new("carol"),
    );
    let door = alice.opens(&runtime);
    // As a person hands it over.
    let text = alice.invites(&door, 1).encode().unwrap();
    let ticket = Ticket::parse(&text).unwrap();

    assert_eq!(bob.redeem(&ticket).unwrap(), alice.welcome());
    assert_eq!(alice.admitted(), [(bob.candidate(), Role::Builder)]);

    for late in [&carol, &bob] {
        let refused = late.redeem(&ticket);
        assert!(
            matches!(refused, Err(JoinError::Refused(JoinRefusal::Used))),
            "{refused:?}"
        );
    }
    assert_eq!(alice.admitted().len(), 1);
}

#[test]
fn a_guessed_secret_opens_nothing() {
    let runtime = runtime();
    let alice = Admin::new("alice");
    let door = alice.opens(&runtime);
    let mut ticket = alice.invites(&door, 1);
    ticket.secret[0] ^= 1;
    let refused = Person::new("bob").redeem(&ticket);
    assert!(
        matches!(refused, Err(JoinError::Refused(JoinRefusal::Unknown))),
        "{refused:?}"
    );
    assert_eq!(alice.admitted(), []);
}

#[test]
fn an_expired_ticket_is_called_expired_with_the_door_open_or_closed() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let door = alice.opens(&runtime);
    // On the test's clock; on this machine's it has been over for decades.
    let ticket = alice.invites(&door, 1);
    alice.now.store(ticket.expires, Ordering::SeqCst);
    let refused = bob.redeem(&ticket);
    assert!(
        matches!(refused, Err(JoinError::Refused(JoinRefusal::Expired))),
        "{refused:?}"
    );
    door.close();
    let refused = bob.redeem(&ticket);
    assert!(
        matches!(refused, Err(JoinError::Ticket(TicketError::Expired))),
        "{refused:?}"
    );
    assert_eq!(alice.admitted(), []);
}

#[test]
fn a_closed_door_refuses_connections_and_the_error_names_the_addresses() {
    let runtime = runtime();
    let alice = Admin::new("alice");
    let door = alice.opens(&runtime);
    let mut ticket = alice.invites(&door, 1);
    ticket.expires = u64::MAX;
    let port = port(&door);
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    door.close();
    let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let error = Person::new("bob").redeem(&ticket).unwrap_err();
    assert!(matches!(error, JoinError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains(&ticket.addresses[0]), "{error}");
}

#[test]
fn a_dropped_door_closes_too() {
    let runtime = runtime();
    let alice = Admin::new("alice");
    let door = alice.opens(&runtime);
    let port = port(&door);
    drop(door);
    let deadline = soon();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        std::thread::yield_now();
    }
}

#[test]
fn mallory_answers_at_alices_address_and_learns_no_secret() {
    let runtime = runtime();
    let (alice, mallory, bob) = (
        Admin::new("alice"),
        Admin::new("mallory"),
        Person::new("bob"),
    );
    let (real, false_door) = (alice.opens(&runtime), mallory.opens(&runtime));
    let mut ticket = alice.invites(&real, 1);
    ticket.addresses = false_door.addresses();
    let error = bob.redeem(&ticket).unwrap_err();
    let JoinError::WrongIdentity {
        expected, found, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*expected, alice.person.peer().to_hex());
    assert_eq!(*found, mallory.person.peer().to_hex());

    // Where one of several addresses is hers, the others still count.
    ticket.addresses.extend(real.addresses());
    assert_eq!(bob.redeem(&ticket).unwrap(), alice.welcome());
    assert_eq!(mallory.admitted(), []);
}

#[test]
fn alice_does_not_redeem_her_own_ticket() {
    let runtime = runtime();
    let alice = Admin::new("alice");
    let door = alice.opens(&runtime);
    let ticket = alice.invites(&door, 1);
    let own = alice.person.redeem(&ticket);
    assert!(matches!(own, Err(JoinError::OwnTicket)), "{own:?}");
}

#[test]
fn a_large_teams_roster_fits_through_the_door() {
    let runtime = runtime();
    let alice = Admin::with_roster("alice", vec![0x5a; MAX_ROSTER]);
    let door = alice.opens(&runtime);
    let ticket = alice.invites(&door, 1);
    let welcome = Person::new("bob").redeem(&ticket).unwrap();
    assert_eq!(welcome.roster.len(), MAX_ROSTER);

    let bigger = Admin::with_roster("bella", vec![0x5a; MAX_ROSTER + 1]);
    let door = bigger.opens(&runtime);
    let refused = Person::new("bob").redeem(&bigger.invites(&door, 1));
    assert!(
        matches!(refused, Err(JoinError::Refused(JoinRefusal::Failed))),
        "{refused:?}"
    );
}

#[test]
fn bob_knocks_both_read_the_same_string_and_alice_approves() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let door = alice.opens(&runtime);
    alice.awaits_knocks();
    // Bob copied the main port from `status`; the door is the one above.
    let address = format!("127.0.0.1:{}", port(&door) - 1);
    let (tell, told) = mpsc::sync_channel(1);
    let joining = std::thread::spawn(move || {
        bob.knock(&address, soon(), &mut |code, team, admin| {
            tell.send((code.to_owned(), team.to_owned(), admin.to_owned()))
                .unwrap();
        })
    });
    let waiting = alice.waiting();
    let (code, team, admin) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(code, waiting.code);
    assert_eq!((team.as_str(), admin.as_str()), ("desk", "alice"));
    assert_eq!(waiting.candidate, Person::new("bob").candidate());

    let now = alice.now();
    alice
        .change(|seen| seen.membership.approve(&code, now))
        .unwrap();
    let approved = joining.join().unwrap().unwrap();
    assert_eq!(approved.welcome, alice.welcome());
    assert_eq!(approved.claim, alice.claim());
}

#[test]
fn bob_knocks_before_alice_opens_and_alice_denies() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let port = two_free_ports();
    let joining = std::thread::spawn(move || {
        bob.knock(
            &format!("/ip4/127.0.0.1/tcp/{port}"),
            soon(),
            &mut |_, _, _| {},
        )
    });
    let on = [format!("/ip4/127.0.0.1/tcp/{}", port + 1)];
    let _door = alice.opens_within(Limits::REAL, &on, &runtime);
    // Open, but not yet for knocks: Bob goes on trying.
    alice.awaits_knocks();
    alice.waiting();
    let now = alice.now();
    alice
        .change(|seen| seen.membership.deny("bob", now))
        .unwrap();
    let denied = joining.join().unwrap();
    assert!(
        matches!(&denied, Err(JoinError::Denied(team)) if team == "desk"),
        "{denied:?}"
    );
}

#[test]
fn bob_finds_his_way_back_where_the_door_closed_in_between() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let door = alice.opens(&runtime);
    alice.awaits_knocks();
    let on = door.addresses();
    let address = on[0].clone();
    let joining = std::thread::spawn(move || bob.knock(&address, soon(), &mut |_, _, _| {}));
    alice.waiting();
    door.close();
    let now = alice.now();
    alice
        .change(|seen| seen.membership.approve("bob", now))
        .unwrap();
    let _door = alice.opens_within(Limits::REAL, &on, &runtime);
    assert_eq!(joining.join().unwrap().unwrap().welcome, alice.welcome());
}

#[test]
fn nobody_waits_for_knocks_and_bob_is_told_so() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let door = alice.opens(&runtime);
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = bob
        .knock(&door.addresses()[0], deadline, &mut |_, _, _| {
            panic!("no string without an admin")
        })
        .unwrap_err();
    assert!(matches!(error, JoinError::NobodyThere { .. }), "{error:?}");
    assert!(error.to_string().contains("qnode approve"), "{error}");
    assert!(error.to_string().contains("no admin is waiting"), "{error}");
}

#[test]
fn nobody_decides_and_bob_is_told_so() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let door = alice.opens(&runtime);
    alice.awaits_knocks();
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut shown = 0;
    let error = bob
        .knock(&door.addresses()[0], deadline, &mut |_, _, _| shown += 1)
        .unwrap_err();
    assert!(matches!(error, JoinError::NotApproved(_)), "{error:?}");
    assert_eq!(shown, 1);
}

#[test]
fn an_address_that_is_none_is_refused_before_anything_is_dialled() {
    let error = Person::new("bob")
        .knock("not an address", soon(), &mut |_, _, _| {})
        .unwrap_err();
    assert!(matches!(error, JoinError::Address(_)), "{error:?}");
}

#[test]
fn a_port_that_is_taken_is_not_shared_and_not_insisted_on() {
    let runtime = runtime();
    let (alice, bella) = (Admin::new("alice"), Admin::new("bella"));
    let first = alice.opens(&runtime);
    let second = bella.opens_within(Limits::REAL, &first.addresses(), &runtime);
    assert_ne!(port(&first), port(&second));
    for (admin, door) in [(&alice, &first), (&bella, &second)] {
        let ticket = admin.invites(door, 1);
        assert_eq!(Person::new("bob").redeem(&ticket).unwrap(), admin.welcome());
    }
}

#[test]
fn what_cannot_be_listened_on_is_said() {
    let runtime = runtime();
    let alice = Admin::new("alice");
    let open = |on: &[String]| {
        let host: Arc<dyn DoorHost> = Arc::<Admin>::clone(&alice);
        Door::open(&alice.person.seed, on, host, runtime.handle()).map(drop)
    };
    let nonsense = open(&["127.0.0.1:80".to_owned()]);
    assert!(
        matches!(nonsense, Err(DoorError::Address(_))),
        "{nonsense:?}"
    );
    let nothing = open(&[]);
    assert!(matches!(nothing, Err(DoorError::NoAddress)), "{nothing:?}");
    // An address of the documentation range (RFC 5737): no machine has it.
    let elsewhere = open(&["/ip4/192.0.2.1/tcp/0".to_owned()]);
    assert!(
        matches!(elsewhere, Err(DoorError::Listen(..))),
        "{elsewhere:?}"
    );
}

/// A host that takes its time to redeem.
struct Slow {
    admin: Arc<Admin>,
    asked: mpsc::SyncSender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl DoorHost for Slow {
    fn redeem(&self, peer: PeerId, secret: [u8; 32], c: Candidate) -> Result<Welcome, JoinRefusal> {
        self.asked.send(()).unwrap();
        self.go_on
            .lock()
            .unwrap()
            .recv_timeout(PATIENCE)
            .map_err(|_| JoinRefusal::Failed)?;
        self.admin.redeem(peer, secret, c)
    }

    fn knock(&self, _: PeerId, _: Candidate, _: Digest) -> Result<(TeamClaim, Nonce), JoinRefusal> {
        Err(JoinRefusal::NotWaiting)
    }

    fn reveal(&self, _: PeerId, _: Nonce) -> Result<(), JoinRefusal> {
        Err(JoinRefusal::Unknown)
    }

    fn poll(&self, _: PeerId) -> Result<Verdict, JoinRefusal> {
        Err(JoinRefusal::Unknown)
    }

    fn refused(&self, peer: Option<PeerId>, what: &str) {
        self.admin.refused(peer, what);
    }
}

#[test]
fn a_door_that_closes_finishes_what_it_began() {
    let runtime = runtime();
    let alice = Admin::new("alice");
    let (asked, was_asked) = mpsc::sync_channel(1);
    let (release, go_on) = mpsc::sync_channel(1);
    let slow = Arc::new(Slow {
        admin: Arc::clone(&alice),
        asked,
        go_on: Mutex::new(go_on),
    });
    let door = Door::open(&alice.person.seed, &loopback(), slow, runtime.handle()).unwrap();
    let ticket = alice.invites(&door, 1);
    let joining = std::thread::spawn(move || Person::new("bob").redeem(&ticket));
    was_asked.recv_timeout(PATIENCE).unwrap();
    let closing = std::thread::spawn(move || door.close());
    release.send(()).unwrap();
    assert_eq!(joining.join().unwrap().unwrap(), alice.welcome());
    closing.join().unwrap();
}
