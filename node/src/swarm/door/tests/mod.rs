//! Doors on loopback, with a desk's worth of people: the host is the real membership logic, the
//! sockets are real, time is a number that a test sets.

mod stories;
mod strangers;
mod words;

use super::*;
use crate::service::membership::{KnockState, Membership, Waiting};
use crate::ticket::Ticket;
use quarry_trust::roster::Role;
use quarry_trust::{BuilderId, BuilderKey, Digest, TeamId};
use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// Patience with this machine, where something must happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn loopback() -> Vec<String> {
    vec!["/ip4/127.0.0.1/tcp/0".to_owned()]
}

/// A port that was free a moment ago, together with the one above it.
fn two_free_ports() -> u16 {
    for _ in 0..100 {
        let low = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = low.local_addr().unwrap().port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports side by side");
}

/// A person with a machine.
struct Person {
    name: &'static str,
    seed: [u8; 32],
    key: BuilderKey,
}

impl Person {
    fn new(name: &'static str) -> Self {
        let seed = *Digest::of(name.as_bytes()).as_bytes();
        let key = BuilderKey::from_seed(Digest::of(&seed).as_bytes());
        Self { name, seed, key }
    }

    fn peer(&self) -> PeerId {
        // A peer key is an ed25519 key as a builder's is: the public half of the seed.
        PeerId(BuilderKey::from_seed(&self.seed).id().0)
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            name: self.name.to_owned(),
            peer: self.peer(),
            builder: self.key.id(),
            addresses: vec!["/ip4/127.0.0.1/tcp/4746".to_owned()],
        }
    }

    fn redeem(&self, ticket: &Ticket) -> Result<Welcome, JoinError> {
        join_with_ticket(&self.seed, ticket, &self.candidate(), &self.key, soon())
    }

    fn knock(
        &self,
        address: &str,
        deadline: Instant,
        on_code: &mut dyn FnMut(&str, &str, &str),
    ) -> Result<Approved, JoinError> {
        join_by_address(
            &self.seed,
            address,
            &self.candidate(),
            &self.key,
            &mut |news| {
                if let JoinNews::Code { code, team, admin } = news {
                    on_code(code, team, admin);
                }
            },
            deadline,
        )
    }
}

/// What the door told or asked, as far as tests look at it.
#[derive(Default)]
struct Seen {
    membership: Membership,
    admitted: Vec<(Candidate, Role)>,
    refused: Vec<(Option<PeerId>, String)>,
}

/// An admin's node behind a door.
struct Admin {
    person: Person,
    now: AtomicU64,
    seen: Mutex<Seen>,
    changed: Condvar,
    roster: Vec<u8>,
}

impl Admin {
    fn new(name: &'static str) -> Arc<Self> {
        Self::with_roster(name, b"charter and chain".to_vec())
    }

    fn with_roster(name: &'static str, roster: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            person: Person::new(name),
            now: AtomicU64::new(1_000),
            seen: Mutex::default(),
            changed: Condvar::new(),
            roster,
        })
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let done = change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
        done
    }

    /// Waits until the state gives something.
    fn wait_for<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let deadline = soon();
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(found) = look(&seen) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not happen: {:?}", seen.refused);
            seen = self.changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    fn wait_for_refusal(&self, what: &str) -> Option<PeerId> {
        self.wait_for(what, |seen| {
            let said = |(_, said): &&(Option<PeerId>, String)| said.contains(what);
            seen.refused.iter().find(said).map(|(peer, _)| *peer)
        })
    }

    fn waiting(&self) -> Waiting {
        let now = self.now();
        self.wait_for("a knock", |seen| seen.membership.waiting(now).pop())
    }

    fn admitted(&self) -> Vec<(Candidate, Role)> {
        self.change(|seen| seen.admitted.clone())
    }

    fn awaits_knocks(&self) {
        let now = self.now();
        self.change(|seen| seen.membership.wait_for_knocks(now + 600));
    }

    fn opens(self: &Arc<Self>, runtime: &Runtime) -> Door {
        self.opens_within(Limits::REAL, &loopback(), runtime)
    }

    fn opens_within(self: &Arc<Self>, limits: Limits, on: &[String], runtime: &Runtime) -> Door {
        let host: Arc<dyn DoorHost> = Arc::<Self>::clone(self);
        Door::open_within(limits, &self.person.seed, on, host, runtime.handle()).unwrap()
    }

    fn invites(&self, door: &Door, secret: u8) -> Ticket {
        let ticket = Ticket {
            team_name: "desk".to_owned(),
            team: TeamId(Digest::of(b"desk")),
            root: BuilderId([7; 32]),
            issuer: self.person.peer(),
            addresses: door.addresses(),
            secret: Zeroizing::new([secret; 32]),
            expires: self.now() + 3600,
            role: Role::Builder,
        };
        let now = self.now();
        self.change(|seen| seen.membership.invite(&ticket, now))
            .unwrap();
        ticket
    }

    fn claim(&self) -> TeamClaim {
        TeamClaim {
            team_name: "desk".to_owned(),
            team: TeamId(Digest::of(b"desk")),
            root: BuilderId([7; 32]),
            admin_name: self.person.name.to_owned(),
            admin_peer: self.person.peer(),
            admin_builder: self.person.key.id(),
        }
    }

    fn welcome(&self) -> Welcome {
        Welcome {
            roster: self.roster.clone(),
            team_secret: Zeroizing::new([9; 32]),
            addresses: vec!["/ip4/127.0.0.1/tcp/4746".to_owned()],
            admin: self.person.peer(),
        }
    }
}

impl DoorHost for Admin {
    fn redeem(
        &self,
        _: PeerId,
        secret: [u8; 32],
        candidate: Candidate,
    ) -> Result<Welcome, JoinRefusal> {
        let now = self.now();
        self.change(|seen| {
            let role = seen.membership.redeem(&secret, &candidate, now)?;
            seen.admitted.push((candidate, role));
            Ok(self.welcome())
        })
    }

    fn knock(
        &self,
        _: PeerId,
        candidate: Candidate,
        commitment: Digest,
    ) -> Result<(TeamClaim, Nonce), JoinRefusal> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).unwrap();
        let now = self.now();
        self.change(|seen| seen.membership.knock(candidate, commitment, nonce, now))?;
        Ok((self.claim(), nonce))
    }

    fn reveal(&self, peer: PeerId, nonce: Nonce) -> Result<(), JoinRefusal> {
        let (claim, now) = (self.claim(), self.now());
        self.change(|seen| seen.membership.reveal(&peer, &nonce, &claim, now))
            .map(drop)
    }

    fn poll(&self, peer: PeerId) -> Result<Verdict, JoinRefusal> {
        let now = self.now();
        Ok(
            match self.change(|seen| seen.membership.poll(&peer, now))? {
                KnockState::Pending => Verdict::Pending,
                KnockState::Approved(_) => Verdict::Welcome(self.welcome()),
                KnockState::Denied => Verdict::Denied,
            },
        )
    }

    fn refused(&self, peer: Option<PeerId>, what: &str) {
        self.change(|seen| seen.refused.push((peer, what.to_owned())));
    }
}
