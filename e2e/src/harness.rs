//! What both test binaries begin with: one cluster, trials side by side on it, then everything is removed.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use crate::cluster::{Cluster, Options};
use crate::keeper;

type Body = Box<dyn FnOnce(Arc<Cluster>) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> + Send>;

/// One trial: its name as a sentence, and what it does.
pub struct Named {
    name: &'static str,
    body: Body,
}

static MEASURED: Mutex<Vec<Value>> = Mutex::new(Vec::new());

/// Tells what a trial measured: a line of JSON now, a row of the table at the end of the run.
pub fn measured(row: Value) {
    println!("{row}");
    MEASURED.lock().expect("not poisoned").push(row);
}

/// Prints the rows that faults and good releases measured; all of them go to the file that `ROLLFORWARD_MEASURED` names.
pub fn tell_measured() {
    let rows = std::mem::take(&mut *MEASURED.lock().expect("not poisoned"));
    if let Some(file) = std::env::var_os("ROLLFORWARD_MEASURED") {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(file, text).expect("a file to write");
    }
    let word = |row: &Value, field: &str| match &row[field] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or(String::new(), |number| format!("{number:.1}")),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => "-".to_owned(),
    };
    let faults: Vec<&Value> = rows.iter().filter(|row| row["fault"].is_string()).collect();
    if faults.is_empty() {
        return;
    }
    println!(
        "{:<28} {:<12} {:<20} {:>8} {:>9} {:>5}",
        "fault", "action", "cause", "cause s", "rollback", "lost"
    );
    for row in faults {
        let word = |field| word(row, field);
        println!(
            "{:<28} {:<12} {:<20} {:>8} {:>9} {:>5}",
            word("fault"),
            word("action"),
            word("reason"),
            word("seconds_to_cause"),
            word("seconds_to_rollback"),
            row["old_pods_lost"]
        );
    }
}

impl Named {
    /// Runs it on a cluster that is there, beside no other.
    pub async fn run(self, cluster: Arc<Cluster>) -> anyhow::Result<()> {
        (self.body)(cluster).await
    }
}

/// Names a trial.
pub fn trial<F, Fut>(name: &'static str, body: F) -> Named
where
    F: FnOnce(Arc<Cluster>) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Named { name, body: Box::new(move |cluster| Box::pin(body(cluster))) }
}

/// Runs the trials that the arguments ask for. The cluster is started only if one runs.
pub fn main(options: Options, trials: Vec<Named>) -> ExitCode {
    keeper::run_if_asked();
    let mut arguments = Arguments::from_args();
    // Two cores: more trials at once only wait for each other. On nodes most of a trial is waiting for the kubelet.
    let most = if options.nodes == 0 { 4 } else { 6 };
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(most).min(most));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = Arc::new(runtime);
    let cluster: Arc<OnceLock<Result<Arc<Cluster>, String>>> = Arc::default();
    let trials = trials
        .into_iter()
        .map(|named| {
            let (runtime, cluster) = (Arc::clone(&runtime), Arc::clone(&cluster));
            Trial::test(named.name, move || {
                let started = cluster.get_or_init(|| {
                    let started = runtime.block_on(async {
                        crate::operator::binary()?;
                        let cluster = Cluster::start(options).await?;
                        crate::demo::install_kinds(&cluster)?;
                        if options.nodes > 1 {
                            // The second node is for those who name it: one may drain it without disturbing the others.
                            cluster.kubectl(&[
                                "taint",
                                "nodes",
                                "node-b",
                                "rollforward.dev/drained=:NoSchedule",
                            ])?;
                        }
                        anyhow::Ok(Arc::new(cluster))
                    });
                    started.map_err(|error| format!("{error:#}"))
                });
                let cluster = started.clone().map_err(Failed::from)?;
                runtime.block_on((named.body)(cluster)).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut failed = conclusion.has_failed();
    tell_measured();
    if let Some(Ok(shared)) = Arc::into_inner(cluster).and_then(OnceLock::into_inner) {
        match Arc::into_inner(shared).map(Cluster::stop) {
            Some(left) if left.is_empty() => {}
            Some(left) => {
                println!("left behind: {}", left.join(", "));
                failed = true;
            }
            None => println!("a trial still holds the cluster; the keeper removes it"),
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
