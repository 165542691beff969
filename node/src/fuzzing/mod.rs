//! The door for fuzzers: every decoder that the outside can reach, called as the node calls it.
//!
//! Enters: any bytes, and a way to measure the heap. Leaves: nothing, or a panic: a decoder that
//! panicked, took more memory than `bounds` states, or has two forms for one value. Compiled for
//! tests and under the feature `fuzzing` alone. The targets run in `tests/fuzz/` under libFuzzer,
//! and over their seeds and corpus in `corpus_tests`. Must never happen here: a decoder written
//! anew; what is called is what the node runs.

pub mod bounds;
mod compile;
mod exchange;
mod feed;
mod home;
mod output;
mod roster;
mod roster_bytes;
mod trust;

#[cfg(test)]
mod corpus_tests;

pub(crate) use compile::{prediction, prediction_of};
pub(crate) use feed::Feed;
pub(crate) use trust::signed_entry;

use crate::store::disk_fuzzing as disk;
use crate::swarm::fuzzing as swarm;

/// Calls a closure and returns how far the heap rose meanwhile, in bytes.
pub type Meter = fn(&mut dyn FnMut()) -> usize;

/// What a target measures with.
pub struct Probe {
    meter: Meter,
    target: &'static str,
    bound: bounds::Bound,
}

impl Probe {
    /// Decodes `len` bytes within the target's bound.
    ///
    /// # Panics
    /// Where more memory was taken than the bound allows for `len` bytes.
    pub(crate) fn decode<T>(&self, len: usize, decode: impl FnOnce() -> T) -> T {
        self.within(self.bound, len, decode)
    }

    /// As [`Probe::decode`], within another bound.
    pub(crate) fn within<T>(
        &self,
        bound: bounds::Bound,
        len: usize,
        decode: impl FnOnce() -> T,
    ) -> T {
        let (mut decode, mut out) = (Some(decode), None);
        let peak = (self.meter)(&mut || out = decode.take().map(|d| d()));
        let most = bound(len);
        assert!(
            peak <= most,
            "{}: {peak} bytes of memory for {len} bytes of input; the bound is {most}",
            self.target
        );
        out.expect("a meter calls what it measures")
    }
}

/// One decoder, or a family of them, under test.
pub struct Target {
    /// Its name: that of its corpus's folder and of its libFuzzer program.
    pub name: &'static str,
    /// Memory that a decode may take, by the length of its input. See [`bounds`].
    pub bound: bounds::Bound,
    /// Valid inputs to begin from, made by this version's own encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
    call: fn(&Probe, &[u8]),
}

impl Target {
    /// Runs one input.
    ///
    /// # Panics
    /// Where a decoder breaks one of its promises.
    pub fn run(&self, data: &[u8], meter: Meter) {
        let probe = Probe {
            meter,
            target: self.name,
            bound: self.bound,
        };
        (self.call)(&probe, data);
    }
}

macro_rules! targets {
    ($($name:literal: $bound:ident, $seeds:path, $call:path;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: $name,
            bound: bounds::$bound,
            seeds: $seeds,
            call: $call,
        }),*];
    };
}

targets! {
    "frames": frames, swarm::frame_seeds, swarm::frames;
    "door": door, swarm::door::seeds, swarm::door::frames;
    "objects": objects, swarm::object_seeds, swarm::objects;
    "filters": filters, swarm::filter_seeds, swarm::filters;
    "announcements": announcements, swarm::announcement_seeds, swarm::announcements;
    "providers": providers, swarm::provider_seeds, swarm::providers;
    "addresses": addresses, swarm::address_seeds, swarm::addresses;
    "entries": entries, trust::entry_seeds, trust::entries;
    "tickets": tickets, trust::ticket_seeds, trust::tickets;
    "roster": roster, roster::seeds, roster::story;
    "roster_bytes": roster, roster_bytes::seeds, roster_bytes::bytes;
    "exchange": exchange, exchange::seeds, exchange::exchange;
    "actions": actions, compile::action_seeds, compile::actions;
    "ipc": ipc, compile::ipc_seeds, compile::ipc;
    "depinfo": depinfo, compile::depinfo_seeds, compile::depinfo;
    "observer": observer, compile::observer_seeds, compile::observer;
    "outdir": outdir, compile::outdir_seeds, compile::outdir;
    "libraries": libraries, output::library_seeds, output::libraries;
    "messages": messages, output::message_seeds, output::messages;
    "places": places, compile::place_seeds, compile::places;
    "control": control, home::control_seeds, home::control;
    "project": config, home::project_seeds, home::project;
    "config": config, home::config_seeds, home::config;
    "team_file": team_file, home::team_file_seeds, home::team_file;
    "state": state, home::state_seeds, home::state;
    "rows": rows, disk::row_seeds, disk::rows;
}

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
