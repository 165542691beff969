//! What takes away, on a forked chain: a retirement, a revocation, a lower role waits for no merge.
//!
//! Enters: a roster, forked or not, an admin's key, and a change that takes away. Leaves: the
//! roster with that change, on a forked chain as one more link of a branch, from where it holds
//! for all. Must never happen here: a gift signed on a forked chain, a merge, I/O, a clock.

use quarry_trust::canon::{Canonical, Reader, Writer};
use quarry_trust::digest::CHANGE;
use quarry_trust::key::SIGNATURE_LEN;
use quarry_trust::roster::{
    Change, Charter, MAX_CHANGES, Op, Role, Roster, RosterError, Statement,
};
use quarry_trust::{BuilderKey, Digest};
use std::collections::BTreeSet;

/// Whether `op` takes something away from a member, and gives nobody anything.
#[must_use]
pub fn takes_away(roster: &Roster, op: &Op) -> bool {
    match op {
        Op::Retire(_) | Op::Revoke(_) => true,
        Op::SetRole(builder, role) => {
            let member = roster.member_by_builder(builder);
            member.is_some_and(|member| *role < member.role)
        }
        Op::Add(_) | Op::Merge(_) | Op::Project(..) => false,
    }
}

/// Signs, as an admin, what takes away. Where the chain is forked it is appended to a branch: of
/// all branches holds what takes away, so whoever goes on forking delays nothing, and what they
/// gave on their branch waits for no merge any more. What gives is refused on a forked chain.
///
/// # Errors
/// [`RosterError`]; the roster is then as it was.
pub fn take_away(
    roster: &mut Roster,
    op: Op,
    signer: &BuilderKey,
    now: u64,
) -> Result<(), RosterError> {
    let Some(fork) = roster.fork().filter(|_| takes_away(roster, &op)) else {
        return roster.propose(op, signer, now);
    };
    if !roster.is_admin(&signer.id()) {
        return Err(RosterError::NotAdmin(signer.id()));
    }
    let revokes = matches!(op, Op::Revoke(_));
    // Our own branch first, where there is one: others go on behind theirs. Who was added on one
    // branch alone is known on no other.
    let (ours, theirs): (Vec<_>, Vec<_>) = fork
        .heads
        .iter()
        .partition(|head| head.signer == signer.id());
    let mut signed = Err(RosterError::BadMerge);
    for head in ours.iter().chain(&theirs) {
        let mut branch = branch(roster, head.link)?;
        signed = branch
            .propose(op.clone(), signer, now)
            .map(|()| branch.to_wire());
        if signed.is_ok() {
            break;
        }
    }
    let mut next = roster.clone();
    next.merge(&signed?)?;
    // The branch may have admins whom the fork leaves out. The root goes on after a revocation.
    if !revokes && !next.members().any(|m| m.role == Role::Admin) {
        return Err(RosterError::LastAdmin);
    }
    *roster = next;
    Ok(())
}

/// The roster as it is for who knows one branch alone: the change at its end, and all that it is
/// built on.
fn branch(roster: &Roster, end: Digest) -> Result<Roster, RosterError> {
    let wire = roster.to_wire();
    let mut r = Reader::new(&wire);
    let mut w = Writer::default();
    w.u16(r.u16()?);
    Charter::read(&mut r)?.write(&mut w);
    w.fixed(&r.array::<SIGNATURE_LEN>()?);
    let mut changes = Vec::new();
    for _ in 0..r.count(MAX_CHANGES)? {
        changes.push((Change::read(&mut r)?, r.array::<SIGNATURE_LEN>()?));
    }
    // What a change names stands before it, in the whole and so in the part.
    let mut named = BTreeSet::from([end]);
    changes.reverse();
    changes.retain(|(change, _)| {
        let wanted = named.contains(&link(change));
        if wanted {
            named.insert(change.prev);
            if let Op::Merge(heads) = &change.op {
                named.extend(heads);
            }
        }
        wanted
    });
    w.count(changes.len());
    for (change, signature) in changes.iter().rev() {
        change.write(&mut w);
        w.fixed(signature);
    }
    // No marks: they may name the ends of other branches.
    w.count(0);
    Roster::from_wire(&w.finish(), Some(&roster.root()))
}

/// The digest by which a successor names a change.
fn link(change: &Change) -> Digest {
    let mut w = Writer::default();
    w.text(<Change as Statement>::DOMAIN);
    change.write(&mut w);
    Digest::tagged(CHANGE, &w.finish())
}

#[cfg(test)]
#[path = "taking_tests.rs"]
mod tests;
