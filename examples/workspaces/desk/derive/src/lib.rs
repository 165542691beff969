//! `#[derive(Describe)]`: one readable line for a plain record.
//!
//! What enters: the tokens of a struct with named fields, each of which is
//! `Display`. What leaves: an `impl ::desk_describe::Describe`, or a
//! `compile_error!` that names the trouble. It uses the compiler's own
//! `proc_macro` and nothing else, and must never read a file, the clock or the
//! environment: two desks must get the same tokens.

use proc_macro::{Delimiter, TokenStream, TokenTree};

/// Derives `desk_describe::Describe` for a struct with named fields.
#[proc_macro_derive(Describe)]
pub fn derive_describe(input: TokenStream) -> TokenStream {
    let code = match read_struct(input) {
        Ok((name, fields)) => implementation(&name, &fields),
        Err(trouble) => format!("::core::compile_error!({trouble:?});"),
    };
    code.parse()
        .expect("the generated code has balanced tokens")
}

/// The name of the struct and of its fields, in the order of the source.
fn read_struct(input: TokenStream) -> Result<(String, Vec<String>), &'static str> {
    let mut tokens = input.into_iter();
    if !tokens.any(|token| token.to_string() == "struct") {
        return Err("Describe can be derived for a struct only");
    }
    let Some(TokenTree::Ident(name)) = tokens.next() else {
        return Err("Describe found no name after `struct`");
    };
    match tokens.next() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            Ok((name.to_string(), field_names(body.stream())))
        }
        _ => Err("Describe needs named fields and no type parameters"),
    }
}

/// The last word before each `:` that stands outside of a type.
fn field_names(body: TokenStream) -> Vec<String> {
    let mut names = Vec::new();
    let mut word = String::new();
    let mut depth = 0_i32;
    let mut in_type = false;
    for token in body {
        match &token {
            TokenTree::Ident(ident) if !in_type => word = ident.to_string(),
            TokenTree::Punct(mark) => match mark.as_char() {
                ':' if !in_type => {
                    names.push(word.clone());
                    in_type = true;
                }
                '<' => depth += 1,
                '>' => depth -= 1,
                ',' if depth == 0 => in_type = false,
                _ => {}
            },
            _ => {}
        }
    }
    names
}

/// The source of the implementation.
fn implementation(name: &str, fields: &[String]) -> String {
    let list: String = fields.iter().map(|f| format!("{f:?},")).collect();
    let body: String = fields
        .iter()
        .map(|f| {
            format!(
                "line.push_str(\" {f}=\"); line += &::std::string::ToString::to_string(&self.{f});"
            )
        })
        .collect();
    format!(
        "impl ::desk_describe::Describe for {name} {{
            const KIND: &'static str = {name:?};
            const FIELDS: &'static [&'static str] = &[{list}];
            fn describe(&self) -> ::std::string::String {{
                let mut line = ::std::string::String::from({name:?});
                {body}
                line
            }}
        }}"
    )
}
