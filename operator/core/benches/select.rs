//! How long a list of tags takes to become ordered candidates, and how much memory, per kind of rule.
//!
//! Each line is JSON. `ratio` is the time beside sorting the same list as raw text in the same run, so that two machines can
//! be compared; `memory` is the most that was allocated above the list, beside the list's own text. Run it with
//! `cargo bench -p rollforward-core`, or `-- 1000` for one size.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark reads the clock and tells"
)]

use std::hint::black_box;
use std::time::Instant;

use peak_alloc::PeakAlloc;
use rollforward_core::image::Tag;
use rollforward_core::select::{Direction, Level, Query, Rule, TagFilter, VariantMode, select};
use rollforward_core::version::calver::Format;
use rollforward_core::version::range::Range;

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// A rule, the expression that cuts out what is ordered, the running tag, and the tag with a number.
struct Kind {
    name: &'static str,
    rule: Rule,
    extract: Option<&'static str>,
    current: &'static str,
    tag: fn(u64) -> String,
}

fn version(number: u64) -> String {
    format!("{}.{}.{}", 1 + number % 3, number / 3 % 40, number / 120)
}

fn kinds() -> Vec<Kind> {
    let kind = |name, rule, current, tag| Kind { name, rule, extract: None, current, tag };
    let extract = Some("^main-[a-f0-9]{7}-(?P<version>[0-9]+)$");
    vec![
        kind("level", Rule::Level(Level::Major), "1.0.0", version),
        kind("semver", Rule::Semver(Range::parse(">=1.0.0-0 <2 || ^3.1").unwrap()), "1.0.0", version),
        kind("semver with variants", Rule::Level(Level::Major), "1.0.0-alpine3.20", |number| {
            format!(
                "{}-{}",
                version(number),
                ["alpine3.20", "alpine3.21", "slim", "rc.1"][number as usize % 4]
            )
        }),
        kind("calver", Rule::Calver(Format::parse("YYYY.0M.0D-N").unwrap()), "2000.01.01-1", |number| {
            format!("{}.{:02}.{:02}-{}", 2000 + number % 30, 1 + number % 12, 1 + number % 28, number / 30)
        }),
        kind("numeric", Rule::Numeric(Direction::Ascending), "1", |number| {
            format!("{}", 1_700_000_000_000_000_u64 + number * 7_919)
        }),
        kind("lexical", Rule::Lexical(Direction::Ascending), "nightly-0", |number| {
            format!("nightly-{:08x}", number * 2_654_435_761 % 4_294_967_296)
        }),
        Kind {
            name: "numeric, extracted",
            rule: Rule::Numeric(Direction::Ascending),
            extract,
            current: "main-0000000-1",
            tag: |number| format!("main-{:07x}-{}", number * 7_919 % 268_435_456, 1_700_000_000 + number),
        },
        kind("digest", Rule::Digest(Tag::parse("latest").unwrap()), "latest", version),
    ]
}

/// The list in an order that is none.
fn list(count: u64, tag: fn(u64) -> String) -> Vec<String> {
    // A step without a common factor with any count that is a power of ten visits every number once.
    (0..count).map(|at| tag(at * 7_919 % count)).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn milliseconds(runs: usize, mut work: impl FnMut()) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64() * 1_000.0
    };
    median((0..runs).map(|_| time(&mut work)).collect())
}

fn measure(kind: &Kind, count: u64) {
    let tags = list(count, kind.tag);
    let text_bytes: usize = tags.iter().map(String::len).sum();
    let filter = TagFilter::parse(None, None, kind.extract).unwrap();
    let current = Tag::parse(kind.current).unwrap();
    let query = Query {
        rule: &kind.rule,
        variant: &VariantMode::Keep,
        filter: &filter,
        current: Some(&current),
        floor: None,
        label: None,
        abandoned: None,
        allow_downgrade: false,
    };
    let runs = if count < 1_000_000 { 9 } else { 3 };
    let candidates = select(&query, &tags).candidates().len();
    let before = PEAK.current_usage();
    PEAK.reset_peak_usage();
    drop(black_box(select(&query, &tags).shortlist()));
    let bytes = PEAK.peak_usage().saturating_sub(before);
    let select_ms = milliseconds(runs, || drop(black_box(select(&query, &tags).shortlist())));
    let sort_ms = milliseconds(runs, || {
        let mut raw: Vec<&str> = tags.iter().map(String::as_str).collect();
        raw.sort_unstable();
        black_box(raw);
    });
    println!(
        "{{\"rule\":\"{}\",\"tags\":{count},\"candidates\":{candidates},\"ms\":{select_ms:.3},\"sort_ms\":{sort_ms:.3},\
         \"ratio\":{:.2},\"peak_bytes\":{bytes},\"text_bytes\":{text_bytes},\"memory\":{:.2}}}",
        kind.name,
        select_ms / sort_ms,
        bytes as f64 / text_bytes as f64,
    );
}

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let counts = if asked.is_empty() { vec![1_000, 100_000, 1_000_000] } else { asked };
    for kind in kinds() {
        for count in &counts {
            measure(&kind, *count);
        }
    }
}
