//! Whether a crate uses a variable only to name files that it includes.
//!
//! Enters: the text of a source file. Leaves: whether every use of a variable in it stands as
//! `include!(concat!(env!("NAME"), "literal"))` or `include!(env!("NAME"))` (or `include_str!`,
//! `include_bytes!`): then its value can only name a file, which is an input by itself. Must never happen here: the answer
//! yes about a text that was not understood. So everything else that could be a use is one: the
//! name as a string literal anywhere, an `env!` whose argument could become the name, the word
//! `env` handed to a macro, a definition or an import that gives one of these macros another
//! meaning or another name.

/// Nesting of comments; rustc itself has no limit.
const MAX_COMMENT_DEPTH: usize = 64;

/// What stands in a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lexeme<'a> {
    /// An identifier or keyword, without `r#`.
    Ident(&'a str),
    /// A string literal of any kind; its value where it is plain (`"…"` without escapes, or raw).
    Text(Option<&'a str>),
    /// A character, number or lifetime.
    Other,
    /// One character of punctuation.
    Punct(u8),
}

/// How one source file uses a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VariableUse {
    /// Not at all.
    None,
    /// Only to name included files.
    IncludesOnly,
    /// Otherwise, or in a way that was not understood.
    Value,
}

/// The source of a file, taken apart. `None` where it is not one that rustc could read.
pub(super) struct Lexed<'a>(Vec<Lexeme<'a>>);

