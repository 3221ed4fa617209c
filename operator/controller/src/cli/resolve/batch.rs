//! `rollforward resolve --batch`: one question a line, one answer a line, whatever the line holds.
//!
//! Nothing a line says stops the ones after it: what cannot be read or answered becomes the answer's `error`.

use std::io::{BufRead, Read as _, Write};

use anyhow::Context as _;
use rollforward_api::policy::{Image, Select, Tags, Variant};
use rollforward_core::text::clean;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Question, as_json};

/// The longest line that is read: 32 MiB hold a million tags. What is longer is skipped and answered with an error.
const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;

/// One question. `select`, `variant` and `tags` are those of a policy's `spec.image`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    select: Option<Select>,
    #[serde(default)]
    variant: Option<Variant>,
    #[serde(default)]
    tags: Option<Tags>,
    #[serde(default)]
    current: Option<String>,
    available: Vec<String>,
}

/// Answers every line until the input ends.
pub(super) fn run(input: &mut impl BufRead, output: &mut impl Write) -> anyhow::Result<()> {
    let mut line = Vec::new();
    while next(input, &mut line).context("could not read from standard input")? {
        let answer = if u64::try_from(line.len()).unwrap_or(u64::MAX) <= MAX_LINE_BYTES {
            answer(&line).unwrap_or_else(|words| refusal(&words))
        } else {
            refusal(&format!("expected a line of at most {MAX_LINE_BYTES} bytes"))
        };
        let mut text = answer.to_string();
        text.push('\n');
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        match written {
            Ok(()) => {}
            // Nobody reads on (`| head`): done.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("could not write to standard output"),
        }
    }
    Ok(())
}

/// Reads the next line without its end; one that is too long is cut, and skipped to its end. False when the input ends.
fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let most = MAX_LINE_BYTES.saturating_add(1);
    if input.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if u64::try_from(line.len()).is_ok_and(|length| length == most) {
        skip_line(input)?;
    }
    Ok(true)
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (used, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at.saturating_add(1), true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(used);
        if ended {
            return Ok(());
        }
    }
}

fn answer(line: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| format!("expected one JSON object a line: {}", clean(&error.to_string(), 200)))?;
    let question = Line::deserialize(&value).map_err(|error| {
        format!(
            "expected select, variant, tags, current and available as in the documentation: {}",
            clean(&error.to_string(), 300)
        )
    })?;
    // The policy's own objects pass over what they do not know; here a typing error must not look like an answer.
    let Line { select, variant, tags, current, available } = question;
    let known = json!({"select": select, "variant": variant, "tags": tags});
    for key in ["select", "variant", "tags"] {
        if let Some(path) =
            unknown_key(value.get(key).unwrap_or(&Value::Null), known.get(key).unwrap_or(&Value::Null))
        {
            return Err(format!("unknown key {}", clean(&format!("{key}.{path}"), 200)));
        }
    }
    let image = Image { select, variant, tags, ..Image::default() };
    let question = Question::of(&image, current.as_deref())?;
    Ok(as_json(&question.ask(&available)))
}

/// The path of a key that was written and not read.
fn unknown_key(written: &Value, known: &Value) -> Option<String> {
    let (Value::Object(written), Value::Object(known)) = (written, known) else {
        return None;
    };
    written.iter().find_map(|(key, value)| match known.get(key) {
        Some(inner) => unknown_key(value, inner).map(|path| format!("{key}.{path}")),
        // An optional one that is null reads as absent.
        None => (!value.is_null()).then(|| key.clone()),
    })
}

fn refusal(words: &str) -> Value {
    json!({"selected": null, "candidates": [], "rejected": [], "error": words})
}
