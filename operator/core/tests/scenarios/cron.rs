//! The native CronJob and Job controllers as a pure model: one run an hour, Forbid, no second attempt, a short history.
//!
//! A run ends two seconds after it began, as its image does; one whose image is missing stays, and Forbid then starts no other,
//! until somebody ends it. What it shares with the other kinds: `native.rs`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::workload::{ContainerState, CronJob, Job, JobEnd, Pod, Revision, Shape};

use crate::build;
use crate::kubelet::{Behaviour, SimPod};
use crate::native::{Deployment, Pull};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const RUN: SignedDuration = SignedDuration::from_secs(2);

fn own(workload: &Deployment) -> &CronJob {
    workload.object.cron_job().unwrap()
}

fn own_mut(workload: &mut Deployment) -> &mut CronJob {
    match &mut workload.object.shape {
        Shape::CronJob(own) => own,
        other => panic!("a CronJob, got {other:?}"),
    }
}

/// When something happens next by itself.
pub fn next_event(workload: &Deployment, now: Timestamp) -> Option<Timestamp> {
    let ends =
        own(workload).jobs.iter().filter(|job| job.end == JobEnd::Active).map(|job| job.created_at + RUN);
    ends.chain([workload.next_run]).filter(|at| now < *at).min()
}

pub fn revisions(workload: &Deployment) -> Vec<Revision> {
    let one = |job: &Job| build::revision(&job.name, 0, &job.images[build::CONTAINER], 1);
    own(workload).jobs.iter().map(one).collect()
}

/// The pods as the apiserver shows them: of an ended run with its exit code.
pub fn pods(workload: &Deployment) -> Vec<Pod> {
    let shown = |pod: &SimPod| {
        let mut shown = pod.shown();
        let job = own(workload).jobs.iter().find(|job| job.name == pod.owner).unwrap();
        let code = pod.exit_code();
        if let (Some(code), true) = (code, job.end != JobEnd::Active) {
            let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
            phase.clone_into(&mut shown.phase);
            let ended = build::ended(code, reason, "", job.created_at + RUN);
            shown.containers[0].state = ContainerState::Terminated(ended);
            (shown.ready_since, shown.containers[0].last_end) = (None, None);
        }
        shown
    };
    workload.pods.iter().map(shown).collect()
}

/// Lets runs begin and end; tells whether anything changed.
pub fn step(workload: &mut Deployment, now: Timestamp, pull: Pull<'_>) -> bool {
    let mut moved = false;
    let codes: BTreeMap<String, Option<i32>> =
        workload.pods.iter().map(|pod| (pod.owner.clone(), pod.exit_code())).collect();
    for job in own_mut(workload).jobs.iter_mut().filter(|job| job.end == JobEnd::Active) {
        let code = codes.get(&job.name).copied().flatten();
        let end = match code {
            _ if job.is_ending() => JobEnd::Failed("DeadlineExceeded".to_owned()),
            Some(0) if job.created_at + RUN <= now => JobEnd::Complete,
            Some(_) if job.created_at + RUN <= now => JobEnd::Failed("BackoffLimitExceeded".to_owned()),
            Some(_) | None => continue,
        };
        job.end = end;
        moved = true;
    }
    while workload.next_run <= now {
        workload.next_run += HOUR;
        let is_busy = own(workload).jobs.iter().any(|job| job.end == JobEnd::Active);
        if !is_busy && !own(workload).is_suspended {
            begin(workload, now);
            moved = true;
        }
    }
    moved |= make(workload, now, pull);
    forget(workload);
    moved
}

fn begin(workload: &mut Deployment, now: Timestamp) {
    let image = workload.image().to_owned();
    let name = format!("{}-{}", workload.object.id.name, now.as_second() / 60);
    own_mut(workload).jobs.push(Job {
        uid: format!("uid-{name}"),
        name,
        created_at: now,
        images: BTreeMap::from([(build::CONTAINER.to_owned(), image)]),
        active_deadline_seconds: None,
        denied: None,
        end: JobEnd::Active,
    });
}

/// The Job controller makes the pod of a run; where a quota is full it says so and tries again.
fn make(workload: &mut Deployment, now: Timestamp, pull: Pull<'_>) -> bool {
    let pods: Vec<String> = workload.pods.iter().map(|pod| pod.owner.clone()).collect();
    let is_full = workload.quota.is_some();
    let waits = |job: &&mut Job| job.end == JobEnd::Active && !job.is_ending() && !pods.contains(&job.name);
    let (mut made, mut moved) = (Vec::new(), false);
    for job in own_mut(workload).jobs.iter_mut().filter(waits) {
        let denied = is_full.then(|| {
            format!("Error creating: pods \"{}-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=8, limited: pods=8", job.name)
        });
        moved |= denied != job.denied;
        if denied.is_none() {
            made.push((job.name.clone(), job.images[build::CONTAINER].clone()));
        }
        job.denied = denied;
    }
    moved |= !made.is_empty();
    for (name, image) in made {
        let pulled = pull(&image);
        let place = (format!("{name}-pod"), name, "node-a".to_owned());
        workload.pods.push(SimPod::new(place, image, pulled, now));
    }
    moved
}

/// successfulJobsHistoryLimit 3, failedJobsHistoryLimit 1.
fn forget(workload: &mut Deployment) {
    let (mut successes, mut failures) = (0, 0);
    let own = own_mut(workload);
    let mut kept: Vec<Job> = Vec::new();
    for job in own.jobs.drain(..).rev() {
        let keep = match job.end {
            JobEnd::Active => true,
            JobEnd::Complete => {
                successes += 1;
                successes <= 3
            }
            JobEnd::Failed(_) => {
                failures += 1;
                failures <= 1
            }
        };
        if keep {
            kept.push(job);
        }
    }
    kept.reverse();
    own.jobs = kept;
    let names: Vec<String> = own.jobs.iter().map(|job| job.name.clone()).collect();
    workload.pods.retain(|pod| names.contains(&pod.owner));
}

/// A good image ends with 0; one that is missing or names no program never starts.
pub fn exit_code(behaviour: &Behaviour) -> Option<i32> {
    match behaviour {
        Behaviour::Good(_) => Some(0),
        Behaviour::Crash(code, _) => Some(*code),
        Behaviour::Oom => Some(137),
        Behaviour::NeverReady | Behaviour::Missing | Behaviour::NoCommand => None,
    }
}

/// `activeDeadlineSeconds: 1`.
pub fn end(workload: &mut Deployment, name: &str, uid: &str) {
    let jobs = &mut own_mut(workload).jobs;
    jobs.iter_mut()
        .filter(|job| job.name == name && job.uid == uid)
        .for_each(|job| job.active_deadline_seconds = Some(1));
}
