//! What is read beside the pods once one of them has crashed: its last words, and the network policies it lives under.
//!
//! Only of the new pods of an open run, once a crash, and only where the configuration and the rights allow it; without
//! them the sentence says so. Nothing is judged here: `judge/silent.rs` of core does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rollforward_core::rollout::Run;
use rollforward_core::workload::{ContainerState, ContainerStatus, LastWords, Pod};

use super::Context;
use crate::kubernetes::logs;

/// How many crashes are remembered, so that each is read once.
const REMEMBERED: usize = 256;

/// A crash: namespace, pod, container, how often it was restarted.
type Crash = (String, String, String, i32);

/// What was read of a crash.
#[derive(Debug, Clone)]
struct Read {
    words: LastWords,
    egress: Vec<String>,
}

/// What crashed programs wrote last, read once each.
#[derive(Debug, Clone, Default)]
pub struct Words {
    known: Arc<Mutex<BTreeMap<Crash, Read>>>,
}

impl Words {
    fn of(&self, crash: &Crash) -> Option<Read> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(crash).cloned()
    }

    fn keep(&self, crash: Crash, read: Read) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if REMEMBERED <= known.len() {
            known.clear();
        }
        known.insert(crash, read);
    }
}

/// Explains the crashes of a run's new pods, as far as it may.
pub async fn crashes(ctx: &Context, run: &Run, pods: &mut [Pod]) {
    for pod in pods {
        let ours = |container: &ContainerStatus| run.containers.iter().any(|own| own.to == container.image);
        let crashed: Vec<usize> = pod
            .containers
            .iter()
            .enumerate()
            .filter(|(_, container)| ours(container) && has_crashed(container))
            .map(|(index, _)| index)
            .collect();
        for index in crashed {
            let namespace = &run.workload.namespace;
            let Some(container) = pod.containers.get(index) else { continue };
            let crash = (namespace.clone(), pod.name.clone(), container.name.clone(), container.restarts);
            let read = match ctx.words.of(&crash) {
                Some(read) => read,
                None => {
                    let read = read(ctx, namespace, pod, container).await;
                    ctx.words.keep(crash, read.clone());
                    read
                }
            };
            pod.egress_policies = read.egress;
            if let Some(container) = pod.containers.get_mut(index) {
                container.last_words = read.words;
            }
        }
    }
}

async fn read(ctx: &Context, namespace: &str, pod: &Pod, container: &ContainerStatus) -> Read {
    let words = if ctx.config.last_words {
        let previous = !matches!(container.state, ContainerState::Terminated(_));
        match logs::tail(&ctx.client, namespace, &pod.name, &container.name, previous).await {
            Ok(words) => LastWords::Known(words),
            Err(why) => LastWords::Unknown(why),
        }
    } else {
        LastWords::Unknown(
            "the operator does not read logs (`logs.lastWords` of its configuration)".to_owned(),
        )
    };
    Read { words, egress: logs::egress_policies(&ctx.client, namespace, &pod.name).await }
}

/// Ended with an error, by its own doing: what the runtime or the kernel says needs no last words.
fn has_crashed(container: &ContainerStatus) -> bool {
    let ended = match &container.state {
        ContainerState::Terminated(ended) => Some(ended),
        ContainerState::Waiting { .. } | ContainerState::Running { .. } => container.last_end.as_ref(),
    };
    ended.is_some_and(|ended| {
        ended.exit_code != 0 && !["StartError", "OOMKilled"].contains(&ended.reason.as_str())
    })
}
