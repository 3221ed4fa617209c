//! The size of an expression, taken before anything parses it: bytes, words and signs, nested brackets, nested macros; and
//! where it looks. Together with the extent of a predicate that bounds what a run of it may take.
//!
//! Texts and comments are told from code as CEL tells them, so that a bracket in a text counts for nothing and one in code
//! is never missed.

use serde_json::Value;

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

/// Functions that go through a text.
const READERS: &[&str] = &["matches", "contains", "startsWith", "endsWith"];

/// The most steps of nested macros.
const MAX_STEPS: usize = 1_000_000;
/// The most bytes of text that functions may go through: well under the deadline.
const MAX_READ: usize = 500_000_000;
/// A regular expression is compiled each time that it is asked; that takes about as long as to go through so many bytes.
const COMPILED: usize = 16 * 1024;
/// The most bytes that joined texts and lists may take.
const MAX_JOINED: usize = 16 * 1024 * 1024;
/// What an entry of a list takes.
const ENTRY: usize = 64;

/// What counts of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// How deep its macros are nested.
    n_nested: usize,
    /// How many functions go through a text.
    n_reads: usize,
    /// How many signs join texts or lists; those that add numbers are not told from them.
    n_joins: usize,
    /// Whether it makes lists, which then hold what was joined, and may be joined again.
    maps: bool,
}

/// What counts of a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    /// The most entries of any list or map in it: what one macro goes through.
    list: usize,
    /// The longest text in bytes.
    text: usize,
}

impl Extent {
    /// The extent of a predicate.
    pub(super) fn of(json: &Value) -> Self {
        let over = |all: &mut dyn Iterator<Item = &Value>, own: Self| {
            all.map(Self::of)
                .fold(own, |most, one| Self { list: most.list.max(one.list), text: most.text.max(one.text) })
        };
        match json {
            Value::Array(items) => over(&mut items.iter(), Self { list: items.len(), text: 0 }),
            Value::Object(fields) => {
                let text = fields.keys().map(String::len).max().unwrap_or_default();
                over(&mut fields.values(), Self { list: fields.len(), text })
            }
            Value::String(text) => Self { list: 0, text: text.len() },
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::default(),
        }
    }
}

impl Measure {
    /// Whether an expression of this measure may be run over a predicate of that extent.
    pub(super) fn permits(self, Extent { list, text }: Extent) -> Result<(), String> {
        let Self { n_nested, n_reads, n_joins, maps } = self;
        let steps = (0..n_nested).fold(1_usize, |steps, _| steps.saturating_mul(list.max(1)));
        if MAX_STEPS < steps {
            return Err(format!("a list of {list} is too long for {n_nested} nested macros"));
        }
        let read = text.saturating_add(COMPILED).saturating_mul(n_reads).saturating_mul(steps);
        if MAX_READ < read {
            return Err(format!(
                "texts of up to {text} bytes are too long to be searched {n_reads} times for each of {steps} entries"
            ));
        }
        let joined = text.saturating_add(MAX_BYTES).max(list.saturating_mul(ENTRY));
        let joined = if n_joins == 0 {
            0
        } else if maps {
            let growth = u32::try_from(n_joins).ok().and_then(|n| 2_usize.checked_pow(n));
            joined.saturating_mul(growth.unwrap_or(usize::MAX)).saturating_mul(steps)
        } else {
            joined.saturating_mul(n_joins.saturating_add(1))
        };
        if MAX_JOINED < joined {
            return Err(format!(
                "what {n_joins} times `+` joins of texts of up to {text} bytes and lists of up to {list} may take more than {} MiB",
                MAX_JOINED / 1024 / 1024
            ));
        }
        Ok(())
    }
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
    let parts = parts(&code);
    if MAX_PARTS < parts.len() {
        return Err(format!("{} words and signs, at most {MAX_PARTS} are allowed", parts.len()));
    }
    let count = |wanted: &dyn Fn(&str) -> bool| parts.iter().filter(|part| wanted(part)).count();
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
    Ok(Measure {
        n_nested: deepest,
        n_reads: count(&|part| READERS.contains(&part)),
        n_joins: count(&|part| part == "+"),
        maps: parts.contains(&"map"),
    })
}

/// The words and signs, in order.
fn parts(code: &str) -> Vec<&str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut parts = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let width = if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else {
            PAIRS.iter().find(|pair| rest.starts_with(**pair)).map_or(first.len_utf8(), |pair| pair.len())
        };
        let (part, behind) = rest.split_at_checked(width).unwrap_or((rest, ""));
        parts.push(part);
        rest = behind.trim_start();
    }
    parts
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
