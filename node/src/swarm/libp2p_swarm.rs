//! [`Libp2pSwarm`]: the handle that the node holds; behind it, one task that owns libp2p.
//!
//! Enters: calls from blocking threads. Leaves: their answers, from the local index, from the
//! driver through a bounded queue, or from a stream that the caller's thread reads itself. Must
//! never happen here: libp2p's swarm touched from a caller's thread, a call that outlives its
//! deadline.

use super::driver::Driver;
use super::fetch::Fetcher;
use super::handoff::{Command, Shared};
use super::packed::Packed;
use super::serve::Server;
use super::{
    Ask, Host, MAX_OFFERS, PeerStatus, Restored, Swarm, SwarmError, behaviour, identity, objects,
};
use crate::store::Offer;
use libp2p::Multiaddr;
use quarry_trust::{ActionKey, BuilderId, Digest, ObjectRef, PeerId};
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use zeroize::Zeroizing;

/// How often a question is put that is lost with its connection.
const ASK_TRIES: u32 = 3;
/// Commands that wait for the driver; it takes them in microseconds, so this is a burst.
const MAX_COMMANDS: usize = 256;
/// Listening is a bind and one event; more means that the machine stands still.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);
/// The driver's turns are short; longer than this it is not waited for.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);
/// Goodbye is bounded by this, whatever the peers do.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(1);
/// A caller that gave a peer less than this says nothing about the peer by giving up.
const FAIR_WAIT: Duration = Duration::from_millis(500);

/// What the swarm needs to begin.
pub struct SwarmConfig {
    /// Secret seed of the peer identity (ed25519).
    pub seed: Zeroizing<[u8; 32]>,
    /// Multiaddrs to listen on, such as `/ip4/0.0.0.0/tcp/0`. One that is in use is replaced by
    /// a port of the system's choice, with a line in the log.
    pub listen: Vec<String>,
    /// Whether to find teammates with mDNS. Quiet anyway while the node is in no team.
    pub mdns: bool,
    /// Addresses of members from earlier runs and from tickets, as multiaddrs.
    pub remembered: Vec<(PeerId, Vec<String>)>,
    /// Where what was packed for one member is kept for the next; it is not where there is none.
    pub scratch: Option<PathBuf>,
}

/// The swarm on libp2p: TCP, noise, yamux.
pub struct Libp2pSwarm {
    own: PeerId,
    shared: Arc<Shared>,
    /// Shared with the driver, which forgets the streams of who disconnected.
    fetcher: Arc<Fetcher>,
    commands: mpsc::Sender<Command>,
    ended: Mutex<Receiver<()>>,
}

impl Libp2pSwarm {
    /// Builds the swarm, reads the roster from the host, and returns once every listen address
    /// is bound. Blocks up to five seconds; call it from a blocking thread.
    ///
    /// # Errors
    /// [`SwarmError::Identity`], [`SwarmError::Setup`], [`SwarmError::Listen`].
    pub fn start(
        config: SwarmConfig,
        host: Arc<dyn Host>,
        runtime: Handle,
    ) -> Result<Self, SwarmError> {
        let keypair = identity::keypair(&config.seed)?;
        let net = keypair.public().to_peer_id();
        let own = identity::peer_id(&net).ok_or(SwarmError::Identity)?;
        let _inside = runtime.enter();
        let swarm = behaviour::build(keypair)?;
        let mut control = swarm.behaviour().objects.new_control();
        let incoming = control
            .accept(objects::PROTOCOL)
            .map_err(|e| SwarmError::Setup(e.to_string()))?;
        let shared = Arc::new(Shared::default());
        let index = shared.index.clone();
        let fetcher = Arc::new(Fetcher::new(
            runtime.clone(),
            control,
            index.clone(),
            host.clone(),
        ));
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let server = Server::new(host.clone(), index, Packed::new(config.scratch));
        let mut driver = Driver::new(
            swarm,
            host,
            shared.clone(),
            fetcher.clone(),
            inbox,
            config.mdns,
        );
        driver.listen(&config.listen)?;
        driver.remember(config.remembered);
        driver.read_roster_now();
        let (started, listening) = sync_channel(1);
        let (ending, ended) = sync_channel(1);
        runtime.spawn(server.accept(incoming));
        runtime.spawn(driver.run(started, ending));
        let this = Self {
            own,
            shared,
            fetcher,
            commands,
            ended: Mutex::new(ended),
        };
        match listening.recv_timeout(LISTEN_WITHIN) {
            Ok(()) => Ok(this),
            Err(_) => Err(SwarmError::Listen {
                address: config.listen.join(", "),
                reason: "nothing was bound within five seconds".to_owned(),
            }),
        }
    }

