//! team create, root, draft, sign, adopt: the root's key and what it signs.
//!
//! Enters: names, files that somebody carried, a passphrase. Leaves: requests to the node, and
//! files. The key itself is only ever in this process, never in the node's: `sign` needs neither
//! node nor network. Must never happen here: a signature over what was not shown.

use super::ask::{self, SOON};
use super::team::{default_name, joined_text};
use super::team_args::{CreateArgs, DraftArgs, PassphraseArgs, RootArgs, SignArgs};
use super::{lifecycle, print, secret, terminal};
use crate::charter::{self, CharterError, Draft, FILE_MAX};
use crate::control::{AdoptedReport, First, JoinedReport, LifeRequest, Request, hex, unhex};
use crate::guard;
use crate::rootkey::{self, RootKeyError};
use anyhow::{Context, Result, anyhow, bail};
use quarry_trust::roster::{Member, Role, Signed};
use quarry_trust::{BuilderId, BuilderKey};
use quarry_wrapper::digests::open_regular;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `qnode team create`.
///
/// # Errors
/// Why there is no team.
pub fn create(args: CreateArgs) -> Result<()> {
    guard::close_process();
    let home = ask::home()?;
    lifecycle::ensure(&home)?;
    let member = args.member.name.clone().unwrap_or_else(default_name);
    let made = match (&args.root, args.passphrase) {
        (None, false) => ask::report(
            &Request::TeamCreate {
                name: args.name,
                member: member.clone(),
            },
            SOON,
        )?,
        (Some(path), _) => {
            let key = load(path, &args.from)?;
            found(&args.name, &member, &key, |_| Ok(()))?
        }
        (None, true) => {
            let path = home.root_key();
            if path.exists() {
                return Err(RootKeyError::Exists(path).into());
            }
            let passphrase = secret::new(&args.from)?;
            let key = BuilderKey::generate()?;
            // The key is on disk before anybody depends on it, and not before the name is good.
            found(&args.name, &member, &key, |key| {
                Ok(rootkey::save(&path, key, Some(&passphrase))?)
            })?
        }
    };
    print::line(joined_text(
        &format!("made the team {}", made.team),
        &member,
        &made,
    ))?;
    print::note("`qnode invite` prints a ticket for a teammate");
    if args.root.is_none() {
        print::note(
            "the root key is in this home: `qnode team root --to FILE` moves it to a safe place",
        );
    }
    Ok(())
}

/// Drafts, signs and adopts a first charter in one go.
fn found(
    name: &str,
    member: &str,
    key: &BuilderKey,
    keep: impl FnOnce(&BuilderKey) -> Result<()>,
) -> Result<JoinedReport> {
    let first = First {
        name: name.to_owned(),
        member: member.to_owned(),
        root: key.id().to_hex(),
    };
    let draft = drafted(Some(first), DraftLists::default())?;
    keep(key)?;
    let signed = Signed::new(draft.charter, key);
    let report = hand_in(&charter::signed_bytes(&signed), false)?;
    report
        .joined
        .ok_or_else(|| anyhow!("the node did not enter the team: `qnode status` says where it is"))
}

fn load(path: &Path, from: &PassphraseArgs) -> Result<BuilderKey> {
    let mut ask = || secret::known(from).map_err(|e| io::Error::other(format!("{e:#}")));
    Ok(rootkey::load(path, &mut ask)?)
}

/// `qnode team root`.
///
/// # Errors
/// Why the key is not where it should be.
pub fn root(args: &RootArgs) -> Result<()> {
    guard::close_process();
    let home = ask::home()?;
    let passphrase = match args.passphrase {
        true => Some(secret::new(&args.from)?),
        false => None,
    };
    let passphrase = passphrase.as_ref().map(|p| p.as_slice());
    if let Some(path) = &args.new {
        let key = BuilderKey::generate()?;
        rootkey::save(path, &key, passphrase)?;
        print::line(key.id().to_hex())?;
        print::note(format!(
            "made a root key in {}; on the founder's machine: qnode team draft --found NAME --root-id {} --out FILE",
            path.display(),
            key.id()
        ));
        return Ok(());
    }
    let path = home.root_key();
    if !path.exists() {
        bail!(
            "there is no root key in {}: it was moved away, or the team was made elsewhere",
            home.path().display()
        );
    }
    let Some(to) = &args.to else {
        print::line(load(&path, &args.from)?.id().to_hex())?;
        return Ok(());
    };
    let mut ask = || secret::known(&args.from).map_err(|e| io::Error::other(format!("{e:#}")));
    let id = rootkey::move_to(&path, to, &mut ask, passphrase)?;
    print::line(id.to_hex())?;
    print::note(format!(
        "the root key is in {} now, and was read back from there; the one in the home was \
         overwritten and removed",
        to.display()
    ));
    print::note(
        "on an SSD, a copy-on-write filesystem or in a backup the old bytes may live on: who must \
         be sure makes the key where it stays (`qnode team root --new FILE`)",
    );
    if passphrase.is_none() && rootkey::is_open_to_others(to) {
        print::note("others can read that file, and it is not sealed: keep it apart");
    }
    Ok(())
}

#[derive(Default)]
struct DraftLists {
    admins: Vec<String>,
    builders: Vec<String>,
    revoke: Vec<String>,
}

