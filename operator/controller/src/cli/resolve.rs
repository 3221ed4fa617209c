//! `rollforward resolve`: which tag would you choose, and why not the others. The operator's own engine, without a cluster.
//!
//! A rule comes from options or from a policy's file, tags from a file, standard input or a registry. Many questions at once,
//! as JSON lines: `resolve/batch.rs`.

mod batch;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use rollforward_api::policy::{
    Calver, Direction, Downgrade, Image, Level, Lexical, MutableTag, Numeric, Select, Semver, Tags,
    UpdatePolicy, Variant, VariantMode,
};
use rollforward_core::evidence::Answer;
use rollforward_core::image::{Repository, Tag};
use rollforward_core::reason::Reason;
use rollforward_core::select::{self, Order, Query, Rule, Selection, TagFilter};
use rollforward_core::text::clean;
use serde_json::{Value, json};

use crate::convert::policy::Faults;
use crate::convert::selection;
use crate::registry::pull_secret::Keyring;
use crate::registry::{Credential, Registry, Settings};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("rule").multiple(false), group = clap::ArgGroup::new("source").multiple(false))]
pub(crate) struct Arguments {
    /// The running tag; without it there is no floor and no variant to keep.
    #[arg(long)]
    current: Option<String>,
    /// `Patch`, `Minor` or `Major`: how far from the running version. Without any rule: `Patch`.
    #[arg(long, group = "rule")]
    level: Option<String>,
    /// A range such as `~1.4` instead.
    #[arg(long, group = "rule")]
    range: Option<String>,
    /// Dates by a format such as `YYYY.0M.0D` instead.
    #[arg(long, group = "rule", value_name = "FORMAT")]
    calver: Option<String>,
    /// Numbers instead; `Ascending` or `Descending`.
    #[arg(long, group = "rule", value_name = "ORDER", num_args = 0..=1, default_missing_value = "Ascending")]
    numeric: Option<String>,
    /// Text instead; `Ascending` or `Descending`.
    #[arg(long, group = "rule", value_name = "ORDER")]
    lexical: Option<String>,
    /// One mutable tag instead.
    #[arg(long, group = "rule", value_name = "TAG")]
    digest: Option<String>,
    /// The rule, variant and filters of an UpdatePolicy's file, as YAML, instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rule", "any_variant", "variant_pattern", "include", "exclude", "extract"])]
    policy: Option<PathBuf>,
    /// Any variant, not only the running one.
    #[arg(long, conflicts_with = "variant_pattern")]
    any_variant: bool,
    /// Only variants that this expression matches.
    #[arg(long, value_name = "REGEXP")]
    variant_pattern: Option<String>,
    /// Only tags that this expression matches.
    #[arg(long, value_name = "REGEXP")]
    include: Option<String>,
    /// No tag that this expression matches.
    #[arg(long, value_name = "REGEXP")]
    exclude: Option<String>,
    /// Orders what the group `version` of this expression matches.
    #[arg(long, value_name = "REGEXP")]
    extract: Option<String>,
    /// The tags: a file with one a line, or `-` for standard input, which is the default.
    #[arg(long, group = "source", value_name = "FILE")]
    tags: Option<String>,
    /// The tags that a registry lists for this repository, read with the credential of docker's configuration file.
    #[arg(long, group = "source", value_name = "HOST/PATH")]
    repository: Option<String>,
    /// Speaks plain http with the registry.
    #[arg(long, requires = "repository")]
    plain_http: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Reads one question a line as JSON from standard input and answers each with a line:
    /// `{"select": {...}, "variant": {...}, "tags": {...}, "current": "1.4.2", "available": ["1.4.3"]}`.
    #[arg(long, conflicts_with_all = ["rule", "source", "policy", "current", "any_variant", "variant_pattern", "include", "exclude", "extract", "output"])]
    batch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
    Yaml,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.batch {
        batch::run(&mut std::io::stdin().lock(), &mut std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let image = image(&arguments)?;
    let question = Question::of(&image, arguments.current.as_deref()).map_err(|words| anyhow!(words))?;
    let tags = match &arguments.repository {
        Some(repository) => listed(repository, arguments.plain_http).await?,
        None => read(arguments.tags.as_deref().unwrap_or("-"))?,
    };
    let selection = question.ask(&tags);
    match arguments.output {
        Output::Table => super::tell(&table(&selection)),
        Output::Json => super::tell(&format!("{}\n", as_json(&selection))),
        Output::Yaml => super::tell(&serde_saphyr::to_string(&as_json(&selection)).context("the answer")?),
    }
    Ok(ExitCode::SUCCESS)
}

/// A rule with all that goes with it, checked.
struct Question {
    rule: Rule,
    variant: select::VariantMode,
    filter: TagFilter,
    current: Option<Tag>,
    allow_downgrade: bool,
}

impl Question {
    /// Checks a question as the operator checks a policy; all faults in one sentence.
    fn of(image: &Image, current: Option<&str>) -> Result<Self, String> {
        let mut faults = Faults::default();
        let question = Self {
            rule: selection::rule(image.select.as_ref(), &mut faults).0,
            variant: selection::variant(image.variant.as_ref(), &mut faults),
            filter: selection::filter(image.tags.as_ref(), &mut faults),
            current: current.map(Tag::parse).transpose().map_err(|error| format!("current: {error}"))?,
            allow_downgrade: image.downgrade == Some(Downgrade::Allow),
        };
        if !faults.0.is_empty() {
            let words: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
            return Err(clean(&words.join("; ").replace("spec.image.", ""), 500));
        }
        let order = Order { rule: &question.rule, filter: &question.filter };
        let unknown = question.current.as_ref().filter(|tag| !order.orders(tag));
        match unknown {
            Some(tag) if !matches!(question.rule, Rule::Digest(_)) => Err(format!(
                "{}: current: expected a tag that the rule orders, got {tag}; leave it out to choose without a floor",
                Reason::CurrentVersionUnknown
            )),
            Some(_) | None => Ok(question),
        }
    }

    fn ask<'a, S: AsRef<str>>(&self, tags: &'a [S]) -> Selection<'a, S> {
        let query = Query {
            rule: &self.rule,
            variant: &self.variant,
            filter: &self.filter,
            current: self.current.as_ref(),
            floor: None,
            label: None,
            abandoned: None,
            allow_downgrade: self.allow_downgrade,
        };
        select::select(&query, tags)
    }
}

