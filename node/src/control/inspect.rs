//! Reports on the node: status, peers, members, one entry, health.

use super::blast::{name_of, standing};
use super::hindrance;
use super::{EntryReport, Health, MemberReport, PeerReport, SignerReport, Status, StoreStatus};
use crate::adopt::read_description;
use crate::joining::role_name;
use crate::runtime::Node;
use crate::store::Offer;
use crate::swarm::identity;
use crate::team;
use quarry_trust::canon::Canonical;
use quarry_trust::roster::{Gone, Op};
use quarry_trust::verify::Source;
use quarry_trust::{BuilderId, Entry, Roster, Scope, SignedEntry};
use quarry_wrapper::action::{Description, Sight, Value};
use quarry_wrapper::pipeline::script::is_run;

/// Characters of a key that `show` needs at least.
const KEY_PREFIX_MIN: usize = 4;
/// Connections in a row that a member's node ended before a word was exchanged until that is
/// told: one whose node has not heard of a newcomer yet does so once or twice.
const TURNED_AWAY: u32 = 3;
/// A mark this old, seconds, is worth a note: five days before it counts as stale.
const MARK_OLD: u64 = 25 * 24 * 60 * 60;

/// `qnode status`.
pub(super) fn status(node: &Node) -> Status {
    let counts = node.store.counts().unwrap_or_default();
    let team = node
        .team
        .roster(|r| (r.name().to_owned(), r.team().0.to_hex()));
    Status {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: node.home.path().display().to_string(),
        peer_id: identity::display(&node.team.peer()),
        builder: node.team.builder().to_hex(),
        team: team.as_ref().map(|(name, _)| name.clone()),
        team_id: team.map(|(_, id)| id),
        role: node.team.role().map(|r| role_name(r).to_owned()),
        listen: node.swarm.listening(),
        door: node.joining.door_addresses(),
        fork: super::life::fork(node).ok().flatten(),
        rotating: node.team.rotating().unwrap_or(false),
        peers: node.swarm.peers().iter().filter(|p| p.connected).count() as u64,
        turned_away_by: turned_away_by(node),
        store: StoreStatus {
            entries: counts.entries,
            objects: counts.objects,
            bytes: counts.bytes,
            limit: node.config.store_limit,
        },
        uptime_s: node.started.elapsed().as_secs(),
        busy: node.busy_now(),
    }
}

/// Members who turn this node away, by name.
fn turned_away_by(node: &Node) -> Vec<String> {
    let peers = node.swarm.peers().into_iter();
    let away = peers.filter(|p| !p.connected && p.turned_away >= TURNED_AWAY);
    let name = |p: crate::swarm::PeerStatus| node.team.peer_name(&p.peer);
    away.filter_map(name).collect()
}

/// `qnode peers`.
pub(super) fn peers(node: &Node) -> Vec<PeerReport> {
    node.swarm
        .peers()
        .into_iter()
        .map(|p| PeerReport {
            name: node.team.peer_name(&p.peer).unwrap_or_default(),
            peer_id: identity::display(&p.peer),
            connected: p.connected,
            address: p.address,
            round_trip_ms: p.round_trip.map(|d| d.as_secs_f64() * 1000.0),
            bandwidth: p.bandwidth,
            bytes_in: p.bytes_in,
            bytes_out: p.bytes_out,
            keys: p.keys,
            offences: p.offences,
            in_vain: p.in_vain,
            turned_away: p.turned_away,
            left_out_s: p.left_out.map_or(0, |d| d.as_secs()),
        })
        .collect()
}

/// `qnode members`.
pub(super) fn members(node: &Node) -> Result<Vec<MemberReport>, String> {
    let connected = node.swarm.peers();
    let own = node.team.builder();
    let report = |m: &quarry_trust::roster::Member, standing: &str| MemberReport {
        name: m.name.clone(),
        role: role_name(m.role).to_owned(),
        peer_id: identity::display(&m.peer),
        builder: m.builder.to_hex(),
        standing: standing.to_owned(),
        here: m.builder == own,
        connected: connected.iter().any(|p| p.peer == m.peer && p.connected),
    };
    node.team
        .roster(|r| {
            let present = r.members().map(|m| report(m, "stands"));
            let former = r.former().map(|(m, gone)| {
                report(
                    m,
                    if gone == Gone::Revoked {
                        "revoked"
                    } else {
                        "retired"
                    },
                )
            });
            let waiting = r.fork().map(|f| f.waiting.as_slice()).unwrap_or_default();
            let waiting = waiting.iter().filter_map(|op| match op {
                Op::Add(m) => Some(report(m, "waits")),
                _ => None,
            });
            present.chain(former).chain(waiting).collect()
        })
        .ok_or_else(|| team::TeamError::None.to_string())
}

