//! The size of an expression, taken before anything parses it: bytes, words and signs, nested brackets, nested macros; and
//! where it looks.
//!
//! Texts and comments are told from code as CEL tells them, so that a bracket in a text counts for nothing and one in code
//! is never missed.

/// The longest expression in bytes.
pub(super) const MAX_BYTES: usize = 1024;
/// The most words and signs: an expression is never deeper than that, with no bracket in it either (`1+1+1`, `!!!true`).
pub(super) const MAX_PARTS: usize = 256;
/// The deepest brackets.
pub(super) const MAX_DEPTH: usize = 8;
/// The deepest macros: each goes through a list.
pub(super) const MAX_NESTED: usize = 2;

/// Signs of two letters, and a text whose inside was taken out.
const PAIRS: &[&str] = &["&&", "||", "==", "!=", "<=", ">=", "\"\""];

const MACROS: &[&str] = &["all", "exists", "exists_one", "existsOne", "map", "filter"];

/// What counts of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// How deep its macros are nested.
    pub(super) n_nested: usize,
}

/// Measures an expression.
pub(super) fn measure(rule: &str) -> Result<Measure, String> {
    if rule.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if MAX_BYTES < rule.len() {
        return Err(format!("{} bytes long, at most {MAX_BYTES} are allowed", rule.len()));
    }
    let code = code(rule)?;
    let n_parts = n_parts(&code);
    if MAX_PARTS < n_parts {
        return Err(format!("{n_parts} words and signs, at most {MAX_PARTS} are allowed"));
    }
    let mut open: Vec<bool> = Vec::new();
    let mut deepest = 0_usize;
    let mut word = String::new();
    let mut last = String::new();
    for letter in code.chars() {
        if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        if !word.is_empty() {
            last = std::mem::take(&mut word);
        }
        match letter {
            '(' | '[' | '{' => {
                open.push(letter == '(' && MACROS.contains(&last.as_str()));
                deepest = deepest.max(open.iter().filter(|is_macro| **is_macro).count());
            }
            ')' | ']' | '}' => {
                open.pop();
            }
            _ => {}
        }
        if MAX_DEPTH < open.len() {
            return Err(format!("brackets more than {MAX_DEPTH} deep"));
        }
        if MAX_NESTED < deepest {
            return Err(format!("macros more than {MAX_NESTED} deep"));
        }
        if !letter.is_whitespace() {
            last.clear();
        }
    }
    Ok(Measure { n_nested: deepest })
}

/// How many words and signs there are.
fn n_parts(code: &str) -> usize {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut n = 0_usize;
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        n = n.saturating_add(1);
        let width = if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else {
            PAIRS.iter().find(|pair| rest.starts_with(**pair)).map_or(first.len_utf8(), |pair| pair.len())
        };
        rest = rest.get(width..).unwrap_or_default().trim_start();
    }
    n
}

/// The expression with its texts emptied and its comments gone.
fn code(rule: &str) -> Result<String, String> {
    let letters: Vec<char> = rule.chars().collect();
    let mut code = String::new();
    let mut at = 0_usize;
    let get = |at: usize| letters.get(at).copied();
    while let Some(letter) = get(at) {
        match letter {
            '/' if get(at.saturating_add(1)) == Some('/') => {
                while get(at).is_some_and(|letter| letter != '\n') {
                    at = at.saturating_add(1);
                }
            }
            '"' | '\'' => {
                at = end_of_text(&letters, at).ok_or_else(|| "a text that does not end".to_owned())?;
                code.push_str("\"\"");
            }
            _ => {
                code.push(letter);
                at = at.saturating_add(1);
            }
        }
    }
    Ok(code)
}

/// The place behind a text that begins with a quote at `start`.
fn end_of_text(letters: &[char], start: usize) -> Option<usize> {
    let get = |at: usize| letters.get(at).copied();
    let quote = get(start)?;
    let before = |back: usize| start.checked_sub(back).and_then(get);
    // `r"…"`, `rb"…"`, `br"…"`: a backslash there is one. A word that ends in r and touches a quote is no CEL.
    let is_raw = [before(1), before(2)]
        .into_iter()
        .take_while(|letter| letter.is_some_and(|one| "rRbB".contains(one)))
        .any(|letter| letter.is_some_and(|one| "rR".contains(one)));
    let is_triple =
        get(start.saturating_add(1)) == Some(quote) && get(start.saturating_add(2)) == Some(quote);
    let width = if is_triple { 3 } else { 1 };
    let mut at = start.saturating_add(width);
    loop {
        let letter = get(at)?;
        if letter == '\\' && !is_raw {
            at = at.saturating_add(2);
            continue;
        }
        let closes = (0..width).all(|offset| get(at.saturating_add(offset)) == Some(quote));
        if closes {
            return Some(at.saturating_add(width));
        }
        if letter == '\n' && !is_triple {
            return None;
        }
        at = at.saturating_add(1);
    }
}

/// The fields of `predicate` that an expression names, in order: `predicate.a.b == "x"` gives `[a, b]`.
pub(super) fn paths(rule: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in rule.match_indices("predicate.") {
        let starts_word = !rule.get(..at).is_some_and(|before| {
            before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.')
        });
        let rest = rule.get(at.saturating_add("predicate.".len())..).unwrap_or_default();
        let length = rest
            .find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '.'))
            .unwrap_or(rest.len());
        let (text, behind) = rest.split_at(length);
        let mut names: Vec<String> =
            text.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if behind.starts_with('(') {
            // The last name is a function.
            names.pop();
        }
        if starts_word && !names.is_empty() {
            found.push(names);
        }
    }
    found
}
