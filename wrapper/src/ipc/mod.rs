//! How qwrap and the node speak: plain data in bounded frames over a Unix socket.

pub mod client;
pub mod frame;
pub mod protocol;
mod version;