/// `qnode show`: the newest entry of a crate, or the one whose action or lookup key begins with
/// `key`.
pub(super) fn show(node: &Node, key: &str) -> Result<EntryReport, String> {
    let is_key = key.len() >= KEY_PREFIX_MIN && key.bytes().all(|b| b.is_ascii_hexdigit());
    let hex = key.to_ascii_lowercase();
    let fits = |entry: &Entry| {
        entry.crate_name == key
            || is_key
                && (entry.action.to_string().starts_with(&hex)
                    || entry.lookup.to_string().starts_with(&hex))
    };
    // Of a crate the compile is meant, not the run of its package's build script.
    let rank = |entry: &Entry| (!is_run(entry), entry.created);
    let mut found: Option<(Entry, Offer)> = None;
    node.store
        .each_offer(&mut |offer| {
            if let Ok(entry) = Entry::from_canon(&offer.signed.bytes)
                && fits(&entry)
                && found
                    .as_ref()
                    .is_none_or(|(newest, _)| rank(newest) <= rank(&entry))
            {
                found = Some((entry, offer));
            }
        })
        .map_err(|e| e.to_string())?;
    let (entry, offer) = found.ok_or_else(|| {
        format!("no entry here is of a crate {key:?}, and none has a key that begins like that ({KEY_PREFIX_MIN} characters at least)")
    })?;
    Ok(entry_report(node, &entry, &offer))
}

/// The record of one entry that is here: the one place where it is put together.
pub(super) fn entry_report(node: &Node, entry: &Entry, offer: &Offer) -> EntryReport {
    let description = read_description(node.store.as_ref(), entry)
        .and_then(|bytes| Description::from_canon(&bytes).ok());
    let mut report = EntryReport {
        action: entry.action.to_string(),
        lookup: entry.lookup.to_string(),
        crate_name: entry.crate_name.clone(),
        builder: entry.builder.to_hex(),
        builder_name: name_of(node, &entry.builder),
        verdict: verdict(node, &offer.signed),
        standing: standing(node, &entry.builder).to_owned(),
        machine: machine_of(node, &entry.builder),
        description: entry.description.digest.to_hex(),
        signature: hex(&offer.signed.signature.0),
        others: others(node, entry),
        scope: match entry.scope {
            Scope::Private => "private".to_owned(),
            Scope::Team(_) => "team".to_owned(),
            Scope::Project(..) => node.team.project_name(&entry.scope),
        },
        created: entry.created,
        duration_ms: entry.duration_ms,
        outputs: entry
            .outputs
            .iter()
            .map(|o| {
                (
                    o.name.as_str().to_owned(),
                    o.object.digest.to_hex(),
                    o.object.size,
                )
            })
            .collect(),
        ..EntryReport::default()
    };
    if let Some(d) = description {
        fill_inputs(&mut report, &d);
    }
    report
}

