//! The newcomer's side of a door: finds it, says who it is, waits, and hears the answer.
//!
//! Enters: a ticket, or an address that a person typed; what the other side says, bounded and
//! not believed. Leaves: a [`Welcome`], whose roster the caller still has to verify under the
//! root that the ticket or the short string pinned; or an error for people. Calls block, up to
//! their deadline, on a runtime of their own: never call them from an async task. Must never
//! happen here: a second try with a ticket that may have been redeemed, a second try with a
//! nonce that was revealed.

use super::caller::{Caller, Missed};
use super::claim::{
    Candidate, JoinRefusal, NONCE_LEN, Proof, TeamClaim, Welcome, code, commitment,
};
use super::listen::{Place, place};
use super::wire::{Answer, Request};
use crate::swarm::identity;
use crate::ticket::{Ticket, TicketError};
use libp2p::Multiaddr;
use quarry_trust::{BuilderKey, PeerId};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::time::{sleep_until, timeout_at};

/// Pause between two looks whether an approval was given.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Pause between two looks whether a door has opened.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Why a node did not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The ticket itself.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// It is our own.
    #[error("this node issued the ticket itself: use it on the newcomer's machine")]
    OwnTicket,
    /// Text that is no address.
    #[error(
        "{0:?} is no address: give host, host:port or a multiaddr like /ip4/192.0.2.7/tcp/4747"
    )]
    Address(String),
    /// A ticket's door did not answer.
    #[error(
        "the node that issued the ticket does not answer (tried {0}): it must be running and \
         reachable from here while you join"
    )]
    Unreachable(String),
    /// No door answered to an address in time.
    #[error("nobody let us knock at {place} ({why}): ask an admin there to run `qnode approve`")]
    NobodyThere {
        /// What was asked for.
        place: String,
        /// What happened last.
        why: String,
    },
    /// Another node answers at the address.
    #[error(
        "at {address} answers another node ({found}) than the one expected ({expected}): the \
         address moved on, or somebody is in between; nothing was sent to it"
    )]
    WrongIdentity {
        /// Where.
        address: String,
        /// Who must answer.
        expected: String,
        /// Who did.
        found: String,
    },
    /// The other node said no, and why.
    #[error("not let in: {0}")]
    Refused(JoinRefusal),
    /// An admin said no.
    #[error("an admin of team {0:?} declined the request: ask there, and join again")]
    Denied(String),
    /// The connection ended in between.
    #[error(
        "the connection ended before the answer came ({0}): look at `qnode members` on the other \
         side; a ticket may be used up, then ask for a new one"
    )]
    Broken(String),
    /// Nobody approved in time.
    #[error("nobody approved the request in time: ask an admin of team {0:?}, and join again")]
    NotApproved(String),
    /// What the other node sent makes no sense.
    #[error("the other node answered with something else than was asked: is it another version?")]
    Nonsense,
    /// This machine could not do it.
    #[error("cannot join from here: {0}")]
    Local(String),
}

/// Let in by approval: what was given, and whom the short string vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// What was given; its roster must be under `claim.root`.
    pub welcome: Welcome,
    /// Team, root and admin that the compared string covers.
    pub claim: TeamClaim,
}

/// Redeems a ticket with the node that issued it. `seed` is our peer key's; `candidate.peer`
/// must be its public half and `candidate.builder` that of `key`.
///
/// # Errors
/// [`JoinError`].
pub fn join_with_ticket(
    seed: &[u8; 32],
    ticket: &Ticket,
    candidate: &Candidate,
    key: &BuilderKey,
    deadline: Instant,
) -> Result<Welcome, JoinError> {
    blocking(async {
        let mut caller = Caller::new(seed).map_err(JoinError::Local)?;
        if caller.own() == Some(ticket.issuer) {
            return Err(JoinError::OwnTicket);
        }
        let issuer = identity::net_id(&ticket.issuer).ok_or(TicketError::Damaged)?;
        let addresses: Vec<Multiaddr> = ticket
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let expired = || ticket.is_expired(seconds_now());
        if let Err(missed) = caller.dial(&addresses, Some(issuer), deadline).await {
            // A door closes with its last invitation: then the ticket's age is the better answer.
            return Err(match identity_error(&missed, &ticket.issuer) {
                Ok(wrong) => wrong,
                Err(_) if expired() => TicketError::Expired.into(),
                Err(tried) => JoinError::Unreachable(tried),
            });
        }
        let proof = Proof::new(key, &ticket.issuer, candidate, &ticket.secret_digest());
        let request = Request::Redeem {
            secret: ticket.secret.clone(),
            candidate: candidate.clone(),
            proof,
        };
        match caller.ask(request, deadline).await {
            Ok(Answer::Welcome(welcome)) if welcome.admin == ticket.issuer => Ok(welcome),
            Ok(Answer::Refused(why)) => Err(JoinError::Refused(why)),
            Ok(_) => Err(JoinError::Nonsense),
            Err(why) => Err(JoinError::Broken(why)),
        }
    })
}

