//! What the command line asks of a running node, and what it answers: plain data, as JSON inside
//! the socket's opaque control frames.
//!
//! The field names of the reports are part of the public surface: scripts read them through
//! `--format json`. Extend them; do not rename them.

mod agree;
pub mod answer;
pub mod attest;
mod belief;
pub mod blast;
mod hindrance;
mod inspect;
mod life;
mod projects;
pub mod settle;
mod stats;
pub mod target;
mod why;

pub use life::{
    AdoptedReport, EndedReport, First, ForkReport, InvitedReport, JoinedReport, KnockReport,
    LifeRequest, MergedReport, RotatedReport, TakenReport, hex, unhex,
};
pub use projects::{ProjectReport, ProjectRequest};
pub use stats::{Bytes, Hits, Scripts, Stats, Verified};

use serde::{Deserialize, Serialize};

/// A request of the command line. One request to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Who and how the node is.
    Status,
    /// The counters; with `reset` they start over after they are read.
    Stats {
        /// Start over.
        reset: bool,
    },
    /// Which of teammates' entries are believed in a directory: a [`TrustReport`].
    Trust {
        /// The directory.
        workspace: String,
    },
    /// Who is connected.
    Peers,
    /// The team's members.
    Members,
    /// An entry, by (a prefix of) its action key or lookup key in hexadecimal.
    Show {
        /// At least 4 hexadecimal characters.
        key: String,
    },
    /// Makes a team with this node as its first admin.
    TeamCreate {
        /// The team's name.
        name: String,
        /// This member's name.
        member: String,
    },
    /// Opens the door for one newcomer with a ticket.
    Invite {
        /// `admin`, `builder` or `reader`.
        role: String,
        /// Seconds until the ticket expires.
        expires_s: u64,
    },
    /// Joins with a ticket, or by address and approval. Answers with [`Reply::Progress`] first
    /// where there is a code to compare.
    Join {
        /// A ticket, `host[:port]` or a multiaddr.
        to: String,
        /// This member's name.
        member: String,
        /// Seconds to keep trying.
        within_s: u64,
    },
    /// Opens the door and waits for a newcomer who joins by address. Answers with
    /// [`Reply::Progress`] while it waits.
    Knocks {
        /// Prefix of the newcomer's name, peer or builder; empty for whoever knocks.
        member: String,
        /// Seconds to wait.
        within_s: u64,
    },
    /// Admits a newcomer whose code was compared.
    Approve {
        /// The code that both sides saw.
        code: String,
        /// `admin`, `builder` or `reader`.
        role: String,
    },
    /// Turns a newcomer away.
    Deny {
        /// The code.
        code: String,
    },
    /// Revokes a member, nothing of which is believed any more: a [`TakenReport`].
    Revoke {
        /// Prefix of name, peer or builder.
        member: String,
    },
    /// Projects that are closed to some members.
    Project(ProjectRequest),
    /// Leaves the team.
    Leave,
    /// What comes between joining and leaving: roles, charters, forks, new keys.
    Life(LifeRequest),
    /// Frees space down to the limit, or to `limit` bytes.
    Gc {
        /// Bytes to get down to instead of the setting.
        limit: Option<u64>,
    },
    /// Packs what is not in use.
    Settle,
    /// Checks everything stored.
    Fsck {
        /// Remove what is broken.
        repair: bool,
    },
    /// Removes entries.
    Purge {
        /// Of this builder (prefix of a member's name or of the key).
        builder: Option<String>,
        /// Of this crate.
        crate_name: Option<String>,
        /// All of them.
        all: bool,
        /// Only say what would go.
        dry_run: bool,
    },
    /// Who built the file of this digest, as a signed statement: an [`attest::AttestReport`].
    Attest {
        /// BLAKE3 of the file, hexadecimal.
        digest: String,
    },
    /// How a builder stands, and whether a record of its would be believed: an
    /// [`attest::JudgeReport`].
    Judge {
        /// The builder's whole key.
        builder: String,
        /// An entry as it was signed, base64.
        entry: Option<String>,
    },
    /// What a builder's entries have reached: a [`blast::BlastReport`]. Members are asked.
    Blast {
        /// A prefix of a member's name or of the key.
        builder: String,
    },
    /// Waits until all that was captured is durable and announced.
    Flush,
    /// Ends the node, after a flush.
    Stop,
    /// What the node knows of its own health, for `doctor`.
    Health,
    /// What the team does not agree on, by the latest misses: a list of lines, for `doctor`.
    /// Teammates are asked.
    Agree,
    /// The latest compiles, oldest first: a list of [`RecentReport`].
    Recent,
    /// What made compiles hits, misses or bypasses: a list of [`WhyReport`], newest first.
    Why {
        /// Only of this crate; of every crate what was no hit where there is none.
        crate_name: Option<String>,
        /// The workspace, whose compiles come first.
        workspace: String,
        /// Not only the latest; without a crate, hits too.
        all: bool,
    },
}

