//! The swarm over real sockets on 127.0.0.1: members that share, and peers that do not play by
//! the rules.

mod attackers;
mod hosts;
mod team;
