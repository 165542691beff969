//! What somebody writes into one file: each is given the text, and says whether there was a place
//! for it.
//!
//! Values are few, so that a text also comes back to what it was.

use super::dice::Dice;

/// Changes one number that stands before `/*k*/`.
pub fn turn(text: &mut String, dice: &mut Dice) -> bool {
    let knobs: Vec<usize> = text.match_indices(" /*k*/").map(|(at, _)| at).collect();
    if knobs.is_empty() {
        return false;
    }
    let end = *dice.one(&knobs);
    let digits = text[..end].bytes().rev().take_while(u8::is_ascii_digit);
    let begin = end - digits.count();
    text.replace_range(begin..end, &dice.below(3).to_string());
    true
}

/// A function's body says something on stderr, once in a process: what runs it is no more what it
/// was.
pub fn speak(text: &mut String, dice: &mut Dice, n: usize) -> bool {
    let mut bodies = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let head = line.trim_start();
        let function = head.starts_with("fn ") || head.starts_with("pub") && head.contains(" fn ");
        if function && !head.contains("const fn") && line.ends_with(" {\n") {
            bodies.push(at);
        }
    }
    if bodies.is_empty() {
        return false;
    }
    let said = format!(
        "    {{ static WALK: std::sync::Once = std::sync::Once::new(); \
         WALK.call_once(|| eprintln!(\"walk {n}\")); }}\n"
    );
    text.insert_str(*dice.one(&bodies), &said);
    true
}

/// The last digit of a text in quotes becomes another one, or comes to it.
pub fn reword(text: &mut String, dice: &mut Dice) -> bool {
    let mut ends = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let head = line.trim_start();
        if !head.starts_with("//") && !head.contains("#[") {
            let quotes: Vec<usize> = line.match_indices('"').map(|(at, _)| at).collect();
            for pair in quotes.chunks_exact(2) {
                let word = |b: u8| b.is_ascii_alphanumeric() || b == b' ';
                let within = &line.as_bytes()[pair[0] + 1..pair[1]];
                if within.len() > 3 && within.iter().all(|b| word(*b)) {
                    ends.push(at + pair[1]);
                }
            }
        }
        at += line.len();
    }
    if ends.is_empty() {
        return false;
    }
    let end = *dice.one(&ends);
    let digit = dice.below(3).to_string();
    let begin = end - usize::from(text.as_bytes()[end - 1].is_ascii_digit());
    text.replace_range(begin..end, &digit);
    true
}

/// A build script says something that cargo shows.
pub fn warn(text: &mut String, dice: &mut Dice) -> bool {
    const SAYS: &str = "println!(\"cargo:warning=walk ";
    let n = dice.below(3).to_string();
    if let Some(at) = text.find(SAYS) {
        let at = at + SAYS.len();
        text.replace_range(at..=at, &n);
        return true;
    }
    let Some(main) = text.find("fn main()") else {
        return false;
    };
    let Some(body) = text[main..].find("{\n") else {
        return false;
    };
    text.insert_str(main + body + 2, &format!("    {SAYS}{n}\");\n"));
    true
}

/// A manifest's default features all go, or come back; a list in one line only.
pub fn features(manifest: &mut String) -> bool {
    const NONE: &str = "default = [] # ";
    let line = |line: &&str| line.starts_with("default = [") && line.contains(']');
    let Some(line) = manifest.lines().find(line).map(str::to_owned) else {
        return false;
    };
    let new = match line.strip_prefix(NONE) {
        Some(all) => format!("default = {all}"),
        None if line == "default = []" => return false,
        None => line.replacen("default = ", NONE, 1),
    };
    *manifest = manifest.replacen(&line, &new, 1);
    true
}

/// A package is described in other words, which its sources may read.
pub fn describe(manifest: &mut String, dice: &mut Dice) -> bool {
    let words = format!("description = \"walk {}\"", dice.below(3));
    let line = |line: &&str| line.starts_with("description");
    let old = manifest.lines().find(line).map(str::to_owned);
    match old {
        Some(line) if line.matches('"').count() == 2 && !line.contains("\"\"\"") => {
            *manifest = manifest.replacen(&line, &words, 1);
        }
        Some(_) => return false,
        None if manifest.contains("[package]\n") => {
            *manifest = manifest.replacen("[package]\n", &format!("[package]\n{words}\n"), 1);
        }
        None => return false,
    }
    true
}

/// A text in which each path through the module `old` goes through `new`.
pub fn renamed(text: &str, old: &str, new: &str) -> String {
    let path = format!("{old}::");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&path) {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let part = rest[..at].ends_with(word);
        out.push_str(&rest[..at]);
        out.push_str(if part { old } else { new });
        out.push_str("::");
        rest = &rest[at + path.len()..];
    }
    out.push_str(rest);
    out
}
