//! Tickets: one invitation, as a line of text that one person hands to another.
//!
//! Text enters, bounded before it is decoded; a [`Ticket`] leaves, or one of three answers that
//! a person can act on: cut short or mistyped, of another version, expired. A ticket pins the
//! peer that issued it and the team's root, so that who holds it needs no other word to know
//! whom to believe. It carries a secret: whoever shows it first is let in. The secret must never
//! be printed, logged or stored by the issuer, who keeps [`Ticket::secret_digest`] instead.
//!
//! The text is `quarry1`, then lower-case base32 (RFC 4648, no padding) over the canonical bytes
//! and a checksum of four bytes. The checksum is against typing errors, not against people: what
//! makes a ticket good is that its issuer knows the secret's digest.

use quarry_trust::Role;
use quarry_trust::TeamId;
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::{Digest, Domain};
use quarry_trust::{BuilderId, PeerId};
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// What every ticket of this version begins with.
pub const TICKET_PREFIX: &str = "quarry1";
/// Length of a ticket's text, in bytes: it must fit a terminal line, a chat message, an
/// environment variable.
pub const MAX_TICKET_TEXT: usize = 4096;
/// Addresses in a ticket: a laptop on a few networks, in both address families.
pub const MAX_ADDRESSES: usize = 16;
/// Length of one address, in bytes: the longest multiaddr with a host name fits.
pub const MAX_ADDRESS: usize = 256;
/// Length of a team's name in a ticket, in bytes.
pub const MAX_TEAM_NAME: usize = 128;
/// Length of the secret, in bytes.
pub const SECRET_LEN: usize = 32;

/// The schema of a ticket's canonical bytes.
const TICKET_SCHEMA: u16 = 1;
/// What versions have in common at the start of their text.
const FAMILY: &str = "quarry";
/// Checksum at the end, in bytes: one mistyped ticket in four thousand million passes.
const SUM_LEN: usize = 4;
/// Under this tag the checksum is taken.
const TICKET_SUM: Domain = Domain("quarry 2026-11 ticket sum v1");
/// Under this tag the issuer keeps a secret.
const TICKET_SECRET: Domain = Domain("quarry 2026-11 ticket secret v1");

/// Why a ticket cannot be used, or not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TicketError {
    /// Not the text that was issued.
    #[error("the ticket is cut short or mistyped: copy it again, whole")]
    Damaged,
    /// Issued by another version of Quarry.
    #[error("the ticket is of another version of quarry: update the older of the two nodes")]
    Version,
    /// Its time is over.
    #[error("the ticket has expired: ask for a new one")]
    Expired,
    /// It would not fit its limits.
    #[error("a ticket cannot be written: {0}")]
    Form(&'static str),
}