    /// Hands the driver a question with a place for its answer, and waits for that.
    fn answer<T>(
        &self,
        peer: &PeerId,
        command: impl FnOnce(SyncSender<Result<T, SwarmError>>) -> Command,
        deadline: Instant,
    ) -> Result<T, SwarmError> {
        self.shared.index.traffic(peer)?;
        let (reply, answer) = sync_channel(1);
        let asked = Instant::now();
        self.commands
            .try_send(command(reply))
            .map_err(|e| match e {
                TrySendError::Full(_) => SwarmError::Busy(*peer),
                TrySendError::Closed(_) => SwarmError::Closed,
            })?;
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                if asked.elapsed() >= FAIR_WAIT {
                    self.shared.index.slow(peer);
                }
                Err(SwarmError::Deadline(*peer))
            }
            Err(RecvTimeoutError::Disconnected) => Err(SwarmError::Closed),
        }
    }

    /// Our own peer id.
    #[must_use]
    pub const fn own(&self) -> PeerId {
        self.own
    }
}

impl Swarm for Libp2pSwarm {
    fn candidates(&self, key: &Digest) -> Vec<PeerId> {
        self.shared.index.candidates(key)
    }

    fn ask(&self, peer: &PeerId, ask: Ask, deadline: Instant) -> Result<Vec<Offer>, SwarmError> {
        let command = |reply| Command::Ask {
            peer: *peer,
            ask,
            reply,
        };
        // Of several connections to a peer one may have closed.
        let mut tries = 1..ASK_TRIES;
        let mut offers = loop {
            match self.answer(peer, command, deadline) {
                Err(SwarmError::Lost { .. }) if tries.next().is_some() => {}
                answered => break answered?,
            }
        };
        offers.truncate(MAX_OFFERS);
        // What is asked for without looking into a filter may be nothing.
        if offers.is_empty() && !matches!(ask, Ask::Crate(_) | Ask::Next(_)) {
            self.shared.index.in_vain(peer);
        }
        Ok(offers)
    }

    fn restored(
        &self,
        peer: &PeerId,
        builder: &BuilderId,
        deadline: Instant,
    ) -> Result<Restored, SwarmError> {
        let command = |reply| Command::Restored {
            peer: *peer,
            builder: *builder,
            reply,
        };
        self.answer(peer, command, deadline)
    }

    fn fetch(
        &self,
        peer: &PeerId,
        action: &ActionKey,
        object: &ObjectRef,
        sink: &mut dyn Write,
        deadline: Instant,
    ) -> Result<(), SwarmError> {
        self.fetcher.fetch(peer, action, object, sink, deadline)
    }

    fn announce(&self, keys: &[Digest]) {
        self.shared.announce(keys);
    }

    fn publish(&self) {
        let (done, published) = sync_channel(1);
        if self.commands.try_send(Command::Publish { done }).is_ok() {
            // Where it ends first, peers learn the keys from the next filter.
            let _ = published.recv_timeout(PUBLISHED_WITHIN);
        }
    }

    fn provide(&self, keys: &[Digest]) {
        self.shared.provide(keys);
    }

    fn seek(&self, key: &Digest) {
        self.shared.seek(key);
    }

    fn misbehaved(&self, peer: &PeerId) {
        self.shared.index.offence(peer);
    }

    fn roster_changed(&self) {
        self.shared.roster_changed();
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.shared.index.status()
    }

    fn listening(&self) -> Vec<String> {
        self.shared.listening()
    }

    fn add_addresses(&self, peer: &PeerId, addresses: &[String]) {
        let (peer, addresses) = (*peer, parse(addresses));
        self.hint(Command::Addresses { peer, addresses });
    }

    fn expect(&self, peer: &PeerId, addresses: &[String]) {
        let (peer, addresses) = (*peer, parse(addresses));
        self.hint(Command::Expect { peer, addresses });
    }

    fn shutdown(&self) {
        self.shared.stop();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that it ended before.
        let _ = ended.recv_timeout(SHUTDOWN_WITHIN);
    }
}

impl Libp2pSwarm {
    /// Addresses are hints: where the queue is full, mDNS and the peer's own dial remain.
    fn hint(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::debug!("addresses were not taken: the queue is full");
        }
    }
}

impl Drop for Libp2pSwarm {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Multiaddrs that parse; the others are named in the log.
pub(super) fn parse(addresses: &[String]) -> Vec<Multiaddr> {
    let parse = |text: &String| {
        text.parse()
            .inspect_err(|error| tracing::warn!(address = %text, %error, "no multiaddr; ignored"))
            .ok()
    };
    addresses.iter().filter_map(parse).collect()
}
