//! Argo Rollouts and Flagger as a script tells them: the template is seen when they next say something, and not before.
//!
//! `deploy-argo web 3 1.0.0`, `deploy-flagger web 3 1.0.0`; `told web Paused for=10m`, `told web Degraded WORDS`,
//! `told web Progressing failed=2`, `told web Failed WORDS`. Pods are theirs and not modelled.

use jiff::Timestamp;
use rollforward_core::delegate::{Argo, Delegate, Flagger, Told};
use rollforward_core::image::{ImageRef, Tag};
use rollforward_core::workload::{Kind, Shape, Workload};

use crate::build;
use crate::native::Deployment;

/// A workload at rest that one of them rolls out.
pub fn workload(kind: &str, name: &str, replicas: i32, image: &str, now: Timestamp) -> Workload {
    let mut workload = build::workload(name, replicas, image);
    if kind == "deploy-argo" {
        workload.id.kind = Kind::Rollout;
        workload.shape = Shape::Rollout;
        workload.delegate = Some(Delegate::Argo(Box::new(Argo { name: name.to_owned(), ..Argo::default() })));
        say(&mut workload, "Healthy", &[], now);
    } else {
        let own = Flagger { name: name.to_owned(), ..Flagger::default() };
        workload.delegate = Some(Delegate::Flagger(Box::new(own)));
        say(&mut workload, "Initialized", &[], now);
    }
    workload
}

/// What the delegate says from now on.
pub fn told(deployment: &mut Deployment, phase: &str, words: &[&str], now: Timestamp) {
    say(&mut deployment.object, phase, words, now);
}

fn say(workload: &mut Workload, phase: &str, words: &[&str], now: Timestamp) {
    let (options, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains('='));
    let option = |name: &str| options.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let (image, generation, message) =
        (workload.containers[0].image.clone(), workload.generation, words.join(" "));
    let told =
        |reason: &str| Some(Told { reason: reason.to_owned(), message: message.clone(), at: Some(now) });
    match workload.delegate.as_mut().unwrap() {
        Delegate::Argo(own) => {
            own.generation = (generation, Some(generation));
            phase.clone_into(&mut own.phase);
            own.message.clone_from(&message);
            own.is_aborted = phase == "Degraded";
            own.pause = (phase == "Paused").then(|| ("CanaryPauseStep".to_owned(), Some(now)));
            own.pause_lasts = option("for").map(build::duration);
            own.step = Some((0, 2));
            own.current.clone_from(&image);
            if phase == "Healthy" {
                own.stable.clone_from(&image);
            }
            own.progressing = told(phase);
        }
        Delegate::Flagger(own) => {
            phase.clone_into(&mut own.phase);
            own.failed_checks = option("failed").map_or(0, |text| text.parse().unwrap());
            own.applied.clone_from(&image);
            if matches!(phase, "Initialized" | "Succeeded") {
                own.promoted.clone_from(&image);
            }
            own.warning = (phase == "Failed").then(|| message.clone());
            own.moved_at = Some(now);
            own.condition = told(phase);
        }
        Delegate::Unknown(_) => panic!("{phase}"),
    }
}

/// The Rollout's generation is its own at once; its status is not.
pub fn step(deployment: &mut Deployment) -> bool {
    let generation = deployment.object.generation;
    deployment.object.observed_generation = generation;
    match deployment.object.delegate.as_mut().unwrap() {
        Delegate::Argo(own) if own.generation.0 != generation => {
            own.generation.0 = generation;
            true
        }
        Delegate::Argo(_) | Delegate::Flagger(_) | Delegate::Unknown(_) => false,
    }
}

pub fn shown(deployment: &Deployment) -> String {
    let template = ImageRef::parse(deployment.image()).unwrap();
    let tag = template.tag.as_ref().map_or("untagged", Tag::as_str);
    format!("Template of {}: {tag}", deployment.object.id.name)
}
