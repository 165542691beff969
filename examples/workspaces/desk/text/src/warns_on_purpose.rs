//! The one place in this workspace that makes rustc warn, on purpose.
//!
//! A cache must replay a warning as it was printed first, with this checkout's
//! paths; without one warning nobody could see that it does.

/// A heading, underlined.
pub fn banner(title: &str) -> String {
    let unused_on_purpose = title.len();
    let line = "=".repeat(title.chars().count());
    format!("{title}\n{line}\n")
}
