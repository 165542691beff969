//! Who stands at an open door and is not a newcomer.

use super::*;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, StreamProtocol};
use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc;

/// Limits under which a test need not wait.
const SHORT: Limits = Limits {
    handshake: Duration::from_millis(400),
    idle: Duration::from_millis(400),
    request: Duration::from_millis(400),
    ..Limits::REAL
};

/// A stranger's own swarm, which may open any stream and write anything on it.
struct Stranger {
    swarm: libp2p::Swarm<libp2p_stream::Behaviour>,
    door: libp2p::PeerId,
}

impl Stranger {
    async fn dials(door: &Door) -> Self {
        let mut swarm = libp2p::SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build();
        let address: Multiaddr = door.addresses()[0].parse().unwrap();
        swarm.dial(address).unwrap();
        loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } =
                swarm.select_next_some().await
            {
                return Self {
                    swarm,
                    door: peer_id,
                };
            }
        }
    }

    fn peer(&self) -> PeerId {
        crate::swarm::identity::peer_id(self.swarm.local_peer_id()).unwrap()
    }

    async fn opens(
        &mut self,
        protocol: StreamProtocol,
    ) -> Result<libp2p::Stream, libp2p_stream::OpenStreamError> {
        let mut control = self.swarm.behaviour().new_control();
        let opening = control.open_stream(self.door, protocol);
        let mut opening = std::pin::pin!(opening);
        loop {
            tokio::select! {
                stream = &mut opening => return stream,
                _ = self.swarm.select_next_some() => {}
            }
        }
    }

    /// Goes on until the door has ended the connection.
    async fn is_cut_off(&mut self) {
        let cut = async {
            loop {
                if let SwarmEvent::ConnectionClosed { .. } = self.swarm.select_next_some().await {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, cut).await.unwrap();
    }
}

/// Sends raw bytes as a request and waits until the connection is ended.
fn sends(alice: &Arc<Admin>, runtime: &Runtime, bytes: &[u8]) -> PeerId {
    let door = alice.opens_within(SHORT, &loopback(), runtime);
    runtime.block_on(async {
        let mut stranger = Stranger::dials(&door).await;
        let mut stream = stranger.opens(wire::PROTOCOL).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        stranger.is_cut_off().await;
        stranger.peer()
    })
}

#[test]
fn an_oversize_frame_is_refused_by_its_length_alone() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    let length = u32::try_from(MAX_REQUEST + 1).unwrap();
    let stranger = sends(&alice, &runtime, &length.to_le_bytes());
    let refused = alice.wait_for_refusal("a frame of 16385 bytes");
    assert_eq!(refused, Some(stranger));
}

#[test]
fn what_is_no_request_is_refused() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    sends(&alice, &runtime, &[1, 0, 0, 0, 200]);
    alice.wait_for_refusal("an unknown request");
    // A request that is whole, and a byte after it.
    sends(&alice, &runtime, &[2, 0, 0, 0, 3, 0]);
    alice.wait_for_refusal("bytes follow the last field");
    assert_eq!(alice.admitted(), []);
}

#[test]
fn a_frame_that_never_ends_is_cut_off() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    sends(&alice, &runtime, &[0, 64, 0, 0, 1, 2, 3]);
    alice.wait_for_refusal("did not come in time");
}

#[test]
fn a_silent_stranger_is_cut_off_before_and_after_the_handshake() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    let door = alice.opens_within(SHORT, &loopback(), &runtime);
    let address = listen::socket(&door.addresses()[0].parse().unwrap()).unwrap();
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    // The door may say its first line; then it hangs up, in one way or the other.
    if let Err(error) = silent.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(alice.wait_for_refusal("no handshake"), None);

    let stranger = runtime.block_on(async {
        let mut stranger = Stranger::dials(&door).await;
        stranger.is_cut_off().await;
        stranger.peer()
    });
    let refused = alice.wait_for_refusal("asked nothing");
    assert_eq!(refused, Some(stranger));
}

