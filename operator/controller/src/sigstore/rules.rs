//! CEL rules over a predicate: one answer a rule, as data.
//!
//! The interpreter has no cost limit and overflows the stack on deep or long expressions. So an expression is measured before
//! it is parsed, the predicate is measured before it runs over that, and both are done on a thread with a stack of its own and
//! a deadline. A rule sees `predicate` and `predicateType`; it answers true or false and nothing else.
//!
//! A thread that is beyond its deadline cannot be ended. So a namespace has few places for them: who writes costly rules waits
//! for those alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use cel::objects::{Key, Map};
use cel::{Context, Program, Value as Cel};
use rollforward_core::evidence::RuleAnswer;
use rollforward_core::text::clean;
use serde_json::Value;

mod measure;

use measure::Extent;

/// The stack on which expressions of the permitted size are parsed and run; only what is touched costs memory. A debug build
/// needs about 64 KiB for each of several sums in a row (measured), so the number of words and signs is limited too.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// For all rules over one predicate. Ordinary ones take well under a millisecond.
const DEADLINE: Duration = Duration::from_secs(2);

/// How many threads may be at it at once.
const MAX_THREADS: usize = 8;

/// And of one namespace.
const MAX_THREADS_OF_ONE: usize = 2;

/// The namespaces whose rules run now, one entry a thread.
static AT_IT: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// A place has become free.
static FREE: Condvar = Condvar::new();

/// What is wrong with an expression; `None` also where that could not be found out in time.
#[must_use]
pub fn fault(namespace: &str, rule: &str) -> Option<String> {
    if let Err(why) = measure::measure(rule) {
        return Some(why);
    }
    let text = rule.to_owned();
    on_a_thread(namespace, move || Program::compile(&text).err().map(|error| not_cel(&error))).ok()?
}

fn not_cel(error: &impl std::fmt::Display) -> String {
    format!("not a CEL expression: {}", clean(&error.to_string(), 150))
}

/// Runs rules of a namespace over the predicate of a statement. Blocks for twice the deadline at most.
#[must_use]
pub fn run(namespace: &str, statement: &[u8], rules: &[String]) -> BTreeMap<String, RuleAnswer> {
    if rules.is_empty() {
        return BTreeMap::new();
    }
    let all = |answer: &RuleAnswer| rules.iter().map(|rule| (rule.clone(), answer.clone())).collect();
    let statement: Value = match serde_json::from_slice(statement) {
        Ok(statement) => statement,
        Err(error) => return all(&RuleAnswer::Error { why: clean(&error.to_string(), 200) }),
    };
    let owned = rules.to_vec();
    match on_a_thread(namespace, move || run_here(&statement, &owned)) {
        Ok(answers) => answers,
        Err(why) => all(&RuleAnswer::Unasked { why: clean(&why, 200) }),
    }
}

fn run_here(statement: &Value, rules: &[String]) -> BTreeMap<String, RuleAnswer> {
    let nothing = Value::Object(serde_json::Map::new());
    let predicate = statement.get("predicate").unwrap_or(&nothing);
    let mut context = Context::default();
    context.add_variable_from_value("predicate", value(predicate));
    let kind = statement.get("predicateType").and_then(Value::as_str).unwrap_or_default();
    context.add_variable_from_value("predicateType", kind);
    let extent = Extent::of(predicate);
    let answer = |rule: &String| answer(rule, predicate, extent, &context);
    rules.iter().map(|rule| (rule.clone(), answer(rule))).collect()
}

fn answer(rule: &str, predicate: &Value, extent: Extent, context: &Context<'_, '_>) -> RuleAnswer {
    let error = |why: String| RuleAnswer::Error { why: clean(&why, 200) };
    if let Err(why) = measure::measure(rule).and_then(|measure| measure.permits(extent)) {
        return error(why);
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

/// A place for a thread, free again when it is dropped.
struct Place {
    namespace: String,
}

impl Place {
    /// Waits for one, no longer than the deadline.
    fn take(namespace: &str) -> Option<Self> {
        let is_full = |taken: &Vec<String>| {
            MAX_THREADS <= taken.len()
                || MAX_THREADS_OF_ONE <= taken.iter().filter(|one| *one == namespace).count()
        };
        let until = Instant::now().checked_add(DEADLINE)?;
        let mut taken = AT_IT.lock().unwrap_or_else(PoisonError::into_inner);
        while is_full(&taken) {
            let left = until.checked_duration_since(Instant::now())?;
            (taken, _) = FREE.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner);
        }
        taken.push(namespace.to_owned());
        Some(Self { namespace: namespace.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = AT_IT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = taken.iter().position(|one| *one == self.namespace) {
            taken.swap_remove(at);
        }
        FREE.notify_all();
    }
}

/// Does work on a thread with a large stack, and waits no longer than the deadline for a place and as long for the answer.
fn on_a_thread<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let Some(place) = Place::take(namespace) else {
        return Err("other rules have not ended yet".to_owned());
    };
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
