//! What both test binaries begin with: one cluster, trials side by side on it, then everything is removed.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cluster::{Cluster, Options};
use crate::keeper;

type Body = Box<dyn FnOnce(Arc<Cluster>) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> + Send>;

/// One trial: its name as a sentence, and what it does.
pub struct Named {
    name: &'static str,
    body: Body,
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
    // Two cores: more trials at once only wait for each other.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(4).min(4));
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
