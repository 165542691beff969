//! Charters on their way to the root's key and back: a draft, what it would change, its signed form.
//!
//! Enters: bytes of a file that somebody carried. Leaves: a draft to be shown and signed, or a
//! charter whose signature holds. A draft carries the roster that it was drawn from, signed as it
//! is, so that a machine without a network can say what would change without believing whoever
//! carried the file. Must never happen here: a key, a file, a change of the roster.

use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::roster::{
    Charter, Gone, MAX_FORMER, MAX_MEMBERS, MAX_WIRE, Member, Role, Roster, RosterError, Signed,
    check_typed,
};
use quarry_trust::{BuilderId, Digest};
use std::collections::BTreeMap;
use thiserror::Error;

/// What a draft begins with; the version is part of it.
const DRAFT: &[u8] = b"quarry charter draft v1\n";
/// What a signed charter begins with.
const SIGNED: &[u8] = b"quarry charter v1\n";
/// A charter's size, bytes: 5,120 members at their largest fit.
const CHARTER_MAX: usize = 1 << 20;
/// A file's size, bytes: a charter, a roster, and the head.
pub const FILE_MAX: usize = MAX_WIRE + CHARTER_MAX + 64;

/// Why a file of a charter is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CharterError {
    /// Another kind of file.
    #[error("this is no {0}: `qnode team draft` writes drafts, `qnode team sign` signed charters")]
    Kind(&'static str),
    /// Cut short, too long, or damaged.
    #[error("the {0} cannot be read ({1}): it was cut short or changed on its way, copy it again")]
    Form(&'static str, CanonError),
    /// The roster in it, or the charter, does not hold.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The draft's charter does not follow from its roster.
    #[error("the draft contradicts itself ({0}): draw it up again with `qnode team draft`")]
    Draft(&'static str),
    /// The key is not the team's root.
    #[error("the key is {have}, and the team's root is {want}: use the root key of this team")]
    OtherRoot {
        /// The key at hand.
        have: BuilderId,
        /// The one that the draft names.
        want: BuilderId,
    },
}

/// A charter that nobody has signed, and the roster that it would replace.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What would be signed.
    pub charter: Charter,
    /// What it was drawn from; `None` for a team's first.
    pub before: Option<Roster>,
}

/// What a charter changes, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Who becomes an admin and was none.
    pub admins: Vec<Member>,
    /// Who was an admin and is none any more, but stays a member.
    pub demoted: Vec<Member>,
    /// Who gets another role otherwise.
    pub roles: Vec<Member>,
    /// Who is revoked and was not.
    pub revoked: Vec<Member>,
    /// Who was revoked or retired, and is a member again.
    pub back: Vec<Member>,
    /// Who was a member, and is not mentioned.
    pub dropped: Vec<Member>,
    /// Who was revoked, and is not mentioned: nothing that it signed counts either way.
    pub forgotten: Vec<Member>,
}

impl Draft {
    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.fixed(DRAFT);
        w.bytes(&self.charter.to_canon());
        w.option(self.before.as_ref(), |w, r| w.bytes(&r.to_wire()));
        w.finish()
    }

    /// Reads a draft, verifies the roster in it to its first link, and checks that the charter is
    /// the next one of that team, or a first one.
    ///
    /// # Errors
    /// [`CharterError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CharterError> {
        let form = |e| CharterError::Form("draft", e);
        let mut r = Reader::new(body(bytes, DRAFT, "draft of a charter")?);
        let charter = r.bytes(CHARTER_MAX).map_err(form)?;
        let charter = Charter::from_canon(charter).map_err(form)?;
        let before = r.option(|r| r.bytes(MAX_WIRE)).map_err(form)?;
        let before = before
            .map(|wire| Roster::from_wire(wire, Some(&charter.root)))
            .transpose()?;
        r.finish().map_err(form)?;
        let fits = match &before {
            None if charter.epoch != 1 => Err("a first charter has epoch 1"),
            None => Ok(()),
            Some(roster) if roster.team() != charter.team() => {
                Err("it is of another team than its roster")
            }
            Some(roster) if roster.epoch().checked_add(1) != Some(charter.epoch) => {
                Err("it does not follow its roster's epoch")
            }
            Some(_) => Ok(()),
        };
        fits.map_err(CharterError::Draft)?;
        Ok(Self { charter, before })
    }

    /// What it would change. Of a first charter everything is new.
    #[must_use]
    pub fn changes(&self) -> Changes {
        match &self.before {
            Some(before) => changes(before, &self.charter),
            None => Changes {
                admins: self.charter.members.clone(),
                ..Changes::default()
            },
        }
    }

    /// What two people compare: the beginning of the digest of what would be signed.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.charter)
    }
}

/// The beginning of the digest of a charter's canonical bytes: 64 bits in groups of four digits.
#[must_use]
pub fn fingerprint(charter: &Charter) -> String {
    let hex = Digest::of(&charter.to_canon()).to_hex();
    let groups: Vec<String> = hex
        .as_bytes()
        .chunks(4)
        .take(4)
        .map(|c| String::from_utf8_lossy(c).into_owned())
        .collect();
    groups.join(" ")
}

/// The bytes of a signed charter's file.
#[must_use]
pub fn signed_bytes(charter: &Signed<Charter>) -> Vec<u8> {
    [SIGNED, &charter.to_wire()].concat()
}