impl<'a> Lexed<'a> {
    /// Takes a text apart.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let mut lexer = Lexer { text, at: 0 };
        let mut out = Vec::new();
        while let Some(lexeme) = lexer.next_lexeme()? {
            out.push(lexeme);
        }
        Some(Self(out))
    }

    /// How the file uses the variable `name`.
    pub(super) fn uses(&self, name: &str) -> VariableUse {
        let lexemes = &self.0;
        let mut approved = Vec::new();
        for at in 0..lexemes.len() {
            if redefines(&lexemes[at..]) {
                return VariableUse::Value;
            }
            approved.extend(include_of_env(&lexemes[at..], name).map(|offset| at + offset));
        }
        if self.hands_env_to_a_macro() {
            return VariableUse::Value;
        }
        let mut seen = VariableUse::None;
        for (at, lexeme) in lexemes.iter().enumerate() {
            match lexeme {
                Lexeme::Text(Some(text)) if *text == name => {
                    if !approved.contains(&at) {
                        return VariableUse::Value;
                    }
                    seen = VariableUse::IncludesOnly;
                }
                Lexeme::Ident("env" | "option_env") if opaque_env(&lexemes[at..], name) => {
                    return VariableUse::Value;
                }
                _ => {}
            }
        }
        seen
    }

    /// Whether the bare word `env` stands among the arguments of a macro or an attribute, or in a
    /// macro's definition: what is handed a name can call it.
    fn hands_env_to_a_macro(&self) -> bool {
        let lexemes = &self.0;
        let punct = |at: Option<usize>, wanted: u8| {
            at.and_then(|at| lexemes.get(at)) == Some(&Lexeme::Punct(wanted))
        };
        let mut open: Vec<bool> = Vec::new();
        for (at, lexeme) in lexemes.iter().enumerate() {
            match lexeme {
                Lexeme::Punct(b'(' | b'[' | b'{') => {
                    let (one, two) = (at.checked_sub(1), at.checked_sub(2));
                    // `name!(`, `macro_rules! name {`, `#[`, `#![`.
                    let named = one.is_some_and(|at| matches!(lexemes[at], Lexeme::Ident(_)));
                    let begins = punct(one, b'!')
                        || named && punct(two, b'!')
                        || *lexeme == Lexeme::Punct(b'[') && punct(one, b'#');
                    open.push(begins || open.last() == Some(&true));
                }
                Lexeme::Punct(b')' | b']' | b'}') => {
                    open.pop();
                }
                Lexeme::Ident("env" | "option_env") if open.last() == Some(&true) => {
                    let called = punct(Some(at + 1), b'!');
                    let module = punct(Some(at + 1), b':') && punct(Some(at + 2), b':');
                    if !(called || module) {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }
}

const MACROS: &[&str] = &[
    "env",
    "option_env",
    "concat",
    "include",
    "include_str",
    "include_bytes",
];

/// `macro_rules! concat`, `macro concat`, `as concat`, `use other::concat`,
/// `#[macro_use] extern crate other`: the name may mean something else. `env as other`: something
/// else may mean it.
fn redefines(from: &[Lexeme<'_>]) -> bool {
    match from {
        [
            Lexeme::Ident("macro_rules"),
            Lexeme::Punct(b'!'),
            Lexeme::Ident(name),
            ..,
        ]
        | [Lexeme::Ident("macro" | "as"), Lexeme::Ident(name), ..] => MACROS.contains(name),
        [Lexeme::Ident("use"), rest @ ..] => imports(rest),
        [Lexeme::Ident(name), Lexeme::Ident("as"), ..] => MACROS.contains(name),
        [Lexeme::Ident("macro_use"), rest @ ..] => brings_macros(rest),
        _ => false,
    }
}

/// Whether what follows `use` brings in one of the names from anywhere but the standard library
/// (`std::env` is a module besides). `use<…>` of a type brings in nothing.
fn imports(after: &[Lexeme<'_>]) -> bool {
    let end = after.iter().position(|l| *l == Lexeme::Punct(b';'));
    let tree = &after[..end.unwrap_or(after.len())];
    if tree.first() == Some(&Lexeme::Punct(b'<')) {
        return false;
    }
    let mut names = tree.iter().filter_map(|lexeme| match lexeme {
        Lexeme::Ident(name) => Some(*name),
        _ => None,
    });
    match names.next() {
        Some("std" | "core" | "alloc") | None => false,
        Some(first) => MACROS.contains(&first) || names.any(|name| MACROS.contains(&name)),
    }
}

/// Whether what follows `macro_use` takes macros under these names from another crate: any, where
/// it does not say which. Before a module it only lets out what is defined in the sources.
fn brings_macros(after: &[Lexeme<'_>]) -> bool {
    let what = after
        .iter()
        .position(|l| matches!(l, Lexeme::Ident("extern" | "mod")));
    let Some(what) = what.filter(|at| after[*at] == Lexeme::Ident("extern")) else {
        return false;
    };
    let chosen = &after[..what];
    let named = |l: &Lexeme<'_>| matches!(l, Lexeme::Ident(name) if MACROS.contains(name));
    chosen.first() != Some(&Lexeme::Punct(b'(')) || chosen.iter().any(named)
}

/// `env!` or `option_env!` with anything but a plain string literal as its first argument, or
/// `concat!` of one and more where `name` does not begin so.
fn opaque_env(from: &[Lexeme<'_>], name: &str) -> bool {
    match from {
        [
            _,
            Lexeme::Punct(b'!'),
            Lexeme::Punct(b'(' | b'[' | b'{'),
            Lexeme::Ident("concat"),
            Lexeme::Punct(b'!'),
            Lexeme::Punct(b'(' | b'[' | b'{'),
            Lexeme::Text(Some(begin)),
            Lexeme::Punct(b','),
            ..,
        ] => name.starts_with(begin),
        [
            _,
            Lexeme::Punct(b'!'),
            Lexeme::Punct(b'(' | b'[' | b'{'),
            Lexeme::Text(Some(_)),
            end,
            ..,
        ] => !matches!(end, Lexeme::Punct(b')' | b']' | b'}' | b',')),
        [_, Lexeme::Punct(b'!'), ..] => true,
        _ => false,
    }
}

/// Matches `include!(concat!(env!("NAME"), "literal"…))` or `include!(env!("NAME"))` at the start.
/// Gives the offset of the literal with the variable's name.
fn include_of_env(from: &[Lexeme<'_>], name: &str) -> Option<usize> {
    let mut at = 0;
    let mut next = || {
        at += 1;
        from.get(at - 1).copied()
    };
    let mut call = |names: &[&str]| -> Option<()> {
        let Lexeme::Ident(ident) = next()? else {
            return None;
        };
        let opens = names.contains(&ident)
            && next()? == Lexeme::Punct(b'!')
            && matches!(next()?, Lexeme::Punct(b'(' | b'[' | b'{'));
        opens.then_some(())
    };
    call(&["include", "include_str", "include_bytes"])?;
    // Each macro's name, its mark and its bracket are three.
    let whole = from.get(3) == Some(&Lexeme::Ident("env"));
    if !whole {
        call(&["concat"])?;
    }
    call(&["env"])?;
    let closes = |lexeme| matches!(lexeme, Lexeme::Punct(b')' | b']' | b'}'));
    if next()? != Lexeme::Text(Some(name)) {
        return None;
    }
    let offset = if whole { 6 } else { 9 };
    // env! may have a message of its own: `env!("NAME", "not set")`.
    let mut lexeme = next()?;
    if lexeme == Lexeme::Punct(b',') {
        lexeme = next()?;
        if let Lexeme::Text(Some(_)) = lexeme {
            lexeme = next()?;
        }
    }
    if !closes(lexeme) {
        return None;
    }
    if !whole {
        // Then literals alone, at least one, up to both closing marks. One with escapes
        // (`"\\version.expr"`) is as constant as any.
        let mut literals = 0;
        loop {
            lexeme = next()?;
            if lexeme == Lexeme::Punct(b',') {
                lexeme = next()?;
                if let Lexeme::Text(_) = lexeme {
                    literals += 1;
                    continue;
                }
            }
            break;
        }
        if !closes(lexeme) || literals == 0 {
            return None;
        }
    }
    lexeme = next()?;
    if lexeme == Lexeme::Punct(b',') {
        lexeme = next()?;
    }
    closes(lexeme).then_some(offset)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next lexeme: `None` where the text is none that rustc could read, `Some(None)` at the
    /// end.
    #[expect(
        clippy::option_option,
        reason = "the outer says understood, the inner says more"
    )]
    fn next_lexeme(&mut self) -> Option<Option<Lexeme<'a>>> {
        self.skip_blank()?;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Some(None);
        };
        let lexeme = match first {
            '"' => self.quoted(0)?,
            '\'' => self.quote()?,
            c if c == '_' || c.is_ascii_alphabetic() || !c.is_ascii() => self.word()?,
            c if c.is_ascii_digit() => {
                // A suffix belongs to the number; a dot may part it, which changes nothing here.
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                self.at += end.unwrap_or(rest.len());
                Lexeme::Other
            }
            c => {
                self.at += c.len_utf8();
                Lexeme::Punct(c as u8)
            }
        };
        Some(Some(lexeme))
    }

    /// Skips white space and comments, doc comments too: what they hold is no code.
    fn skip_blank(&mut self) -> Option<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(is_blank);
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment(trimmed)?;
            } else {
                return Some(());
            }
        }
    }

    /// A plain string that begins `skip` bytes from here.
    fn quoted(&mut self, skip: usize) -> Option<Lexeme<'a>> {
        let body = &self.rest()[skip + 1..];
        let mut escaped = false;
        let mut plain = true;
        for (i, b) in body.bytes().enumerate() {
            match b {
                _ if escaped => escaped = false,
                b'\\' => {
                    escaped = true;
                    plain = false;
                }
                b'"' => {
                    self.at += skip + 1 + i + 1;
                    return Some(Lexeme::Text(plain.then_some(&body[..i])));
                }
                _ => {}
            }
        }
        None
    }

    /// A raw string whose hashes begin `skip` bytes from here.
    fn raw(&mut self, skip: usize) -> Option<Lexeme<'a>> {
        let rest = &self.rest()[skip..];
        let hashes = rest.bytes().take_while(|b| *b == b'#').count();
        let body = rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &rest[..hashes]);
        let length = body.find(&end)?;
        self.at += skip + hashes + 1 + length + end.len();
        Some(Lexeme::Text(Some(&body[..length])))
    }

    /// A character or a lifetime.
    fn quote(&mut self) -> Option<Lexeme<'a>> {
        let body = &self.rest()[1..];
        let mut chars = body.char_indices();
        let (_, first) = chars.next()?;
        if first == '\\' {
            // The escaped character is never the end; `\u{…}` and `\x7f` hold no quote.
            let after = chars.next()?.0;
            let end = body[after + 1..].find('\'')?;
            self.at += 1 + after + 1 + end + 1;
            return Some(Lexeme::Other);
        }
        if let Some((i, '\'')) = chars.next() {
            self.at += 1 + i + 1;
            return Some(Lexeme::Other);
        }
        // A lifetime: its name is read as a word of no meaning.
        let end = body
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .unwrap_or(body.len());
        self.at += 1 + end;
        Some(Lexeme::Other)
    }

    /// An identifier, a raw one, or the prefix of a literal.
    fn word(&mut self) -> Option<Lexeme<'a>> {
        let rest = self.rest();
        // Beyond ASCII everything but white space counts: a wrong identifier is none of ours.
        let end =
            rest.find(|c: char| c != '_' && !c.is_alphanumeric() && (c.is_ascii() || is_blank(c)));
        let word = &rest[..end.unwrap_or(rest.len())];
        let after = &rest[word.len()..];
        match word {
            "b" | "c" if after.starts_with('"') => return self.quoted(1),
            "b" if after.starts_with('\'') => {
                self.at += 1;
                return self.quote();
            }
            "r" | "br" | "cr" if after.starts_with('"') => return self.raw(word.len()),
            "r" | "br" | "cr" if after.starts_with('#') => {
                if after.trim_start_matches('#').starts_with('"') {
                    return self.raw(word.len());
                }
                if word == "r" {
                    self.at += 2;
                    return self.word();
                }
            }
            _ => {}
        }
        self.at += word.len();
        // Only an identifier moves on; an empty word would not.
        (!word.is_empty()).then_some(Lexeme::Ident(word))
    }
}

/// White space to rustc: Unicode's, and the two marks of direction.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{200e}' || c == '\u{200f}'
}

/// Length of the comment at the start, comments inside it included.
fn comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
        if depth > MAX_COMMENT_DEPTH {
            return None;
        }
    }
    None
}

#[cfg(test)]
#[path = "env_use_tests.rs"]
mod tests;