/// What a newcomer who waits for approval is told meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinNews<'a> {
    /// The address can be asked, and is.
    Asking,
    /// Nobody lets us knock yet, and why; told again where the reason changes.
    Waiting(&'a str),
    /// Knocked: the string to compare.
    Code {
        /// The string.
        code: &'a str,
        /// The team's name.
        team: &'a str,
        /// The admin's name.
        admin: &'a str,
    },
}

/// Knocks at an address (`host[:port]` or a multiaddr) until somebody there waits for knocks,
/// tells the string to compare, and waits for the approval. The given port is tried, and the one above it: people copy the main port.
///
/// # Errors
/// [`JoinError`].
pub fn join_by_address(
    seed: &[u8; 32],
    address: &str,
    candidate: &Candidate,
    key: &BuilderKey,
    on_news: &mut dyn FnMut(JoinNews<'_>),
    deadline: Instant,
) -> Result<Approved, JoinError> {
    let place = place(address).ok_or_else(|| JoinError::Address(address.to_owned()))?;
    on_news(JoinNews::Asking);
    blocking(async {
        let mut caller = Caller::new(seed).map_err(JoinError::Local)?;
        let knocking = Knocking {
            place: &place,
            typed: address,
            candidate,
            key,
            deadline,
        };
        let greeted = knock_until(&mut caller, &knocking, on_news).await?;
        let claim = greeted.claim;
        on_news(JoinNews::Code {
            code: &greeted.code,
            team: &claim.team_name,
            admin: &claim.admin_name,
        });
        let welcome = await_verdict(&mut caller, &claim, &greeted.address, deadline).await?;
        Ok(Approved { welcome, claim })
    })
}

/// A knock that was heard, with its string.
struct Greeted {
    claim: TeamClaim,
    code: String,
    address: Multiaddr,
}

/// Who knocks, where, and until when.
struct Knocking<'a> {
    place: &'a Place,
    typed: &'a str,
    candidate: &'a Candidate,
    key: &'a BuilderKey,
    deadline: Instant,
}

