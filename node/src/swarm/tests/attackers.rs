//! Members that do not play by the rules, on raw libp2p streams: each is refused under its name,
//! costs a bounded wait, and is no candidate afterwards.

use super::hosts::{Desk, SOON, desk_at, peer, roster, runtime, until};
use crate::store::MAX_PREDICTION_BYTES;
use crate::swarm::filter::KeyFilter;
use crate::swarm::objects::{self, CHUNK, Head, PROGRESS, REQUEST};
use crate::swarm::wire::{Answer, MAX_OFFERS_BYTES, Request};
use crate::swarm::{Ask, Swarm, SwarmError, ask, identity};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, ping};
use quarry_trust::{ActionKey, Digest, LookupKey, ObjectRef, PeerId, Refusal};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const MALLORY: u8 = 66;

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Raw {
    streams: libp2p_stream::Behaviour,
    ping: ping::Behaviour,
}

/// What Mallory answers: bytes for a question, bytes for an object request. After them she says
/// nothing and keeps the stream open.
struct Script {
    answer: Vec<u8>,
    object: Vec<u8>,
    endless: bool,
    filter: Vec<u8>,
    /// Whether she keeps her roster to herself.
    mute: bool,
    /// The version of questions that she speaks, and no other.
    speaks: StreamProtocol,
}

impl Default for Script {
    fn default() -> Self {
        let filter = KeyFilter::build(1, 1, vec![key().short()]).encode();
        Self {
            answer: Vec::new(),
            object: Vec::new(),
            endless: false,
            filter,
            mute: false,
            speaks: ask::PROTOCOL,
        }
    }
}

fn key() -> Digest {
    Digest::of(b"what Mallory claims to hold")
}

fn team() -> Vec<u8> {
    roster(1, &[peer(1), peer(MALLORY)])
}

/// Starts Mallory; returns her address and a control to open streams with.
fn mallory(runtime: &Runtime, script: Script) -> (String, libp2p_stream::Control) {
    let _inside = runtime.enter();
    let pair = identity::keypair(&[MALLORY; 32]).expect("a seed");
    let mut swarm = libp2p::SwarmBuilder::with_existing_identity(pair)
        .with_tokio()
        .with_tcp(
            Default::default(),
            libp2p::noise::Config::new,
            libp2p::yamux::Config::default,
        )
        .expect("tcp")
        .with_behaviour(|_| Raw {
            streams: libp2p_stream::Behaviour::new(),
            ping: ping::Behaviour::default(),
        })
        .expect("behaviour")
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    let mut control = swarm.behaviour().streams.new_control();
    let mut asks = control.accept(script.speaks.clone()).expect("first");
    let mut objects = control.accept(objects::PROTOCOL).expect("first");
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("address"))
        .expect("listens");
    let (tell, address) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                tell.send(address.to_string()).expect("the test waits");
            }
        }
    });
    let script = Arc::new(script);
    let shared = script.clone();
    runtime.spawn(async move {
        while let Some((_, stream)) = asks.next().await {
            tokio::spawn(answer(stream, shared.clone()));
        }
    });
    runtime.spawn(async move {
        while let Some((_, stream)) = objects.next().await {
            tokio::spawn(serve(stream, script.clone()));
        }
    });
    (address.recv_timeout(SOON).expect("she listens"), control)
}

async fn answer(mut stream: libp2p::Stream, script: Arc<Script>) {
    let Ok(request) = Request::read(&mut stream).await else {
        return;
    };
    let polite = match request {
        Request::Roster(_) if script.mute => None,
        Request::Roster(_) => Some(Answer::Roster(team())),
        Request::Filter => Some(Answer::Filter(script.filter.clone())),
        Request::Ask(_) | Request::Restored(_) | Request::Refused(_) => None,
    };
    match polite {
        Some(answer) => drop(answer.write(&mut stream).await),
        None => drop(stream.write_all(&script.answer).await),
    }
    let _ = stream.flush().await;
    std::future::pending().await
}

async fn serve(mut stream: libp2p::Stream, script: Arc<Script>) {
    let mut request = [0; REQUEST];
    if stream.read_exact(&mut request).await.is_err() {
        return;
    }
    let _ = stream.write_all(&script.object).await;
    let _ = stream.flush().await;
    while script.endless && stream.write_all(&[1; 4096]).await.is_ok() {}
    std::future::pending().await
}