/// One invitation into a team. Use is granted once, by the node that issued it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The team's name, for people: at most [`MAX_TEAM_NAME`] bytes, [`showable`].
    pub team_name: String,
    /// The team's name, for machines.
    pub team: TeamId,
    /// The team's root key: the roster that the issuer hands over must be under it.
    pub root: BuilderId,
    /// The peer that redeems this ticket, and no other.
    pub issuer: PeerId,
    /// Multiaddrs of the issuer's door, without the peer id; at most [`MAX_ADDRESSES`], each at
    /// most [`MAX_ADDRESS`] bytes.
    pub addresses: Vec<String>,
    /// Who shows this is let in. Wiped when dropped.
    pub secret: Zeroizing<[u8; SECRET_LEN]>,
    /// End of the invitation, in seconds since 1970.
    pub expires: u64,
    /// What the newcomer will be. The issuer's record decides; this is for people.
    pub role: Role,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("team_name", &self.team_name)
            .field("team", &self.team)
            .field("root", &self.root)
            .field("issuer", &self.issuer)
            .field("addresses", &self.addresses)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Ticket {
    /// The text to hand over. It holds the secret.
    ///
    /// # Errors
    /// [`TicketError::Form`] where a field or the whole exceeds its limit.
    pub fn encode(&self) -> Result<String, TicketError> {
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(TicketError::Form("it names too many addresses"));
        }
        if !self.addresses.iter().all(|address| is_address(address)) {
            return Err(TicketError::Form(
                "an address is no multiaddr, or is too long",
            ));
        }
        if self.team_name.len() > MAX_TEAM_NAME || !showable(&self.team_name) {
            return Err(TicketError::Form(
                "the team's name is too long, or cannot be shown",
            ));
        }
        let mut bytes = Zeroizing::new(self.to_canon());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let body = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&bytes));
        if TICKET_PREFIX.len() + body.len() > MAX_TICKET_TEXT {
            return Err(TicketError::Form("its addresses are too long together"));
        }
        Ok(format!("{TICKET_PREFIX}{}", body.to_ascii_lowercase()))
    }

    /// Reads a ticket's text. White space, which terminals and chats put in, and the case of
    /// letters do not matter. Whether it has expired is asked with [`Ticket::is_expired`].
    ///
    /// # Errors
    /// [`TicketError::Damaged`] or [`TicketError::Version`].
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        if text.len() > 2 * MAX_TICKET_TEXT {
            return Err(TicketError::Damaged);
        }
        let text: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| c.to_ascii_lowercase())
                .collect(),
        );
        if text.len() > MAX_TICKET_TEXT {
            return Err(TicketError::Damaged);
        }
        let Some(body) = text.strip_prefix(TICKET_PREFIX) else {
            let version = text
                .strip_prefix(FAMILY)
                .and_then(|rest| rest.chars().next());
            return Err(match version {
                Some(c) if c.is_ascii_digit() => TicketError::Version,
                _ => TicketError::Damaged,
            });
        };
        let upper = Zeroizing::new(body.to_ascii_uppercase());
        let bytes = data_encoding::BASE32_NOPAD
            .decode(upper.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| TicketError::Damaged)?;
        let (canonical, sum) = bytes
            .split_last_chunk::<SUM_LEN>()
            .ok_or(TicketError::Damaged)?;
        if *sum != checksum(canonical) {
            return Err(TicketError::Damaged);
        }
        Self::from_canon(canonical).map_err(|error| match error {
            CanonError::Schema(_) => TicketError::Version,
            _ => TicketError::Damaged,
        })
    }

    /// Whether `text` is meant as a ticket, of whatever version, rather than as an address.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        let text = text.trim_start().as_bytes();
        text.get(..FAMILY.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(FAMILY.as_bytes()))
            && text.get(FAMILY.len()).is_some_and(u8::is_ascii_digit)
            && !text.iter().any(|c| matches!(c, b'.' | b':' | b'/'))
    }

    /// Whether the invitation is over at `now`, in seconds since 1970.
    #[must_use]
    pub const fn is_expired(&self, now: u64) -> bool {
        now >= self.expires
    }

    /// What the issuer keeps of the secret.
    #[must_use]
    pub fn secret_digest(&self) -> Digest {
        secret_digest(&self.secret)
    }
}

/// What an issuer keeps of a ticket's secret, and compares with what a newcomer shows.
#[must_use]
pub fn secret_digest(secret: &[u8; SECRET_LEN]) -> Digest {
    Digest::tagged(TICKET_SECRET, secret)
}

/// Whether text from outside may be shown on a terminal: not empty, and without control
/// characters, zero-width characters and marks that turn the direction of writing.
#[must_use]
pub fn showable(text: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            )
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    !text.is_empty() && !text.chars().any(hidden)
}

/// Whether text can be a multiaddr at all: what it names is for the network to find out.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.len() <= MAX_ADDRESS && text.starts_with('/') && text.bytes().all(|c| c.is_ascii_graphic())
}

fn checksum(canonical: &[u8]) -> [u8; SUM_LEN] {
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(&Digest::tagged(TICKET_SUM, canonical).as_bytes()[..SUM_LEN]);
    sum
}

impl Canonical for Ticket {
    fn write(&self, w: &mut Writer) {
        w.u16(TICKET_SCHEMA);
        w.text(&self.team_name);
        self.team.0.write(w);
        self.root.write(w);
        self.issuer.write(w);
        w.count(self.addresses.len());
        for address in &self.addresses {
            w.text(address);
        }
        w.fixed(self.secret.as_ref());
        w.u64(self.expires);
        self.role.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        match r.u16()? {
            TICKET_SCHEMA => {}
            other => return Err(CanonError::Schema(other)),
        }
        let team_name = r.text(MAX_TEAM_NAME)?;
        if !showable(&team_name) {
            return Err(CanonError::Value("a team's name that cannot be shown"));
        }
        let team = TeamId(Digest::read(r)?);
        let root = BuilderId::read(r)?;
        let issuer = PeerId::read(r)?;
        let addresses = read_addresses(r)?;
        let secret = Zeroizing::new(r.array()?);
        let expires = r.u64()?;
        let role = Role::read(r)?;
        Ok(Self {
            team_name,
            team,
            root,
            issuer,
            addresses,
            secret,
            expires,
            role,
        })
    }
}

/// Reads a list of addresses: at most [`MAX_ADDRESSES`], each for which [`is_address`] holds.
///
/// # Errors
/// Any [`CanonError`].
pub fn read_addresses(r: &mut Reader<'_>) -> Result<Vec<String>, CanonError> {
    let count = r.count(MAX_ADDRESSES)?;
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let address = r.text(MAX_ADDRESS)?;
        if !is_address(&address) {
            return Err(CanonError::Value("an address that is no multiaddr"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

#[cfg(test)]
#[path = "ticket_tests.rs"]
mod tests;