/// What the options say, as a policy would say it.
fn image(arguments: &Arguments) -> anyhow::Result<Image> {
    if let Some(path) = &arguments.policy {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read {shown}"))?;
        let policy: UpdatePolicy =
            serde_saphyr::from_str(&text).with_context(|| format!("{shown} is not an UpdatePolicy"))?;
        return Ok(policy.spec.image.unwrap_or_default());
    }
    let select = Select {
        level: arguments.level.as_deref().map(level).transpose()?,
        semver: arguments.range.clone().map(|range| Semver { range }),
        calver: arguments.calver.clone().map(|format| Calver { format }),
        numeric: order("--numeric", arguments.numeric.as_deref())?
            .map(|order| Numeric { order: Some(order) }),
        lexical: order("--lexical", arguments.lexical.as_deref())?.map(|order| Lexical { order }),
        digest: arguments.digest.clone().map(|tag| MutableTag { tag }),
    };
    let is_written = select
        != Select { level: None, semver: None, calver: None, numeric: None, lexical: None, digest: None };
    let mode = match (&arguments.variant_pattern, arguments.any_variant) {
        (Some(_), _) => VariantMode::Pattern,
        (None, true) => VariantMode::Any,
        (None, false) => VariantMode::Keep,
    };
    Ok(Image {
        select: is_written.then_some(select),
        variant: Some(Variant { mode, pattern: arguments.variant_pattern.clone() }),
        tags: Some(Tags {
            include: arguments.include.clone(),
            exclude: arguments.exclude.clone(),
            extract: arguments.extract.clone(),
        }),
        ..Image::default()
    })
}