/// Reads and verifies a signed charter.
///
/// # Errors
/// [`CharterError`].
pub fn read_signed(bytes: &[u8]) -> Result<Signed<Charter>, CharterError> {
    let wire = body(bytes, SIGNED, "signed charter")?;
    if wire.len() > CHARTER_MAX {
        return Err(CharterError::Form("signed charter", CanonError::Limit));
    }
    Signed::from_wire(wire).map_err(|error| match error {
        RosterError::Form(why) => CharterError::Form("signed charter", why),
        other => CharterError::Roster(other),
    })
}

fn body<'b>(bytes: &'b [u8], magic: &[u8], kind: &'static str) -> Result<&'b [u8], CharterError> {
    if bytes.len() > FILE_MAX {
        return Err(CharterError::Form(kind, CanonError::Limit));
    }
    bytes.strip_prefix(magic).ok_or(CharterError::Kind(kind))
}

/// A team's first charter, to be signed by `root`: its only member, an admin whatever role it came
/// with, is `founder`.
///
/// # Errors
/// [`RosterError::Name`].
pub fn first(
    name: &str,
    root: BuilderId,
    founder: Member,
    now: u64,
) -> Result<Charter, RosterError> {
    check_typed(name)?;
    check_typed(&founder.name)?;
    let role = Role::Admin;
    Ok(Charter {
        name: name.to_owned(),
        root,
        epoch: 1,
        members: vec![Member { role, ..founder }],
        former: vec![],
        created: now,
    })
}

/// The roster of a team with one member, whose root's key is at hand.
#[cfg(any(test, feature = "fuzzing"))]
pub fn found(name: &str, root: &quarry_trust::BuilderKey, founder: Member, now: u64) -> Roster {
    let charter = first(name, root.id(), founder, now).expect("names that can be used");
    Roster::chartered(Signed::new(charter, root)).expect("a charter that holds")
}

/// The charter of the next epoch, to be signed by the root: the members of today, of whom
/// those in `admins` are the admins (they need not have been members), the admins of before
/// are builders, and those in `revoked` are revoked. An open fork stays suspended for ever:
/// what waited for a merge is dropped.
///
/// # Errors
/// [`RosterError::Charter`] or [`RosterError::Name`] for lists that do not make a charter.
pub fn next(
    roster: &Roster,
    admins: Vec<Member>,
    revoked: &[BuilderId],
    now: u64,
) -> Result<Charter, RosterError> {
    let mut members = BTreeMap::new();
    let mut former = BTreeMap::new();
    for (member, gone) in roster.former() {
        let gone = match revoked.contains(&member.builder) {
            true => Gone::Revoked,
            false => gone,
        };
        former.insert(member.builder, (member.clone(), gone));
    }
    for member in roster.members().cloned() {
        if revoked.contains(&member.builder) {
            former.insert(member.builder, (member, Gone::Revoked));
        } else {
            let role = member.role.min(Role::Builder);
            members.insert(member.builder, Member { role, ..member });
        }
    }
    for admin in admins {
        check_typed(&admin.name)?;
        if let Some((_, Gone::Revoked)) = former.remove(&admin.builder) {
            return Err(RosterError::RevokedBuilder(admin.builder));
        }
        members.insert(
            admin.builder,
            Member {
                role: Role::Admin,
                ..admin
            },
        );
    }
    if members.len() > MAX_MEMBERS {
        return Err(RosterError::Full("members"));
    }
    let mut former: Vec<_> = former.into_values().collect();
    former.sort_by_key(|(m, gone)| std::cmp::Reverse((*gone, m.joined)));
    former.truncate(MAX_FORMER);
    former.sort_by_key(|(m, _)| m.builder);
    let charter = Charter {
        name: roster.name().to_owned(),
        root: roster.root(),
        epoch: roster.epoch().saturating_add(1),
        members: members.into_values().collect(),
        former,
        created: now,
    };
    Charter::from_canon(&charter.to_canon())
        .map_err(|_| RosterError::Charter("its lists do not fit together"))
}

/// What `charter` changes in `before`.
#[must_use]
pub fn changes(before: &Roster, charter: &Charter) -> Changes {
    let members: BTreeMap<BuilderId, &Member> =
        charter.members.iter().map(|m| (m.builder, m)).collect();
    let gone: BTreeMap<BuilderId, Gone> = charter
        .former
        .iter()
        .map(|(m, g)| (m.builder, *g))
        .collect();
    let mut changes = Changes::default();
    for now in &charter.members {
        let was = before.member_by_builder(&now.builder).map(|m| m.role);
        let list = match (was, now.role) {
            (was, role) if was == Some(role) => continue,
            (_, Role::Admin) => &mut changes.admins,
            (Some(Role::Admin), _) => &mut changes.demoted,
            (Some(_), _) => &mut changes.roles,
            (None, _) => &mut changes.back,
        };
        list.push(now.clone());
    }
    for member in before
        .members()
        .filter(|m| !members.contains_key(&m.builder))
    {
        match gone.get(&member.builder) {
            Some(Gone::Revoked) => changes.revoked.push(member.clone()),
            Some(Gone::Retired) | None => changes.dropped.push(member.clone()),
        }
    }
    for (member, was) in before.former() {
        let revoked = was == Gone::Revoked;
        match gone.get(&member.builder) {
            Some(Gone::Revoked) if !revoked => changes.revoked.push(member.clone()),
            None if revoked && !members.contains_key(&member.builder) => {
                changes.forgotten.push(member.clone());
            }
            Some(Gone::Retired) if revoked => changes.back.push(member.clone()),
            _ if members.contains_key(&member.builder)
                && !changes.back.iter().any(|m| m.builder == member.builder) =>
            {
                changes.back.push(member.clone());
            }
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
#[path = "charter_tests.rs"]
mod tests;