/// Whether an entry would be believed now.
pub(super) fn verdict(node: &Node, signed: &SignedEntry) -> String {
    match node.team.verify(signed, Source::Store, None, None) {
        Ok(_) => "verified".to_owned(),
        Err(why) => why.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The peer of a builder, present or former.
fn machine_of(node: &Node, builder: &BuilderId) -> Option<String> {
    let of = |r: &Roster| {
        let former = || r.former().map(|(member, _)| member);
        let mut all = r.members().chain(former());
        all.find(|m| m.builder == *builder).map(|m| m.peer)
    };
    node.team
        .roster(of)
        .flatten()
        .map(|peer| identity::display(&peer))
}

/// Who signed an entry, and whether it agrees with another.
pub(super) fn signer(
    node: &Node,
    signed: &SignedEntry,
    other: &Entry,
    with: &Entry,
) -> SignerReport {
    SignerReport {
        builder: other.builder.to_hex(),
        builder_name: name_of(node, &other.builder),
        standing: standing(node, &other.builder).to_owned(),
        verdict: verdict(node, signed),
        created: other.created,
        agrees: agrees(with, other),
    }
}

/// Entries of the same action that others signed.
fn others(node: &Node, entry: &Entry) -> Vec<SignerReport> {
    let offers = node.store.entries(&entry.action).unwrap_or_default();
    let mut found: Vec<SignerReport> = offers
        .iter()
        .filter_map(|offer| {
            let other = Entry::from_canon(&offer.signed.bytes).ok()?;
            let is_other = other.builder != entry.builder;
            is_other.then(|| signer(node, &offer.signed, &other, entry))
        })
        .collect();
    found.sort_by(|a, b| a.builder.cmp(&b.builder));
    found
}

/// Whether two entries of one action say the same: outputs, and messages where both were rendered
/// for the same terminal.
fn agrees(one: &Entry, other: &Entry) -> bool {
    let messages = (one.stdout, one.stderr) == (other.stdout, other.stderr);
    one.outputs == other.outputs && (messages || one.width != other.width)
}

fn fill_inputs(report: &mut EntryReport, d: &Description) {
    report.compiler = d
        .known
        .compiler_version
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let host = d.known.compiler_version.lines();
    let host = host.filter_map(|line| line.strip_prefix("host: ")).next();
    report.compiler_host = host.unwrap_or_default().to_owned();
    report.compiler_digest = d.known.compiler.to_hex();
    let files = [&d.files, &d.macros, &d.native, &d.link];
    let files = files.into_iter().flatten();
    report.files = files
        .map(|f| {
            (
                f.name.clone(),
                f.digest.map_or_else(|| "absent".to_owned(), |d| d.to_hex()),
            )
        })
        .chain(d.externs.iter().map(|e| {
            (
                e.file.clone(),
                e.digest
                    .map_or_else(|| "sysroot".to_owned(), |d| d.to_hex()),
            )
        }))
        .chain(d.looked.iter().map(|l| {
            let seen = match &l.sight {
                Sight::Listing(digest) => format!("lists {}", digest.to_hex()),
                Sight::File => "a file".to_owned(),
                Sight::Directory => "a directory".to_owned(),
                Sight::Link(digest) => format!("leads to {}", digest.to_hex()),
            };
            (l.name.clone(), seen)
        }))
        .chain(
            d.ran
                .iter()
                .map(|r| (r.child.shown(), format!("says {}", r.said.to_hex()))),
        )
        .collect();
    report.inputs = report.files.len() as u64;
    report.variables = d
        .variables
        .iter()
        .map(|v| {
            let value = match &v.value {
                Value::Unset => "unset".to_owned(),
                Value::Public(text) => format!("{text:?}"),
                Value::Keyed(digest) => format!("digest {}", &digest.to_hex()[..16]),
                Value::Symbolic(text) => format!("names files under {text}"),
            };
            (v.name.clone(), value)
        })
        .collect();
}

/// The open fork as a line of `doctor`.
fn forked_text(node: &Node) -> String {
    let fork = super::life::fork(node).ok().flatten().unwrap_or_default();
    let signers: Vec<&str> = fork.heads.iter().map(|(name, _)| name.as_str()).collect();
    let waiting: Vec<&str> = fork.waiting.iter().map(|(name, _)| name.as_str()).collect();
    let waiting = match waiting.as_slice() {
        [] => "nobody waits".to_owned(),
        names => format!("{} wait", names.join(", ")),
    };
    format!(
        "the membership chain has forked (signed by {}): retirements and revocations of all branches hold, additions of none; {waiting}. An admin looks at it and ends it with `qnode team merge`",
        signers.join(", ")
    )
}

/// The node's own part of `qnode doctor`.
pub(super) fn health(node: &Node) -> Health {
    let mut health = Health {
        problems: [node.incidents.clone(), node.counters.alarms()].concat(),
        notes: hindrance::notes(&node.counters.recent()),
    };
    if let Err(error) = node.store.counts() {
        health.problems.push(format!(
            "the store cannot be read ({error}): run `qnode fsck --repair`, or move {} away",
            node.home.store().display()
        ));
    }
    if node.swarm.listening().is_empty() {
        health.problems.push(
            "the swarm listens nowhere: check `listen` in config.toml and whether the network is up"
                .to_owned(),
        );
    }
    if node.config.is_outdated(&node.home) {
        health.problems.push(
            "config.toml changed since the node started, and what it says now is not in force: `qnode restart`"
                .to_owned(),
        );
    }
    for (root, _) in &node.config.trust.projects {
        if !root.is_dir() {
            health.notes.push(format!(
                "`[[trust.project]]` in config.toml names {}, which is no directory: its rules hold nowhere",
                root.display()
            ));
        }
    }
    let now = team::now();
    let facts = node.team.roster(|r| {
        (
            r.is_fresh(now),
            r.freshness(),
            r.fork().is_some(),
            r.members().count(),
        )
    });
    if let Some((fresh, last, forked, members)) = facts {
        if !fresh {
            health.problems.push("the roster's freshness mark is too old, so teammates' entries are not used: ask an admin to start their node".to_owned());
        } else if now.saturating_sub(last) > MARK_OLD {
            health.notes.push("no admin's node was seen for weeks: entries stop being shared a month after the last".to_owned());
        }
        if forked {
            health.problems.push(forked_text(node));
        }
        let away = turned_away_by(node).join(", ");
        if !away.is_empty() {
            health.problems.push(format!("teammates turn this node away ({away}): it may have been removed from the team, or the one who let it in; ask an admin"));
        }
        if members > 1 && !node.swarm.peers().iter().any(|p| p.connected) {
            health.notes.push("no teammate is connected now".to_owned());
        }
    } else {
        health.notes.push(
            "this node is in no team: `qnode team create NAME` or `qnode join TICKET`".to_owned(),
        );
    }
    health
}