fn level(text: &str) -> anyhow::Result<Level> {
    match text {
        "Patch" => Ok(Level::Patch),
        "Minor" => Ok(Level::Minor),
        "Major" => Ok(Level::Major),
        other => bail!("--level: expected Patch, Minor or Major, got {other:?}"),
    }
}

fn order(option: &str, text: Option<&str>) -> anyhow::Result<Option<Direction>> {
    match text {
        None => Ok(None),
        Some("Ascending") => Ok(Some(Direction::Ascending)),
        Some("Descending") => Ok(Some(Direction::Descending)),
        Some(other) => bail!("{option}: expected Ascending or Descending, got {other:?}"),
    }
}

fn read(source: &str) -> anyhow::Result<Vec<String>> {
    let mut bytes = Vec::new();
    if source == "-" {
        std::io::stdin().read_to_end(&mut bytes).context("could not read the tags from standard input")?;
    } else {
        bytes = std::fs::read(source).with_context(|| format!("could not read the tags from {source}"))?;
    }
    // What is no text is no tag either, and is told as one that is none.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// What the registry lists.
async fn listed(name: &str, plain_http: bool) -> anyhow::Result<Vec<String>> {
    let repository = Repository::parse(name).context("--repository")?;
    let plain_http = if plain_http { vec![repository.registry().to_owned()] } else { Vec::new() };
    let registry = Registry::new(Settings { plain_http, ..Settings::default() })?;
    let credential = docker_credential(&repository)?;
    match registry.tags(&repository, credential.as_ref()).await {
        Answer::Found(list) if list.complete => Ok(list.tags),
        Answer::Found(_) => bail!("{}: the listing of {repository} ended early", Reason::TagListIncomplete),
        Answer::Absent => bail!("{}: no such repository: {repository}", Reason::RepositoryNotFound),
        Answer::Unknown(unknown) => {
            bail!("{}: {}", unknown.reason, unknown.message)
        }
    }
}

/// The credential for a repository in docker's configuration file; none where there is no file or no entry.
pub(crate) fn docker_credential(repository: &Repository) -> anyhow::Result<Option<Credential>> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let Some(path) = folder.or(home).map(|folder| folder.join("config.json")) else {
        return Ok(None);
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let keyring = Keyring::from_docker_config_json(&bytes).with_context(|| path.display().to_string())?;
    Ok(keyring.credential_for(repository))
}

/// One line a name, then what the reasons mean.
fn table<S: AsRef<str>>(selection: &Selection<'_, S>) -> String {
    let rejected = selection.rejected();
    let shown = |name: &str| clean(name, 128);
    let names = selection.candidates().chain(rejected.iter().map(|(name, _)| *name));
    let width = names.map(|name| shown(name).chars().count()).max().unwrap_or(0).max("TAG".len());
    let mut text = format!("{:<width$}  RESULT\n", "TAG");
    for (index, tag) in selection.candidates().enumerate() {
        let word = if index == 0 { "selected" } else { "candidate" };
        text.push_str(&format!("{tag:<width$}  {word}\n"));
    }
    for (name, reason) in &rejected {
        text.push_str(&format!("{:<width$}  {reason}\n", shown(name)));
    }
    if selection.candidates().len() == 0 {
        text.push_str("\nNothing is selected.\n");
    }
    let groups = selection.groups();
    if !groups.is_empty() {
        text.push_str("\nLeft out:\n");
    }
    for group in groups {
        text.push_str(&format!("  {} {}: {}\n", group.count, group.reason, group.reason.meaning()));
    }
    text
}

/// The answer as data: the same shape as a line of a batch.
fn as_json<S: AsRef<str>>(selection: &Selection<'_, S>) -> Value {
    let rejected: Vec<Value> = selection
        .rejected()
        .into_iter()
        .map(|(tag, reason)| json!({"tag": tag, "code": reason.code(), "message": reason.meaning()}))
        .collect();
    let candidates: Vec<&str> = selection.candidates().collect();
    json!({
        "selected": candidates.first(),
        "candidates": candidates,
        "rejected": rejected,
        "error": null,
    })
}