/// A victim that is connected to Mallory.
fn victim(runtime: &Runtime, script: Script) -> (Desk, PeerId) {
    let (address, _) = mallory(runtime, script);
    let remembered = vec![(peer(MALLORY), vec![address])];
    let alice = desk_at(runtime, 1, Some(team()), "/ip4/127.0.0.1/tcp/0", remembered);
    until("they are connected", || alice.sees(peer(MALLORY)));
    (alice, peer(MALLORY))
}

/// Fetches ten bytes from a Mallory with this script; the refusal must be counted.
fn fetch_is_refused(object: Vec<u8>, endless: bool) -> Refusal {
    let runtime = runtime();
    let (alice, mallory) = victim(
        &runtime,
        Script {
            object,
            endless,
            ..Script::default()
        },
    );
    until("she is a candidate", || {
        alice.swarm.candidates(&key()) == [mallory]
    });
    let object = ObjectRef {
        digest: Digest::of(b"ten bytes!"),
        size: 10,
    };
    let Err(SwarmError::Refused { why, .. }) = alice.fetch(mallory, &object) else {
        panic!("it was not refused")
    };
    assert_eq!(alice.host.refused(), [(mallory, why)]);
    assert!(
        alice.swarm.candidates(&key()).is_empty(),
        "she is no candidate any more"
    );
    why
}

fn ask_is_refused(answer: Vec<u8>) -> Refusal {
    let runtime = runtime();
    let (alice, mallory) = victim(
        &runtime,
        Script {
            answer,
            ..Script::default()
        },
    );
    let question = Ask::Lookup(LookupKey::of(b"l"));
    let deadline = Instant::now() + SOON;
    let result = loop {
        let result = alice.swarm.ask(&mallory, question, deadline);
        // Mallory's libp2p-stream drops what comes while it is busy with Alice's other requests.
        if !matches!(result, Err(SwarmError::Lost { .. })) {
            break result;
        }
    };
    let Err(SwarmError::Refused { why, .. }) = result else {
        panic!("{result:?}")
    };
    until("it is counted", || alice.host.refused() == [(mallory, why)]);
    why
}

fn frame(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_le_bytes(), body].concat()
}

fn chunk(raw: u32, body: &[u8]) -> Vec<u8> {
    let wire = u32::try_from(body.len()).expect("small");
    [
        &Head::Here(10).encode()[..],
        &raw.to_le_bytes(),
        &wire.to_le_bytes(),
        body,
    ]
    .concat()
}

#[test]
fn a_size_that_lies_upwards() {
    let why = fetch_is_refused(Head::Here(11).encode().to_vec(), false);
    assert_eq!(why, Refusal::Oversize);
}

#[test]
fn a_size_that_lies_downwards() {
    let why = fetch_is_refused(Head::Here(9).encode().to_vec(), false);
    assert!(matches!(why, Refusal::Corrupt(_)));
}

#[test]
fn a_chunk_longer_than_the_object() {
    assert_eq!(
        fetch_is_refused(chunk(11, &[0; 11]), false),
        Refusal::Oversize
    );
}

#[test]
fn a_zstd_bomb() {
    let runtime = runtime();
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 19).expect("zstd");
    let size = CHUNK as u64 * 2;
    let mut object = Head::Here(size).encode().to_vec();
    object.extend_from_slice(&(CHUNK as u32).to_le_bytes());
    object.extend_from_slice(&u32::try_from(bomb.len()).expect("small").to_le_bytes());
    object.extend_from_slice(&bomb);
    let (alice, mallory) = victim(
        &runtime,
        Script {
            object,
            ..Script::default()
        },
    );
    let result = alice.fetch(
        mallory,
        &ObjectRef {
            digest: Digest::of(b"x"),
            size,
        },
    );
    let refused = matches!(
        result,
        Err(SwarmError::Refused {
            why: Refusal::Oversize,
            ..
        })
    );
    assert!(refused, "{:?}", result.map(|bytes| bytes.len()));
}

#[test]
fn garbage_in_place_of_zstd() {
    assert!(matches!(
        fetch_is_refused(chunk(10, &[7; 5]), false),
        Refusal::Corrupt(_)
    ));
}