fn drafted(first: Option<First>, lists: DraftLists) -> Result<Draft> {
    let request = LifeRequest::Draft {
        first,
        admins: lists.admins,
        builders: lists.builders,
        revoke: lists.revoke,
    };
    let text: String = ask::report(&Request::Life(request), SOON)?;
    let bytes = unhex(&text).context("the node's draft cannot be read: `qnode restart`")?;
    Ok(Draft::from_bytes(&bytes)?)
}

/// `qnode team draft`.
///
/// # Errors
/// Why nothing was written.
pub fn draft(args: DraftArgs) -> Result<()> {
    lifecycle::ensure(&ask::home()?)?;
    let member = args.member.name.unwrap_or_else(default_name);
    let first = args
        .found
        .zip(args.root_id)
        .map(|(name, root)| First { name, member, root });
    let lists = DraftLists {
        admins: args.admin,
        builders: args.builder,
        revoke: args.revoke,
    };
    let draft = drafted(first, lists)?;
    write_new(&args.out, &draft.to_bytes())?;
    print::line(told(&draft))?;
    print::note(format!(
        "nothing is changed yet. Where the root key is: qnode team sign {}",
        args.out.display()
    ));
    Ok(())
}

/// `qnode team sign`.
///
/// # Errors
/// Why nothing was signed.
pub fn sign(args: &SignArgs) -> Result<()> {
    guard::close_process();
    let draft = Draft::from_bytes(&read(&args.file)?)?;
    print::line(told(&draft))?;
    let path = match &args.root {
        Some(path) => path.clone(),
        None => ask::home()?.root_key(),
    };
    let out = beside(&args.file);
    if out.exists() {
        return Err(RootKeyError::Exists(out).into());
    }
    let key = load(&path, &args.from)?;
    if key.id() != draft.charter.root {
        return Err(CharterError::OtherRoot {
            have: key.id(),
            want: draft.charter.root,
        }
        .into());
    }
    if !args.yes && !terminal::confirm("Sign this?", "give --yes.")? {
        bail!("nothing was signed");
    }
    let signed = Signed::new(draft.charter, &key);
    write_new(&out, &charter::signed_bytes(&signed))?;
    print::note(format!(
        "signed: {}. On a machine of the team: qnode team adopt {}",
        out.display(),
        out.display()
    ));
    Ok(())
}

/// `qnode team adopt`.
///
/// # Errors
/// Why the charter was not taken.
pub fn adopt(file: &Path, sure: bool) -> Result<()> {
    let bytes = read(file)?;
    // Said here already, so that no node starts for a file that is none.
    let charter = charter::read_signed(&bytes)?;
    lifecycle::ensure(&ask::home()?)?;
    let report = hand_in(&bytes, sure)?;
    let team = print::clean_line(&charter.name);
    print::line(match (&report.joined, report.changed) {
        (Some(joined), _) => joined_text(&format!("made the team {team}"), "its admin", joined),
        (None, true) => format!(
            "charter {} of the team {team} is in force here, and goes to every member",
            report.epoch
        ),
        (None, false) => format!(
            "charter {} of the team {team} was in force already",
            report.epoch
        ),
    })?;
    Ok(())
}

fn hand_in(bytes: &[u8], sure: bool) -> Result<AdoptedReport> {
    let request = LifeRequest::Adopt {
        charter: hex(bytes),
        sure,
    };
    ask::report(&Request::Life(request), SOON)
}

/// What would be signed, in plain words.
fn told(draft: &Draft) -> String {
    let charter = &draft.charter;
    let count = |role| charter.members.iter().filter(|m| m.role == role).count();
    let changes = draft.changes();
    let mut lines = vec![
        format!("charter {} of the team {}", charter.epoch, charter.name),
        format!("root         {}", charter.root),
        format!("fingerprint  {}", draft.fingerprint()),
        format!(
            "members      {} admins, {} builders, {} readers; {} gone",
            count(Role::Admin),
            count(Role::Builder),
            count(Role::Reader),
            charter.former.len()
        ),
    ];
    let mut list = |what: &str, members: &[Member]| {
        lines.extend(members.iter().map(|m| format!("{what:<12} {}", named(m))));
    };
    let first = draft.before.is_none();
    list(
        if first { "founder" } else { "becomes admin" },
        &changes.admins,
    );
    list("no admin now", &changes.demoted);
    list("other role", &changes.roles);
    list("REVOKED", &changes.revoked);
    list("BACK", &changes.back);
    list("LEFT OUT", &changes.dropped);
    if !first && changes == charter::Changes::default() {
        lines.push("nobody's standing changes; the chain of changes begins again".to_owned());
    }
    let lines: Vec<String> = lines.iter().map(|l| print::clean_line(l)).collect();
    lines.join("\n")
}

fn named(member: &Member) -> String {
    let role = member.role.name();
    let key: String = BuilderId::to_hex(&member.builder)
        .chars()
        .take(16)
        .collect();
    format!("{} ({role}, builder {key})", member.name)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".signed");
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let said = || format!("reading {}", path.display());
    let file = open_regular(path).with_context(said)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(said)?;
    Ok(bytes)
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path);
    let mut file = match file {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(RootKeyError::Exists(path.to_owned()).into());
        }
        other => other.with_context(|| format!("writing {}", path.display()))?,
    };
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}
