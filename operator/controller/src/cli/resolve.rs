//! `rollforward resolve`: which tag would you choose, and why not the others. The operator's own engine, without a cluster.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rollforward_core::image::Tag;
use rollforward_core::select::{self, Level, Query, Rule, Selection, TagFilter, VariantMode};
use rollforward_core::version::range::Range;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The running tag; without it there is no floor and no variant to keep.
    #[arg(long)]
    current: Option<String>,
    /// Patch, Minor or Major: how far from the running version.
    #[arg(long, conflicts_with = "range")]
    level: Option<String>,
    /// A range such as `~1.4` instead.
    #[arg(long)]
    range: Option<String>,
    /// Any variant, not only the running one.
    #[arg(long)]
    any_variant: bool,
    /// Only tags that this expression matches.
    #[arg(long)]
    include: Option<String>,
    /// No tag that this expression matches.
    #[arg(long)]
    exclude: Option<String>,
    /// The tags: a file with one a line, or `-` for standard input.
    #[arg(long, default_value = "-")]
    tags: String,
    /// `text` or `json`.
    #[arg(short, long, default_value = "text")]
    output: String,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let tags = read(&arguments.tags)?;
    let rule = rule(&arguments)?;
    let filter = TagFilter::parse(arguments.include.as_deref(), arguments.exclude.as_deref())?;
    let current = arguments.current.as_deref().map(Tag::parse).transpose().context("--current")?;
    let query = Query {
        rule: &rule,
        variant: if arguments.any_variant { VariantMode::Any } else { VariantMode::Keep },
        filter: &filter,
        current: current.as_ref(),
        floor: None,
        abandoned: None,
        allow_downgrade: false,
    };
    let selection = select::select(&query, tags.lines().map(str::trim).filter(|line| !line.is_empty()));
    match arguments.output.as_str() {
        "text" => super::tell(&text(&selection)),
        "json" => super::tell(&format!("{}\n", as_json(&selection))),
        other => bail!("--output: expected text or json, got {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn read(source: &str) -> anyhow::Result<String> {
    if source == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("could not read the tags from standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(source).with_context(|| format!("could not read the tags from {source}"))
}

fn rule(arguments: &Arguments) -> anyhow::Result<Rule> {
    if let Some(range) = &arguments.range {
        return Ok(Rule::Semver(Range::parse(range).context("--range")?));
    }
    Ok(Rule::Level(match arguments.level.as_deref().unwrap_or("Patch") {
        "Patch" => Level::Patch,
        "Minor" => Level::Minor,
        "Major" => Level::Major,
        other => bail!("--level: expected Patch, Minor or Major, got {other:?}"),
    }))
}

fn text(selection: &Selection) -> String {
    let mut text = String::new();
    for (index, candidate) in selection.candidates.iter().enumerate() {
        let word = if index == 0 { "selected" } else { "candidate" };
        text.push_str(&format!("{word:<10} {}\n", candidate.tag));
    }
    if selection.candidates.is_empty() {
        text.push_str("selected   none\n");
    }
    for rejected in &selection.rejected {
        text.push_str(&format!("{:<10} {:<24} {}\n", "left out", rejected.tag.as_str(), rejected.reason));
    }
    if 0 < selection.not_tags {
        text.push_str(&format!("left out   {} names that are no tags\n", selection.not_tags));
    }
    text
}

fn as_json(selection: &Selection) -> serde_json::Value {
    let rejected: Vec<_> = selection
        .rejected
        .iter()
        .map(|one| json!({"tag": one.tag.as_str(), "code": one.reason.code(), "message": one.reason.meaning()}))
        .collect();
    json!({
        "selected": selection.candidates.first().map(|best| best.tag.as_str()),
        "candidates": selection.candidates.iter().map(|one| one.tag.as_str()).collect::<Vec<_>>(),
        "rejected": rejected,
        "notTags": selection.not_tags,
    })
}