/// An answer. Any number of `Progress`, then one of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Something to show while the request goes on.
    Progress(Progress),
    /// The request is done; its report, one of the types below, as a JSON value.
    Done(serde_json::Value),
    /// It could not be done: what happened, to what, and what to do next.
    Failed(String),
}

/// What to show while a request goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// A line for people.
    Line(String),
    /// Both sides must see this code before an admin approves.
    Code {
        /// The short string.
        code: String,
        /// The team's name.
        team: String,
        /// The other side's name.
        with: String,
    },
}

/// `qnode status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// Version of the node.
    pub version: String,
    /// Where it keeps what it owns.
    pub home: String,
    /// Network identity as libp2p prints it.
    pub peer_id: String,
    /// Signing identity, 64 hexadecimal characters.
    pub builder: String,
    /// The team's name, where there is one.
    pub team: Option<String>,
    /// The team's id, hexadecimal.
    pub team_id: Option<String>,
    /// `admin`, `builder` or `reader`.
    pub role: Option<String>,
    /// Listen addresses as multiaddrs.
    pub listen: Vec<String>,
    /// Addresses of the joining swarm while it is open.
    pub door: Vec<String>,
    /// The membership's open fork, where there is one.
    #[serde(default)]
    pub fork: Option<ForkReport>,
    /// Whether new keys of this node wait for an admin.
    #[serde(default)]
    pub rotating: bool,
    /// Connected members.
    pub peers: u64,
    /// Names of members whose nodes turn this one away: it may have been removed from the team.
    #[serde(default)]
    pub turned_away_by: Vec<String>,
    /// What is stored.
    pub store: StoreStatus,
    /// Seconds since the node started.
    pub uptime_s: u64,
    /// Compiles that run or are looked up right now.
    pub busy: u64,
}

/// The store's part of `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Signed entries.
    pub entries: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of objects.
    pub bytes: u64,
    /// The size limit, bytes.
    pub limit: u64,
}

/// Which of teammates' entries are believed somewhere: the part `trust` of `qnode status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustReport {
    /// The rules that hold, each narrower than the one before.
    pub rules: Vec<TrustRule>,
    /// What is wrong with them, one line each; then nothing of teammates is believed.
    pub problems: Vec<String>,
    /// Who may see what is compiled there, in words.
    #[serde(default)]
    pub shared_with: String,
}

/// One rule of belief.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRule {
    /// Where it stands.
    pub from: String,
    /// In words.
    pub rule: String,
}

/// One line of `qnode members`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Name.
    pub name: String,
    /// `admin`, `builder` or `reader`.
    pub role: String,
    /// Network identity as libp2p prints it.
    pub peer_id: String,
    /// Signing identity.
    pub builder: String,
    /// `stands`, `retired`, `revoked`, or `waits` (for the end of a fork).
    pub standing: String,
    /// Whether it is this node.
    pub here: bool,
    /// Whether it is connected.
    pub connected: bool,
}

/// One line of `qnode peers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The member's name.
    pub name: String,
    /// Network identity as libp2p prints it.
    pub peer_id: String,
    /// Whether a connection is up.
    pub connected: bool,
    /// Last known address.
    pub address: String,
    /// Round trip in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Bytes per second of the last large fetch.
    pub bandwidth: Option<u64>,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes sent to it.
    pub bytes_out: u64,
    /// Keys that it says it holds.
    pub keys: u64,
    /// How often something that it sent was refused, since the node started.
    #[serde(default)]
    pub offences: u32,
    /// Questions in a row, for keys that it says it holds, that it answered with nothing.
    #[serde(default)]
    pub in_vain: u32,
    /// Connections in a row that it ended before a word was exchanged.
    #[serde(default)]
    pub turned_away: u32,
    /// Seconds for which it is still left out of questions; 0 where it is not.
    #[serde(default)]
    pub left_out_s: u64,
}