#[test]
fn more_connections_than_the_limit_are_turned_away() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    let limits = Limits {
        connections: 3,
        idle: PATIENCE,
        ..Limits::REAL
    };
    let door = alice.opens_within(limits, &loopback(), &runtime);
    let ticket = alice.invites(&door, 1);
    runtime.block_on(async {
        let mut crowd = Vec::new();
        for _ in 0..3 {
            crowd.push(Stranger::dials(&door).await);
        }
        let mut last = Stranger::dials(&door).await;
        last.is_cut_off().await;
        let refused = alice.wait_for_refusal("too many connections");
        assert_eq!(refused, Some(last.peer()));
    });
    // The crowd has gone; who is invited gets in.
    let deadline = soon();
    while let Err(error) = Person::new("bob").redeem(&ticket) {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[test]
fn a_connection_has_a_budget_of_requests_and_of_time() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    let limits = Limits {
        requests: 2,
        ..Limits::REAL
    };
    let door = alice.opens_within(limits, &loopback(), &runtime);
    runtime.block_on(async {
        let mut stranger = Stranger::dials(&door).await;
        for _ in 0..2 {
            let mut stream = stranger.opens(wire::PROTOCOL).await.unwrap();
            stream.write_all(&[1, 0, 0, 0, 3]).await.unwrap();
            let mut answer = Vec::new();
            let mut reading = std::pin::pin!(stream.read_to_end(&mut answer));
            tokio::select! {
                read = &mut reading => drop(read.unwrap()),
                () = stranger.is_cut_off() => panic!("within its budget"),
            }
            // Refused, unknown: a stranger's poll.
            assert_eq!(answer, [2, 0, 0, 0, 0, 0]);
        }
        let mut stream = stranger.opens(wire::PROTOCOL).await.unwrap();
        stream.write_all(&[1, 0, 0, 0, 3]).await.unwrap();
        stranger.is_cut_off().await;
    });
    alice.wait_for_refusal("too many requests");

    let limits = Limits {
        connection: Duration::from_millis(300),
        idle: PATIENCE,
        ..Limits::REAL
    };
    let door = alice.opens_within(limits, &loopback(), &runtime);
    runtime.block_on(async { Stranger::dials(&door).await.is_cut_off().await });
}

#[test]
fn a_stranger_reaches_one_protocol() {
    let (runtime, alice) = (runtime(), Admin::new("alice"));
    let door = alice.opens(&runtime);
    runtime.block_on(async {
        let mut stranger = Stranger::dials(&door).await;
        for other in ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/ipfs/kad/1.0.0"] {
            let refused = stranger.opens(StreamProtocol::new(other)).await;
            assert!(
                matches!(
                    refused,
                    Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_))
                ),
                "{other}: {refused:?}"
            );
        }
        stranger.opens(wire::PROTOCOL).await.unwrap();
    });
}

#[test]
fn a_builder_key_that_mallory_does_not_hold_is_not_hers() {
    let runtime = runtime();
    let (alice, mallory, carol) = (
        Admin::new("alice"),
        Person::new("mallory"),
        Person::new("carol"),
    );
    let door = alice.opens(&runtime);
    let ticket = alice.invites(&door, 1);
    let mut borrowed = mallory.candidate();
    borrowed.builder = carol.key.id();
    let refused = join_with_ticket(&mallory.seed, &ticket, &borrowed, &mallory.key, soon());
    assert!(
        matches!(refused, Err(JoinError::Refused(JoinRefusal::Identity))),
        "{refused:?}"
    );
    let by = alice.wait_for_refusal("builder key without holding it");
    assert_eq!(by, Some(mallory.peer()));

    // The ticket is not spent by that: its holder joins.
    mallory.redeem(&ticket).unwrap();
}

#[test]
fn a_peer_id_that_mallory_does_not_hold_is_not_hers() {
    let runtime = runtime();
    let (alice, mallory, carol) = (
        Admin::new("alice"),
        Person::new("mallory"),
        Person::new("carol"),
    );
    let door = alice.opens(&runtime);
    let ticket = alice.invites(&door, 1);
    let mut borrowed = mallory.candidate();
    borrowed.peer = carol.peer();
    let refused = join_with_ticket(&mallory.seed, &ticket, &borrowed, &mallory.key, soon());
    assert!(
        matches!(refused, Err(JoinError::Refused(JoinRefusal::Identity))),
        "{refused:?}"
    );
    let by = alice.wait_for_refusal("another's peer id");
    assert_eq!(by, Some(mallory.peer()));
    assert_eq!(alice.admitted(), []);
}

/// Mallory between Bob and Alice: to Bob she is Alice, to Alice she is Bob, as far as her own
/// keys take her.
struct Between {
    mallory: Person,
    alices_door: String,
    claim: TeamClaim,
    caught: mpsc::SyncSender<(Candidate, Digest)>,
}

impl DoorHost for Between {
    fn redeem(&self, _: PeerId, _: [u8; 32], _: Candidate) -> Result<Welcome, JoinRefusal> {
        Err(JoinRefusal::Unknown)
    }

