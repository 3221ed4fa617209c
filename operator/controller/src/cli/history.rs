//! `rollforward history`: the runs of a policy or of a namespace, newest first: what started them, how they ended and why, how
//! long they took, who had a hand in them.

use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use rollforward_api::run::{Next, UpdateRun, Write};
use rollforward_core::text;
use serde::Serialize;

use super::written::{coming, written};
use crate::clock;
use crate::kubernetes::store;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The policy; without it every run of the namespace.
    policy: Option<String>,
    /// The namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Under each run of the table also every write with what stood there before, and what comes next.
    #[arg(long)]
    writes: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    Table,
    Json,
    Yaml,
}

/// One run, as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    run: String,
    policy: String,
    workload: String,
    from: String,
    to: String,
    digest: String,
    trigger: String,
    phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    opened_at: String,
    duration_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
    writes: Vec<Write>,
    /// Each as `abort alice`.
    who: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let namespace = super::namespace(arguments.namespace, &client);
    let mut runs = match &arguments.policy {
        Some(policy) => store::runs_of(&client, &namespace, policy).await?,
        None => {
            let api = Api::<UpdateRun>::namespaced(client, &namespace);
            api.list(&ListParams::default()).await.context("could not list the UpdateRuns")?.items
        }
    };
    runs.sort_by_key(|run| std::cmp::Reverse(run.creation_timestamp()));
    let now = clock::now();
    let rows: Vec<Row> = runs.iter().map(|run| row(run, now)).collect();
    match arguments.output {
        Output::Json => super::tell(&(serde_json::to_string_pretty(&rows).context("the history")? + "\n")),
        Output::Yaml => super::tell(&serde_saphyr::to_string(&rows).context("the history")?),
        Output::Table if rows.is_empty() => {
            super::tell_error(&format!("no runs in namespace {namespace}\n"));
        }
        Output::Table => super::tell(&table(&rows, arguments.writes)),
    }
    Ok(ExitCode::SUCCESS)
}

fn row(run: &UpdateRun, now: Timestamp) -> Row {
    let spec = &run.spec;
    let status = run.status.clone().unwrap_or_default();
    let opened = run.creation_timestamp().map_or(now, |at| at.0);
    let ended = status.finished_at.as_ref().map_or(now, |at| at.0);
    let who = status.levers.iter().flatten().map(|lever| format!("{} {}", lever.verb, lever.by));
    Row {
        run: run.name_any(),
        policy: spec.policy.name.clone(),
        workload: format!("{}/{}", spec.workload.kind, spec.workload.name),
        from: spec.from_tag.clone().unwrap_or_else(|| "untagged".to_owned()),
        to: spec.to_tag.clone(),
        digest: spec.to_digest.clone(),
        trigger: spec.trigger.reason.clone(),
        phase: status.phase.unwrap_or_else(|| "Preparing".to_owned()),
        verdict: status.result.map(|result| result.reason),
        cause: status.cause.map(|cause| format!("{}: {}", cause.reason, cause.observed)),
        opened_at: convert_instant(opened),
        duration_seconds: ended.duration_since(opened).as_secs().max(0),
        next: status.next,
        writes: status.writes.unwrap_or_default(),
        who: who.collect(),
    }
}

fn convert_instant(at: Timestamp) -> String {
    crate::convert::time(at).0.to_string()
}

/// Columns by their longest cell; foreign text is made safe for a terminal and cut.
fn table(rows: &[Row], with_writes: bool) -> String {
    let header =
        ["RUN", "WORKLOAD", "FROM", "TO", "PHASE", "VERDICT", "NEXT", "DURATION", "WHO", "OPENED", "CAUSE"];
    let mut lines: Vec<Vec<String>> = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| {
        let shown = |text: Option<&str>| text::clean(text.unwrap_or("-"), 120);
        let who = row.who.join(", ");
        vec![
            row.run.clone(),
            shown(Some(&row.workload)),
            shown(Some(&row.from)),
            shown(Some(&row.to)),
            shown(Some(&row.phase)),
            shown(row.verdict.as_deref()),
            shown(row.next.as_ref().map(|next| next.action.as_str())),
            text::span(jiff::SignedDuration::from_secs(row.duration_seconds)),
            shown(Some(who.as_str()).filter(|who| !who.is_empty())),
            row.opened_at.clone(),
            shown(row.cause.as_deref()),
        ]
    }));
    let widths: Vec<usize> = (0..header.len())
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let print = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let told = |row: &Row| -> Vec<String> {
        let writes = row.writes.iter().flat_map(|write| written("  write ", write));
        let next = row.next.iter().map(|next| format!("  next  {}", coming(next)));
        let lines = writes.chain(next).filter(|_| with_writes);
        lines.map(|line| text::printable(&line, 1200) + "\n").collect()
    };
    let below = std::iter::once(Vec::new()).chain(rows.iter().map(told));
    lines.iter().zip(below).flat_map(|(line, below)| std::iter::once(print(line)).chain(below)).collect()
}