/// `qnode show`: one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryReport {
    /// Action key.
    pub action: String,
    /// Lookup key.
    pub lookup: String,
    /// Crate.
    pub crate_name: String,
    /// Who signed it.
    pub builder: String,
    /// That builder's name in the roster, where it has one.
    pub builder_name: Option<String>,
    /// `verified`, or why it would not be believed now.
    pub verdict: String,
    /// `private` or `team`.
    pub scope: String,
    /// Seconds since 1970, by the builder's clock.
    pub created: u64,
    /// The compile's wall time.
    pub duration_ms: u64,
    /// (name, digest, bytes) of each output.
    pub outputs: Vec<(String, String, u64)>,
    /// The compiler, in one line.
    pub compiler: String,
    /// Number of inputs in the description.
    pub inputs: u64,
    /// The inputs: (name, digest or `absent`), sorted.
    pub files: Vec<(String, String)>,
    /// The variables: (name, value or what stands for it).
    pub variables: Vec<(String, String)>,
    /// How the builder stands in the roster now: `stands`, `retired`, `revoked`, `unknown`.
    #[serde(default)]
    pub standing: String,
    /// The network identity of the machine that the builder is on, where the roster names it.
    #[serde(default)]
    pub machine: Option<String>,
    /// The host triple of the compiler.
    #[serde(default)]
    pub compiler_host: String,
    /// The digest of the compiler's own files and version.
    #[serde(default)]
    pub compiler_digest: String,
    /// The digest of the stored description, of which the action key is another.
    #[serde(default)]
    pub description: String,
    /// The builder's signature over the record, hexadecimal.
    #[serde(default)]
    pub signature: String,
    /// Who else signed an entry of the same action, and whether it is the same.
    #[serde(default)]
    pub others: Vec<SignerReport>,
}

/// Somebody else who signed an entry of the same action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerReport {
    /// Who.
    pub builder: String,
    /// That builder's name in the roster, where it has one.
    pub builder_name: Option<String>,
    /// How the builder stands now.
    pub standing: String,
    /// `verified`, or why the entry would not be believed now.
    pub verdict: String,
    /// Seconds since 1970, by the builder's clock.
    pub created: u64,
    /// Whether outputs and messages are the same.
    pub agrees: bool,
}

/// `gc` and `purge`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreedReport {
    /// Entries removed (or that would be).
    pub entries: u64,
    /// Objects removed.
    pub objects: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Bytes left.
    pub left: u64,
}

/// `fsck`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Entries read.
    pub entries: u64,
    /// Objects read.
    pub objects: u64,
    /// What is wrong, one line each (the first 100).
    pub problems: Vec<String>,
    /// How many there are in all.
    pub found: u64,
    /// How many were removed.
    pub repaired: u64,
}

/// How one of the latest compiles ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentReport {
    /// The crate.
    pub crate_name: String,
    /// `hit-local`, `hit-peer`, `miss` or `bypass`.
    pub outcome: String,
    /// The bypass's reason; empty otherwise.
    pub reason: String,
    /// How long the request took, milliseconds.
    pub ms: u64,
    /// How long the compile takes or took, milliseconds.
    pub compile_ms: u64,
    /// The name of the member whose node had it.
    pub from: Option<String>,
    /// The name of the member who signed it.
    pub signed_by: Option<String>,
    /// The action key, where there is an entry.
    pub action: Option<String>,
    /// The working directory.
    pub cwd: String,
    /// The directory that the compile writes to, absolute.
    #[serde(default)]
    pub out_dir: String,
    /// What in the command keeps teammates from hitting: `outside` (the source lies neither in
    /// the workspace nor in cargo's home), `native-cpu` (`-C target-cpu=native`).
    #[serde(default)]
    pub hindrances: Vec<String>,
    /// Whether it is the run of a build script; the crate is then the package's.
    #[serde(default)]
    pub script: bool,
    /// Of a miss: which rule did not believe an entry that was there, and what is missing; empty
    /// otherwise.
    #[serde(default)]
    pub policy: String,
    /// Of a miss: why no teammate was asked; empty otherwise.
    #[serde(default)]
    pub alone: String,
    /// That builders signed different results for this key, in words; empty otherwise.
    #[serde(default)]
    pub disagreement: String,
}

/// `qnode why`: one compile, and what made it what it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    /// How it ended.
    #[serde(flatten)]
    pub compile: RecentReport,
    /// In words.
    pub explanation: String,
    /// The entry that came nearest, where the compile was a miss and there is one.
    pub nearest: Option<NearestReport>,
    /// The inputs in which this compile and that entry differ, the weightiest first.
    pub differences: Vec<DifferenceReport>,
}

/// An entry that is not the one that was looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearestReport {
    /// Its action key.
    pub action: String,
    /// Who signed it: a name, or the beginning of the key.
    pub signed_by: String,
    /// The member whose node has it; none where it lies here.
    pub held_by: Option<String>,
    /// Seconds since 1970, by the builder's clock.
    pub created: u64,
}

/// One input that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceReport {
    /// `compiler`, `argument`, `root`, `dependency`, `macro`, `native`, `link`, `file`, `look`,
    /// `variable` or `observation`.
    pub what: String,
    /// Which of that kind.
    pub name: String,
    /// What it was in the nearest entry; empty where it was not there.
    pub before: String,
    /// What it was in this compile; empty where it was not there.
    pub now: String,
}

/// The node's own view of its health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Lines that say what is wrong and how to mend it; empty where all is well.
    pub problems: Vec<String>,
    /// Worth knowing, not wrong.
    pub notes: Vec<String>,
}
