//! The turnstile: whoever stands between accept and the end of the handshake takes a seat, and
//! there are few; where all are taken, somebody gives way.
//!
//! Enters: accepted TCP connections. Leaves: the same, of which one that is told to give way
//! fails at its next read or write. A stranger that connects and says nothing would otherwise hold
//! its place for a whole connection timeout, and some dozens of them would keep teammates out.
//! Who gives way is the oldest seat of the address that holds most: so a flood from one machine
//! pushes itself out, and a teammate, whose handshake takes milliseconds, is through before its
//! turn comes. Must never happen here: a wait; a connection that is through and is ended.

use futures::task::AtomicWaker;
use futures::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

/// Handshakes under way. Each holds a socket and some KiB for a few milliseconds; a team that
/// comes back after a power cut, all at once, fits.
pub(super) const SEATS: usize = 64;

/// One handshake under way.
#[derive(Debug, Default)]
struct Seat {
    /// It is through: nobody asks for the seat any more.
    through: AtomicBool,
    /// It is to give way.
    give_way: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Taken {
    remote: Multiaddr,
    seat: Weak<Seat>,
}

/// See the module. Clones share their seats.
#[derive(Debug, Clone, Default)]
pub(super) struct Turnstile(Arc<Mutex<VecDeque<Taken>>>);

impl Turnstile {
    /// A connection came up below the handshake. Dials of our own take no seat.
    pub(super) fn enter<T>(&self, io: T, point: &ConnectedPoint) -> Seated<T> {
        let seat = match point {
            ConnectedPoint::Listener { send_back_addr, .. } => Some(self.admit(send_back_addr)),
            ConnectedPoint::Dialer { .. } => None,
        };
        Seated { io, seat }
    }

    fn admit(&self, remote: &Multiaddr) -> Arc<Seat> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|taken| taken.seat.upgrade().is_some_and(|s| s.waits()));
        if seats.len() >= SEATS
            && let Some(at) = who_gives_way(&seats)
            && let Some(oldest) = seats.remove(at)
            && let Some(seat) = oldest.seat.upgrade()
        {
            seat.give_way.store(true, Ordering::Release);
            seat.waker.wake();
        }
        let seat = Arc::new(Seat::default());
        seats.push_back(Taken {
            remote: remote.clone(),
            seat: Arc::downgrade(&seat),
        });
        seat
    }

    /// The handshake on that connection is done.
    pub(super) fn through(&self, point: &ConnectedPoint) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remote = point.get_remote_address();
        if let Some(at) = seats.iter().position(|taken| taken.remote == *remote)
            && let Some(taken) = seats.remove(at)
            && let Some(seat) = taken.seat.upgrade()
        {
            seat.through.store(true, Ordering::Release);
        }
    }
}

/// The oldest of the machine that holds most; of several, of the one that was here first.
fn who_gives_way(seats: &VecDeque<Taken>) -> Option<usize> {
    let mut held: HashMap<Option<IpAddr>, usize> = HashMap::new();
    for taken in seats {
        *held.entry(machine(&taken.remote)).or_default() += 1;
    }
    let most = held.values().copied().max()?;
    let first = |taken: &Taken| held.get(&machine(&taken.remote)) == Some(&most);
    seats.iter().position(first)
}

/// What stands for one machine: an IPv4 address, or the 64 bits of an IPv6 network, within which
/// everybody has as many addresses as they like.
fn machine(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => {
            let network = ip.to_bits() >> 64 << 64;
            Some(IpAddr::V6(network.into()))
        }
        _ => None,
    }
}

impl Seat {
    fn waits(&self) -> bool {
        !self.through.load(Ordering::Acquire) && !self.give_way.load(Ordering::Acquire)
    }
}

/// A connection with its seat, until the handshake is done.
#[derive(Debug)]
pub(super) struct Seated<T> {
    io: T,
    seat: Option<Arc<Seat>>,
}

impl<T> Seated<T> {
    /// Fails where the seat is to be given up.
    fn keeps_its_seat(&mut self, cx: &Context<'_>) -> io::Result<()> {
        let Some(seat) = &self.seat else {
            return Ok(());
        };
        if seat.through.load(Ordering::Acquire) {
            self.seat = None;
            return Ok(());
        }
        // First registered, then looked: so no word to give way is missed.
        seat.waker.register(cx.waker());
        match seat.give_way.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Seated<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.keeps_its_seat(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Seated<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.keeps_its_seat(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[cfg(test)]
#[path = "turnstile_tests.rs"]
mod tests;