#[test]
fn an_endless_stream_of_chunks() {
    let why = fetch_is_refused(Head::Here(10).encode().to_vec(), true);
    assert_eq!(why, Refusal::Oversize);
}

#[test]
fn an_answer_that_claims_to_be_endless() {
    assert_eq!(
        ask_is_refused(frame(3, u32::MAX, &[0; 1000])),
        Refusal::Oversize
    );
    let one_more = u32::try_from(MAX_OFFERS_BYTES + 1).expect("small");
    assert_eq!(ask_is_refused(frame(3, one_more, &[])), Refusal::Oversize);
}

#[test]
fn an_answer_with_too_many_offers() {
    assert_eq!(ask_is_refused(frame(3, 1, &[9])), Refusal::Oversize);
}

#[test]
fn an_answer_with_an_oversized_prediction() {
    let length = u32::try_from(MAX_PREDICTION_BYTES + 1).expect("small");
    let mut body = vec![1];
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&vec![0; MAX_PREDICTION_BYTES + 1]);
    let whole = u32::try_from(body.len()).expect("small");
    assert_eq!(ask_is_refused(frame(3, whole, &body)), Refusal::Oversize);
}

#[test]
fn an_answer_to_another_question() {
    assert!(matches!(
        ask_is_refused(frame(2, 0, &[])),
        Refusal::Corrupt(_)
    ));
    assert!(matches!(
        ask_is_refused(frame(77, 0, &[])),
        Refusal::Corrupt(_)
    ));
}

#[test]
fn a_filter_that_would_index_out_of_bounds() {
    let runtime = runtime();
    let mut filter = KeyFilter::build(1, 1, (0..1000).collect()).encode();
    filter[29..33].copy_from_slice(&(1_u32 << 18).to_le_bytes());
    let (alice, mallory) = victim(
        &runtime,
        Script {
            filter,
            ..Script::default()
        },
    );
    until(
        "it is refused",
        || matches!(alice.host.refused()[..], [(by, Refusal::Corrupt(_))] if by == mallory),
    );
    assert!(alice.swarm.candidates(&Digest::of(b"anything")).is_empty());
}

#[test]
fn a_silent_peer_costs_the_deadline_and_no_more() {
    let runtime = runtime();
    let (alice, mallory) = victim(&runtime, Script::default());
    until("she is a candidate", || {
        alice.swarm.candidates(&key()) == [mallory]
    });
    let (start, patience) = (Instant::now(), Duration::from_millis(600));
    let question = Ask::Action(ActionKey::of(b"a"));
    let result = alice.swarm.ask(&mallory, question, start + patience);
    assert!(matches!(result, Err(SwarmError::Deadline(_))), "{result:?}");
    let object = ObjectRef {
        digest: Digest::of(b"x"),
        size: 1,
    };
    let mut sink = Vec::new();
    let action = ActionKey::of(b"a");
    let result = alice
        .swarm
        .fetch(&mallory, &action, &object, &mut sink, start + 2 * patience);
    assert!(matches!(result, Err(SwarmError::Deadline(_))), "{result:?}");
    assert!(start.elapsed() < 3 * patience, "{:?}", start.elapsed());
    assert!(
        alice.swarm.candidates(&key()).is_empty(),
        "the next compile does not wait for her"
    );
}

#[test]
fn a_peer_that_stops_halfway_is_given_up_before_a_distant_deadline() {
    let runtime = runtime();
    let half = [
        &Head::Here(10).encode()[..],
        &[10, 0, 0, 0, 10, 0, 0, 0, 1, 2],
    ]
    .concat();
    let (alice, mallory) = victim(
        &runtime,
        Script {
            object: half,
            ..Script::default()
        },
    );
    let start = Instant::now();
    let object = ObjectRef {
        digest: Digest::of(b"x"),
        size: 10,
    };
    let mut sink = Vec::new();
    let (action, distant) = (ActionKey::of(b"a"), start + 10 * PROGRESS);
    let result = alice
        .swarm
        .fetch(&mallory, &action, &object, &mut sink, distant);
    assert!(matches!(result, Err(SwarmError::Deadline(_))), "{result:?}");
    assert!(start.elapsed() < 2 * PROGRESS, "{:?}", start.elapsed());
}