/// Knocks, round after round, until one is heard or the deadline has come.
async fn knock_until(
    caller: &mut Caller,
    knocking: &Knocking<'_>,
    on_news: &mut dyn FnMut(JoinNews<'_>),
) -> Result<Greeted, JoinError> {
    let Knocking {
        place,
        typed,
        candidate,
        key,
        deadline,
    } = *knocking;
    let (mut why, mut said) = ("no answer".to_owned(), None);
    let mut told = String::new();
    loop {
        let round = Instant::now();
        let from = place.clone();
        let resolved = tokio::task::spawn_blocking(move || from.resolve());
        let addresses = match timeout_at(deadline.into(), resolved).await {
            Ok(Ok(Ok(addresses))) => addresses,
            Ok(Ok(Err(error))) => {
                why = format!("the name does not resolve: {error}");
                Vec::new()
            }
            Ok(Err(error)) => return Err(JoinError::Local(error.to_string())),
            Err(_) => Vec::new(),
        };
        let mut wrong = None;
        for address in addresses {
            match knock(caller, &address, place.peer, candidate, key, deadline).await {
                Ok(greeted) => return Ok(greeted),
                Err(Knocked::Final(error)) => return Err(error),
                Err(Knocked::Wrong(error)) => wrong = Some(error),
                Err(Knocked::Again(what)) => why = what,
                Err(Knocked::NotYet(refusal)) => said = Some(refusal.to_string()),
            }
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        // What a door said tells more than what no door said.
        let reason = said.as_ref().unwrap_or(&why);
        if told != *reason {
            on_news(JoinNews::Waiting(reason));
            told.clone_from(reason);
        }
        let next = round + RETRY_EVERY;
        if next >= deadline {
            let place = typed.to_owned();
            let why = told;
            return Err(JoinError::NobodyThere { place, why });
        }
        sleep_until(next.into()).await;
    }
}

/// Why one knock was not heard.
enum Knocked {
    /// No door there; not yet, perhaps.
    Again(String),
    /// A door that lets nobody knock now.
    NotYet(JoinRefusal),
    /// Another node answers here; the one expected may answer at the next address.
    Wrong(JoinError),
    /// Trying again would change nothing.
    Final(JoinError),
}

/// One knock at one address: dial, commit, be greeted, reveal. Each has a nonce of its own.
async fn knock(
    caller: &mut Caller,
    address: &Multiaddr,
    pinned: Option<libp2p::PeerId>,
    candidate: &Candidate,
    key: &BuilderKey,
    deadline: Instant,
) -> Result<Greeted, Knocked> {
    let dialled = caller
        .dial(std::slice::from_ref(address), pinned, deadline)
        .await;
    let door = match (dialled, pinned.as_ref().and_then(identity::peer_id)) {
        (Ok(door), _) => door,
        (Err(missed), Some(expected)) => {
            return Err(match identity_error(&missed, &expected) {
                Ok(wrong) => Knocked::Wrong(wrong),
                Err(tried) => Knocked::Again(tried),
            });
        }
        (Err(missed), None) => return Err(Knocked::Again(missed.describe())),
    };
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce)
        .map_err(|error| Knocked::Final(JoinError::Local(error.to_string())))?;
    let commitment = commitment(candidate, &nonce);
    let request = Request::Knock {
        candidate: candidate.clone(),
        commitment,
        proof: Proof::new(key, &door, candidate, &commitment),
    };
    let (claim, door_nonce) = match caller.ask(request, deadline).await {
        Ok(Answer::Greeting(claim, nonce)) => (claim, nonce),
        Ok(answer) => return Err(knocked(answer)),
        Err(why) => return Err(Knocked::Again(format!("{address}: {why}"))),
    };
    if claim.admin_peer != door {
        return Err(Knocked::Wrong(JoinError::WrongIdentity {
            address: address.to_string(),
            expected: claim.admin_peer.to_hex(),
            found: door.to_hex(),
        }));
    }
    let code = code(&claim, candidate, &door_nonce, &nonce);
    match caller.ask(Request::Reveal(nonce), deadline).await {
        Ok(Answer::Shown) => Ok(Greeted {
            claim,
            code,
            address: address.clone(),
        }),
        Ok(answer) => Err(knocked(answer)),
        Err(why) => Err(Knocked::Again(format!("{address}: {why}"))),
    }
}

fn knocked(answer: Answer) -> Knocked {
    match answer {
        Answer::Refused(why @ (JoinRefusal::NotWaiting | JoinRefusal::Busy)) => {
            Knocked::NotYet(why)
        }
        Answer::Refused(why) => Knocked::Final(JoinError::Refused(why)),
        _ => Knocked::Final(JoinError::Nonsense),
    }
}

/// Polls the same admin until it has decided; dials it again where a connection ended.
async fn await_verdict(
    caller: &mut Caller,
    claim: &TeamClaim,
    address: &Multiaddr,
    deadline: Instant,
) -> Result<Welcome, JoinError> {
    let admin = identity::net_id(&claim.admin_peer).ok_or(JoinError::Nonsense)?;
    let team = || claim.team_name.clone();
    loop {
        let next = Instant::now() + POLL_EVERY;
        match caller.ask(Request::Poll, deadline).await {
            Ok(Answer::Welcome(welcome)) if welcome.admin == claim.admin_peer => {
                return Ok(welcome);
            }
            Ok(Answer::Pending) => {}
            Ok(Answer::Denied) => return Err(JoinError::Denied(team())),
            Ok(Answer::Refused(why)) => return Err(JoinError::Refused(why)),
            Ok(_) => return Err(JoinError::Nonsense),
            Err(_) => {
                let address = std::slice::from_ref(address);
                // Where this fails, the next round tries again.
                let _ = caller.dial(address, Some(admin), deadline).await;
            }
        }
        if next >= deadline {
            return Err(JoinError::NotApproved(team()));
        }
        sleep_until(next.into()).await;
    }
}

/// The error of a wrong identity where one answered, else what was tried.
fn identity_error(missed: &Missed, expected: &PeerId) -> Result<JoinError, String> {
    let Some((address, found)) = &missed.wrong else {
        return Err(missed.describe());
    };
    Ok(JoinError::WrongIdentity {
        address: address.to_string(),
        expected: expected.to_hex(),
        found: identity::peer_id(found).map_or_else(|| found.to_string(), |id| id.to_hex()),
    })
}

fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Runs on a runtime of its own, which ends with the call.
fn blocking<T>(work: impl Future<Output = Result<T, JoinError>>) -> Result<T, JoinError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| JoinError::Local(error.to_string()))?;
    let result = runtime.block_on(work);
    // A resolver that hangs must not hold up who asked.
    runtime.shutdown_background();
    result
}
