//! Who else keeps a workload's image: a GitOps controller, or a specialist for rollouts. Neither is ever fought.
//!
//! Told by the object alone: by the managers of its image fields, by the labels and annotations that those tools leave, and by
//! its owner. A person's `kubectl set image` takes the field from its manager until the tool puts it back, so the mark counts
//! by itself; a tool that is told to leave the object alone does not keep it.

use crate::decide::{Hold, Standing};
use crate::image::{Digest, Tag};
use crate::policy::Track;
use crate::reason::Reason;
use crate::text;
use crate::workload::Kind;

/// Who keeps a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// A controller that applies what is in Git: its name, and the object that it applies for, where that is told.
    Git(String, Option<String>),
    /// A controller for rollouts: its name and its object, `Rollout/web`.
    Rollouts(String, String),
}

/// What an object tells of who keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// The managers of the image fields, the newest last.
    pub image_managers: Vec<String>,
    /// Its labels and annotations, as (key, value).
    pub marks: Vec<(String, String)>,
    /// Its controlling owner, as (group, kind, name).
    pub owner: Option<(String, String, String)>,
}

/// Managers of fields by which GitOps controllers write.
const GIT_MANAGERS: &[(&str, &str)] = &[
    ("kustomize-controller", "Flux"),
    ("helm-controller", "Flux"),
    ("argocd-controller", "Argo CD"),
    ("argocd-application-controller", "Argo CD"),
    ("fleetagent", "Fleet"),
    ("fleet-agent", "Fleet"),
    ("configsync", "Config Sync"),
];

/// Labels and annotations that name the object for which they apply.
const GIT_MARKS: &[(&str, &str, &str)] = &[
    ("kustomize.toolkit.fluxcd.io/name", "Flux", "Kustomization"),
    ("helm.toolkit.fluxcd.io/name", "Flux", "HelmRelease"),
    ("argocd.argoproj.io/tracking-id", "Argo CD", "Application"),
    ("argocd.argoproj.io/instance", "Argo CD", "Application"),
];

/// What tells a GitOps controller to leave an object alone once it is there.
const LEFT_ALONE: &[(&str, &str)] = &[
    ("kustomize.toolkit.fluxcd.io/reconcile", "disabled"),
    ("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent"),
    ("kustomize.toolkit.fluxcd.io/ssa", "Ignore"),
    ("helm.toolkit.fluxcd.io/driftDetection", "disabled"),
];

/// Who keeps the workload, by its traces.
#[must_use]
pub fn keeper(traces: &Traces) -> Option<Keeper> {
    rollouts(traces).or_else(|| git(traces))
}

fn rollouts(traces: &Traces) -> Option<Keeper> {
    let (group, kind, name) = traces.owner.as_ref()?;
    let who = match (group.as_str(), kind.as_str()) {
        ("argoproj.io", "Rollout") => "Argo Rollouts",
        // Flagger owns the copy that serves, `web-primary`; what it copies from is the target.
        ("flagger.app", "Canary") => "Flagger",
        _ => return None,
    };
    Some(Keeper::Rollouts(who.to_owned(), format!("{kind}/{name}")))
}

fn git(traces: &Traces) -> Option<Keeper> {
    let is = |key: &str, value: &str| traces.marks.iter().any(|(known, said)| known == key && said == value);
    if LEFT_ALONE.iter().any(|(key, value)| is(key, value)) {
        return None;
    }
    let of_manager = |name: &String| {
        let known = GIT_MANAGERS.iter().find(|(manager, _)| name == manager)?;
        Some(known.1)
    };
    let mark = GIT_MARKS.iter().find_map(|(key, who, kind)| {
        let value = &traces.marks.iter().find(|(known, _)| known == key)?.1;
        // Argo CD's tracking id is `application:group/kind:namespace/name`.
        let name = value.split(':').next().unwrap_or(value);
        Some((*who, format!("{kind} {}", text::clean(name, 100))))
    });
    if let Some(who) = traces.image_managers.iter().find_map(of_manager) {
        let object = mark.filter(|(known, _)| *known == who).map(|(_, object)| object);
        return Some(Keeper::Git(who.to_owned(), object));
    }
    let (who, object) = mark?;
    Some(Keeper::Git(who.to_owned(), Some(object)))
}

