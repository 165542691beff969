//! Whether a caller's mounts are ours.
//!
//! Device and inode of the working directory do not tell of a mount below it. Enters: a process,
//! qwrap. Leaves: whether what lies under a path there lies under it here. Must never happen here:
//! yes by default where it cannot be told.

/// Mounts below these are not compared: they hold no compiler's inputs, and a network namespace
/// (`ip netns exec`) has a `/sys` and an `/etc/resolv.conf` of its own.
const ASIDE: [&str; 5] = ["/dev", "/etc", "/proc", "/run", "/sys"];

/// Whether a process sees the same mounts: it shares our mount namespace, or its own holds the same
/// filesystems in the same places.
#[cfg(target_os = "linux")]
pub fn same_mounts(pid: i32) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/mnt"));
    let theirs = pid.to_string();
    if let (Ok(ours), Ok(theirs)) = (namespace("self"), namespace(&theirs))
        && ours == theirs
    {
        return true;
    }
    let table = |of: &str| std::fs::read_to_string(format!("/proc/{of}/mountinfo"));
    match (table("self"), table(&theirs)) {
        (Ok(ours), Ok(theirs)) => places(&ours) == places(&theirs),
        _ => false,
    }
}

/// There is one view of files for every process. Unverified.
#[cfg(not(target_os = "linux"))]
pub fn same_mounts(_pid: i32) -> bool {
    true
}

/// The mounts of a table (proc_pid_mountinfo(5)) as (device, root in it, mount point), sorted.
fn places(table: &str) -> Vec<[&str; 3]> {
    let mut all: Vec<[&str; 3]> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(2);
            Some([fields.next()?, fields.next()?, fields.next()?])
        })
        .filter(|[_, _, at]| {
            let below = |dir: &&str| {
                at.strip_prefix(*dir)
                    .is_some_and(|r| r.is_empty() || r.starts_with('/'))
            };
            !ASIDE.iter().any(below)
        })
        .collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::places;

    const OURS: &str =
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /sys rw - sysfs sysfs rw\n";

    #[test]
    fn a_network_namespace_s_sys_is_no_difference_and_a_mount_on_a_source_is_one() {
        let theirs = OURS.replace("0:5", "0:77");
        assert_eq!(places(OURS), places(&theirs));
        let hidden = format!("{OURS}90 21 8:1 /w/other.rs /w/src/lib.rs rw - ext4 /dev/sda1 rw\n");
        assert_ne!(places(OURS), places(&hidden));
        let beside = format!("{OURS}90 21 8:1 / /system rw - ext4 /dev/sda1 rw\n");
        assert_ne!(places(OURS), places(&beside), "/sys is not /system");
    }
}
