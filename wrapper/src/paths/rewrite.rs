//! Replacing paths inside texts, token by token.
//!
//! Enters: what a compiler wrote (plain lines and JSON lines) and a table of replacements.
//! Leaves: the text with every table entry replaced where it stands as a path of its own: at the
//! start of a token, and ending at a component's end. Must never happen here: a replacement in
//! the middle of a name (`/home/a/ws` in `/home/a/ws-old`), a broken JSON string.

/// One replacement, in the form for plain lines and in the form for JSON strings.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    plain: (Vec<u8>, Vec<u8>),
    json: (Vec<u8>, Vec<u8>),
}

impl Rule {
    /// Replaces the path `from` (absolute, without a trailing slash) by `to`.
    pub(super) fn new(from: &str, to: &str) -> Self {
        Self {
            plain: (from.into(), to.into()),
            json: (json_escaped(from).into(), json_escaped(to).into()),
        }
    }
}

/// Applies the first rule that fits at each place; so rules come longest first.
pub(super) fn rewrite(text: &[u8], rules: &[Rule]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    for line in text.split_inclusive(|b| *b == b'\n') {
        let json = line.first() == Some(&b'{');
        let mut done = 0;
        for at in memchr::memchr_iter(b'/', line) {
            if at < done || !starts_token(&line[..at]) {
                continue;
            }
            let hit = rules
                .iter()
                .map(|r| if json { &r.json } else { &r.plain })
                .find(|(from, _)| {
                    line[at..].starts_with(from) && ends_component(&line[at + from.len()..], json)
                });
            if let Some((from, to)) = hit {
                out.extend_from_slice(&line[done..at]);
                out.extend_from_slice(to);
                done = at + from.len();
            }
        }
        out.extend_from_slice(&line[done..]);
    }
    out
}

/// Whether a byte can be part of a file's name next to a path without any mark between them.
pub(super) fn joins_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_-.+~@%".contains(&b) || b >= 0x80
}

/// Whether a path that begins after `before` begins a token.
fn starts_token(before: &[u8]) -> bool {
    let Some(&last) = before.last() else {
        return true;
    };
    if last == b'/' || last == b'\\' {
        return false;
    }
    !joins_name(last) || ends_with_colour(before) || ends_with_json_escape(before)
}

/// `ESC [ 0 m`, raw or as JSON writes it: what a rendered message has before a path.
fn ends_with_colour(before: &[u8]) -> bool {
    let Some(rest) = before.strip_suffix(b"m") else {
        return false;
    };
    let digits = rest
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_digit() || **b == b';')
        .count();
    let rest = &rest[..rest.len() - digits];
    rest.ends_with(b"\x1b[") || rest.ends_with(b"\\u001b[")
}

/// `\n` and the like, or `\u001f`, with a backslash that is not itself escaped.
fn ends_with_json_escape(before: &[u8]) -> bool {
    let escaped_by = |upto: usize| {
        before[..upto]
            .iter()
            .rev()
            .take_while(|b| **b == b'\\')
            .count()
            % 2
            == 1
    };
    let n = before.len();
    if b"nrtbf".contains(&before[n - 1]) && escaped_by(n - 1) {
        return true;
    }
    n >= 6
        && before[n - 5] == b'u'
        && before[n - 4..].iter().all(u8::is_ascii_hexdigit)
        && escaped_by(n - 5)
}

/// Whether a path that ends before `after` ends with a whole component.
fn ends_component(after: &[u8], json: bool) -> bool {
    match after.first() {
        None => true,
        Some(b'\\') => json && after.get(1) != Some(&b'\\'),
        Some(b) => !joins_name(*b),
    }
}

/// The inside of the JSON string of `text`, as rustc's own writer (serde_json) escapes it.
fn json_escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}
