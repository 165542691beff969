//! What a process takes of the machine, from `/proc`.

use std::fs;

/// The kernel's unit of processor time that programs see, in a second: fixed on Linux.
const TICKS: f64 = 100.0;

/// Processor time that a process has had, user and system, seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold blanks: proc_pid_stat(5).
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let field = |at: usize| -> f64 { rest.split_whitespace().nth(at).unwrap().parse().unwrap() };
    (field(11) + field(12)) / TICKS
}