/// The hold of a candidate that only its keeper may write, with the exact change.
#[must_use]
pub fn hold(track: &Track, tag: &Tag, digest: &Digest) -> Option<Hold> {
    let keeper = track.workload.keeper.as_ref()?;
    let template = match track.workload.id.kind {
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::Rollout => "spec.template",
        Kind::CronJob => "spec.jobTemplate.spec.template",
    };
    let changes: Vec<String> = track
        .containers
        .iter()
        .map(|(container, image)| {
            let list = if container.init { "initContainers" } else { "containers" };
            format!(
                "{template}.spec.{list}[name={}].image: {} -> {}",
                container.name,
                container.image,
                image.pinned(tag, digest)
            )
        })
        .collect();
    let id = &track.workload.id;
    let hold = match keeper {
        Keeper::Git(who, object) => Hold::new(Reason::ManagedByGitOps, Standing::Waits)
            .expected("an image field that nobody keeps in Git")
            .observed(format!(
                "{}/{} kept by {who}{}",
                id.kind.name(),
                id.name,
                object.as_ref().map_or_else(String::new, |object| format!(" ({object})"))
            ))
            .hint(format!("Change it there: {}", changes.join("; "))),
        Keeper::Rollouts(who, object) => Hold::new(Reason::ManagedByRollouts, Standing::Waits)
            .expected("a workload that is rolled out by its own controller")
            .observed(format!("{}/{} kept by {who} ({object})", id.kind.name(), id.name))
            .hint(match copied_from(&id.name, object) {
                Some(source) => format!(
                    "Name Deployment/{source} as the target: {who} copies it to this one once it has passed"
                ),
                None => format!("Change the image at {object}: {}", changes.join("; ")),
            }),
    };
    Some(hold.about(tag, Some(digest)))
}

/// The Deployment that Flagger copies to this one, `web-primary`.
fn copied_from<'a>(name: &'a str, object: &str) -> Option<&'a str> {
    name.strip_suffix("-primary").filter(|_| object.starts_with("Canary/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row is the managers of the image, marks as `key=value`, and the owner as `group/kind/name`.
    fn check(image: &str, marks: &str, owner: &str, expected: Option<&str>) {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let pair = |text: String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut owner = owner.split('/').map(str::to_owned);
        let traces = Traces {
            image_managers: words(image),
            marks: words(marks).into_iter().filter_map(pair).collect(),
            owner: owner
                .next()
                .zip(owner.next())
                .zip(owner.next())
                .map(|((one, two), three)| (one, two, three)),
        };
        let told = keeper(&traces).map(|keeper| match keeper {
            Keeper::Git(who, object) => format!("{who} {}", object.unwrap_or_default()),
            Keeper::Rollouts(who, object) => format!("{who} {object}"),
        });
        assert_eq!(told.as_deref().map(str::trim), expected, "{image} | {marks}");
    }

    #[test]
    fn an_image_belongs_to_who_writes_it_from_git() {
        check("kubectl-client-side-apply", "", "", None);
        check("helm rollforward", "app.kubernetes.io/managed-by=Helm", "", None);
        check("kustomize-controller", "", "", Some("Flux"));
        let flux = "kustomize.toolkit.fluxcd.io/name=apps kustomize.toolkit.fluxcd.io/namespace=flux-system";
        check("kustomize-controller", flux, "", Some("Flux Kustomization apps"));
        check("helm-controller", "helm.toolkit.fluxcd.io/name=web", "", Some("Flux HelmRelease web"));
        let argo = "argocd.argoproj.io/tracking-id=shop:apps/Deployment:shop/web";
        check("argocd-controller", argo, "", Some("Argo CD Application shop"));
    }

    #[test]
    fn a_mark_alone_counts_for_a_person_may_hold_the_field_until_the_tool_puts_it_back() {
        check("kubectl-set", "kustomize.toolkit.fluxcd.io/name=apps", "", Some("Flux Kustomization apps"));
        check("kubectl-set", "argocd.argoproj.io/instance=shop", "", Some("Argo CD Application shop"));
    }

    #[test]
    fn a_tool_that_is_told_to_leave_the_object_alone_does_not_keep_it() {
        let left = "kustomize.toolkit.fluxcd.io/name=apps kustomize.toolkit.fluxcd.io/ssa=IfNotPresent";
        check("kustomize-controller", left, "", None);
        check(
            "",
            "kustomize.toolkit.fluxcd.io/name=apps kustomize.toolkit.fluxcd.io/reconcile=disabled",
            "",
            None,
        );
    }

    #[test]
    fn a_workload_of_a_rollout_controller_is_told_by_its_owner() {
        check("argo", "", "argoproj.io/Rollout/web", Some("Argo Rollouts Rollout/web"));
        check("flagger", "", "flagger.app/Canary/web", Some("Flagger Canary/web"));
        check("kubectl", "", "apps.example.com/App/web", None);
    }

    #[test]
    fn the_copy_that_flagger_keeps_names_what_it_is_copied_from() {
        assert_eq!(copied_from("web-primary", "Canary/web"), Some("web"));
        assert_eq!(copied_from("web", "Canary/web"), None);
        assert_eq!(copied_from("web-primary", "Rollout/web"), None);
    }
}
