//! CEL rules over a predicate: one answer a rule, as data.
//!
//! The interpreter has no cost limit and overflows the stack on deep or long expressions. So an expression is measured before
//! it is parsed, a list in the predicate is measured before macros run over it, and both are done on a thread with a stack of
//! its own and a deadline. A rule sees `predicate` and `predicateType`; it answers true or false and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use cel::objects::{Key, Map};
use cel::{Context, Program, Value as Cel};
use rollforward_core::evidence::RuleAnswer;
use rollforward_core::text::clean;
use serde_json::Value;

mod measure;

use measure::Measure;

/// The stack on which expressions of the permitted size are parsed and run; only what is touched costs memory. A debug build
/// needs about 64 KiB for each of several sums in a row (measured), so the number of words and signs is limited too.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// For all rules over one predicate. Ordinary ones take well under a millisecond.
const DEADLINE: Duration = Duration::from_secs(2);

/// Threads that may be at it at once; one that is beyond its deadline cannot be ended and goes on counting.
const MAX_THREADS: usize = 2;

/// How often nested macros may go through the longest list of a predicate.
const MAX_STEPS: usize = 1_000_000;

static AT_IT: AtomicUsize = AtomicUsize::new(0);

/// Whether an expression is one that can be run: within the limits, and CEL.
///
/// # Errors
/// What is wrong with it, as a sentence without a full stop.
pub fn check(rule: &str) -> Result<(), String> {
    measure::measure(rule)?;
    let text = rule.to_owned();
    on_a_thread(move || Program::compile(&text).map(|_| ()).map_err(|error| not_cel(&error)))?
}

/// What is wrong with an expression; `None` also where that could not be found out in time.
#[must_use]
pub fn fault(rule: &str) -> Option<String> {
    if let Err(why) = measure::measure(rule) {
        return Some(why);
    }
    let text = rule.to_owned();
    on_a_thread(move || Program::compile(&text).err().map(|error| not_cel(&error))).ok()?
}

fn not_cel(error: &impl std::fmt::Display) -> String {
    format!("not a CEL expression: {}", clean(&error.to_string(), 150))
}

/// Runs rules over the predicate of a statement.
#[must_use]
pub fn run(statement: &[u8], rules: &[String]) -> BTreeMap<String, RuleAnswer> {
    if rules.is_empty() {
        return BTreeMap::new();
    }
    let all_fail = |why: &str| {
        let answer = RuleAnswer::Error { why: clean(why, 200) };
        rules.iter().map(|rule| (rule.clone(), answer.clone())).collect()
    };
    let statement: Value = match serde_json::from_slice(statement) {
        Ok(statement) => statement,
        Err(error) => return all_fail(&error.to_string()),
    };
    let owned = rules.to_vec();
    match on_a_thread(move || run_here(&statement, &owned)) {
        Ok(answers) => answers,
        Err(why) => all_fail(&why),
    }
}

fn run_here(statement: &Value, rules: &[String]) -> BTreeMap<String, RuleAnswer> {
    let nothing = Value::Object(serde_json::Map::new());
    let predicate = statement.get("predicate").unwrap_or(&nothing);
    let mut context = Context::default();
    context.add_variable_from_value("predicate", value(predicate));
    let kind = statement.get("predicateType").and_then(Value::as_str).unwrap_or_default();
    context.add_variable_from_value("predicateType", kind);
    let longest = longest(predicate);
    let answer = |rule: &String| answer(rule, predicate, longest, &context);
    rules.iter().map(|rule| (rule.clone(), answer(rule))).collect()
}

fn answer(rule: &str, predicate: &Value, longest: usize, context: &Context<'_, '_>) -> RuleAnswer {
    let error = |why: String| RuleAnswer::Error { why: clean(&why, 200) };
    let Measure { n_nested } = match measure::measure(rule) {
        Ok(measure) => measure,
        Err(why) => return error(why),
    };
    let steps = (0..n_nested).fold(1_usize, |steps, _| steps.saturating_mul(longest.max(1)));
    if MAX_STEPS < steps {
        return error(format!("a list of {longest} is too long for {n_nested} nested macros"));
    }
    let program = match Program::compile(rule) {
        Ok(program) => program,
        Err(why) => return error(not_cel(&why)),
    };
    match program.execute(context) {
        Ok(Cel::Bool(true)) => RuleAnswer::Holds,
        Ok(Cel::Bool(false)) => RuleAnswer::Fails { observed: observed(rule, predicate) },
        Ok(_) => error("it answered neither true nor false".to_owned()),
        Err(why) => error(why.to_string()),
    }
}

/// Does work on a thread with a large stack, and waits no longer than the deadline.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    struct Place;
    impl Drop for Place {
        fn drop(&mut self) {
            AT_IT.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let taken = AT_IT
        .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < MAX_THREADS).then(|| n.saturating_add(1)));
    if taken.is_err() {
        return Err(format!("{MAX_THREADS} other rules have not ended yet"));
    }
    let place = Place;
    let (send, receive) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("rules".to_owned()).stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || {
        let answer = work();
        // The place is free before the answer is seen: whoever asks next finds it.
        drop(place);
        let _ = send.send(answer);
    });
    spawned.map_err(|error| format!("no thread for rules: {error}"))?;
    receive.recv_timeout(DEADLINE).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => format!("it took longer than {} s", DEADLINE.as_secs()),
        mpsc::RecvTimeoutError::Disconnected => "the interpreter gave up".to_owned(),
    })
}

/// JSON as CEL sees it. Whole numbers are `int`, so that `predicate.level == 3` means what it says.
fn value(json: &Value) -> Cel {
    match json {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or(f64::NAN)), Cel::Int)
        }
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(value).collect())),
        Value::Object(fields) => {
            let map: HashMap<Key, Cel> = fields
                .iter()
                .map(|(name, field)| (Key::String(Arc::new(name.clone())), value(field)))
                .collect();
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

/// The most entries of any list, map or text in it: what one macro goes through.
fn longest(json: &Value) -> usize {
    match json {
        Value::Array(items) => items.iter().map(longest).max().unwrap_or(0).max(items.len()),
        Value::Object(fields) => fields.values().map(longest).max().unwrap_or(0).max(fields.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// What the predicate says where the rule looked: `runDetails.builder.id = "…"`, of the first three places.
fn observed(rule: &str, predicate: &Value) -> String {
    let mut said: Vec<String> = Vec::new();
    for path in measure::paths(rule) {
        let found = path.iter().try_fold(predicate, |value, name| value.get(name));
        let shown = found.map_or_else(|| "missing".to_owned(), |value| clean(&value.to_string(), 80));
        let line = format!("{} = {shown}", path.join("."));
        if !said.contains(&line) {
            said.push(line);
        }
    }
    said.truncate(3);
    if said.is_empty() { "false".to_owned() } else { clean(&said.join(", "), 200) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