/// Writes raw bytes to the victim, and reads what comes back until the stream ends.
async fn say(
    control: &mut libp2p_stream::Control,
    protocol: StreamProtocol,
    bytes: &[u8],
) -> Vec<u8> {
    let victim = identity::net_id(&peer(1)).expect("a key");
    let start = Instant::now();
    let mut stream = loop {
        // A stream that is wanted just while the connection comes up is never opened
        // (libp2p-stream looks for it among the dials); a later one is.
        let open = control.open_stream(victim, protocol.clone());
        if let Ok(Ok(stream)) = tokio::time::timeout(SOON / 50, open).await {
            break stream;
        }
        assert!(start.elapsed() < SOON, "no connection");
        tokio::task::yield_now().await;
    };
    // The victim may have hung up already; then nothing comes back.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let mut back = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut back)).await;
    back
}

#[test]
fn nothing_is_answered_before_rosters_were_exchanged() {
    let runtime = runtime();
    let mute = Script {
        mute: true,
        ..Script::default()
    };
    let (address, mut control) = mallory(&runtime, mute);
    let remembered = vec![(peer(MALLORY), vec![address])];
    let alice = desk_at(
        &runtime,
        1,
        Some(team()),
        "/ip4/127.0.0.1/tcp/0",
        remembered,
    );
    let lookup = LookupKey::of(b"l");
    let offers = vec![super::hosts::offer(10)];
    alice
        .host
        .offers
        .lock()
        .unwrap()
        .insert(lookup.digest(), offers.clone());
    let object = alice.host.store(b"secret");
    let question = frame(3, 32, lookup.as_bytes());
    let fetch = objects::encode_request(&ActionKey::of(b"a"), &object.digest);
    runtime.block_on(async {
        let back = say(&mut control, ask::PROTOCOL, &question).await;
        assert_eq!(back, frame(4, 0, &[]), "busy");
        assert!(say(&mut control, ask::PROTOCOL, &frame(2, 0, &[])).await == frame(4, 0, &[]));
        assert!(
            say(&mut control, objects::PROTOCOL, &fetch)
                .await
                .is_empty()
        );

        let (wire, length) = (team(), u32::try_from(team().len()).expect("small"));
        let back = say(&mut control, ask::PROTOCOL, &frame(1, length, &wire)).await;
        assert_eq!(back, frame(1, length, &wire), "roster for roster");
        let back = say(&mut control, ask::PROTOCOL, &question).await;
        let read = Answer::read(&mut futures::io::Cursor::new(back)).await;
        assert_eq!(read.expect("an answer"), Answer::Offers(offers));
    });
    assert!(
        !alice.sees(peer(MALLORY)),
        "she, who took no roster, is asked nothing"
    );
}

#[test]
fn a_question_that_claims_to_be_endless_is_refused_unread() {
    let runtime = runtime();
    let (address, mut control) = mallory(&runtime, Script::default());
    let remembered = vec![(peer(MALLORY), vec![address])];
    let alice = desk_at(
        &runtime,
        1,
        Some(team()),
        "/ip4/127.0.0.1/tcp/0",
        remembered,
    );
    until("they are connected", || alice.sees(peer(MALLORY)));
    let back = runtime.block_on(say(&mut control, ask::PROTOCOL, &frame(1, u32::MAX, &[])));
    assert!(back.is_empty());
    until("it is counted", || {
        alice.host.refused() == [(peer(MALLORY), Refusal::Oversize)]
    });
}

#[test]
fn who_speaks_the_version_before_is_not_asked_what_it_does_not_know() {
    let runtime = runtime();
    let (alice, before) = victim(
        &runtime,
        Script {
            answer: vec![3, 1, 0, 0, 0, 0],
            speaks: ask::BEFORE,
            ..Script::default()
        },
    );
    until("she is a candidate", || {
        alice.swarm.candidates(&key()) == [before]
    });
    let deadline = || Instant::now() + SOON;
    let next = Ask::Next(ActionKey::from_digest(key()));
    let refused = alice.swarm.ask(&before, next, deadline());
    assert!(
        matches!(refused, Err(SwarmError::Lost { .. })),
        "{refused:?}"
    );
    assert_eq!(
        alice.swarm.candidates(&key()),
        [before],
        "and is none the worse"
    );
    let known = Ask::Action(ActionKey::from_digest(key()));
    assert_eq!(alice.swarm.ask(&before, known, deadline()).unwrap(), []);
}