    fn knock(
        &self,
        _: PeerId,
        candidate: Candidate,
        commitment: Digest,
    ) -> Result<(TeamClaim, Nonce), JoinRefusal> {
        self.caught
            .try_send((candidate, commitment))
            .map_err(|_| JoinRefusal::Failed)?;
        Ok((self.claim.clone(), [0; NONCE_LEN]))
    }

    fn reveal(&self, _: PeerId, _: Nonce) -> Result<(), JoinRefusal> {
        Ok(())
    }

    fn poll(&self, _: PeerId) -> Result<Verdict, JoinRefusal> {
        Ok(Verdict::Denied)
    }

    fn refused(&self, _: Option<PeerId>, _: &str) {}
}

impl Between {
    /// Knocks at Alice's with Bob's name and Mallory's keys, and returns the string she sees.
    fn knocks_as(&self, bob: &Candidate) -> String {
        let own = Candidate {
            peer: self.mallory.peer(),
            builder: self.mallory.key.id(),
            ..bob.clone()
        };
        let mut seen = String::new();
        let deadline = Instant::now() + Duration::from_secs(1);
        let waited = join_by_address(
            &self.mallory.seed,
            &self.alices_door,
            &own,
            &self.mallory.key,
            &mut |news| {
                if let JoinNews::Code { code, .. } = news {
                    code.clone_into(&mut seen);
                }
            },
            deadline,
        );
        assert!(
            matches!(waited, Err(JoinError::NotApproved(_))),
            "{waited:?}"
        );
        seen
    }
}

#[test]
fn mallory_in_between_makes_the_strings_differ() {
    let runtime = runtime();
    let (alice, bob) = (Admin::new("alice"), Person::new("bob"));
    let alices = alice.opens(&runtime);
    alice.awaits_knocks();
    let mallory = Person::new("mallory");
    let (caught, catch) = mpsc::sync_channel(1);
    // Everything as Alice says it but the peer, which noise would give away.
    let claim = TeamClaim {
        admin_peer: mallory.peer(),
        ..alice.claim()
    };
    let between = Arc::new(Between {
        mallory,
        alices_door: alices.addresses()[0].clone(),
        claim,
        caught,
    });
    let host: Arc<dyn DoorHost> = Arc::<Between>::clone(&between);
    let hers = Door::open(&between.mallory.seed, &loopback(), host, runtime.handle()).unwrap();

    let mut bobs_code = String::new();
    let denied = bob.knock(&hers.addresses()[0], soon(), &mut |code, team, admin| {
        assert_eq!((team, admin), ("desk", "alice"), "to Bob all looks right");
        code.clone_into(&mut bobs_code);
    });
    assert!(matches!(denied, Err(JoinError::Denied(_))), "{denied:?}");
    let (candidate, _) = catch.recv_timeout(PATIENCE).unwrap();
    let mallorys_code = between.knocks_as(&candidate);
    let waiting = alice.waiting();
    assert_eq!(waiting.candidate.name, "bob", "to Alice too");
    assert_eq!(waiting.code, mallorys_code);
    assert_ne!(waiting.code, bobs_code);
}

#[test]
fn mallory_cannot_name_alice_as_the_node_behind_her_own_door() {
    let runtime = runtime();
    let (alice, bob, mallory) = (
        Admin::new("alice"),
        Person::new("bob"),
        Person::new("mallory"),
    );
    let (caught, _catch) = mpsc::sync_channel(8);
    let seed = mallory.seed;
    let between = Arc::new(Between {
        mallory,
        alices_door: String::new(),
        claim: alice.claim(),
        caught,
    });
    let hers = Door::open(&seed, &loopback(), between, runtime.handle()).unwrap();
    let error = bob
        .knock(&hers.addresses()[0], soon(), &mut |_, _, _| {
            panic!("a string for a false claim")
        })
        .unwrap_err();
    assert!(
        matches!(error, JoinError::WrongIdentity { .. }),
        "{error:?}"
    );
}

#[test]
fn an_address_with_a_peer_id_pins_it() {
    let runtime = runtime();
    let (alice, mallory, bob) = (
        Admin::new("alice"),
        Admin::new("mallory"),
        Person::new("bob"),
    );
    let door = mallory.opens(&runtime);
    mallory.awaits_knocks();
    let pin = crate::swarm::identity::net_id(&alice.person.peer()).unwrap();
    let address = format!("{}/p2p/{pin}", door.addresses()[0]);
    let error = bob
        .knock(&address, soon(), &mut |_, _, _| panic!("not Alice"))
        .unwrap_err();
    assert!(
        matches!(error, JoinError::WrongIdentity { .. }),
        "{error:?}"
    );
}
