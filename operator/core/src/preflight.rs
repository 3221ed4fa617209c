//! What would stop the new pods before the first write: asked of the apiserver, judged here, told as a hold.
//!
//! Filled by the controller just before a run is opened: the warnings and refusals of a dry run of the very patch, quota, host
//! ports, volumes. `decide.rs` turns an obstacle into a hold; where it is room that is missing, `whenImpossible` decides.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::image::Digest;
use crate::judge::classify::table::{Place, lookup};
use crate::policy::{RolloutSettings, StepSize};
use crate::reason::Reason;
use crate::rollout::patch;
use crate::text;

/// Something that would stop the new pods, found before anything was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The track.
    pub track: String,
    /// The workload's uid and generation that were asked about: another template is another question.
    pub workload: (String, i64),
    /// The digest.
    pub digest: Digest,
    /// The code.
    pub reason: Reason,
    /// What was observed.
    pub observed: String,
    /// Whether only room is missing: without an extra pod it would go.
    pub no_room: bool,
    /// When it was found.
    pub at: Timestamp,
}

/// What a dry run of the first patch brought back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rehearsal {
    /// The `Warning` headers, as they came.
    pub warnings: Vec<String>,
    /// The refusal: HTTP status and message.
    pub refused: Option<(u16, String)>,
    /// What came back otherwise than it was written.
    pub rewritten: Option<Rewritten>,
}

/// A field of which admission made something else than was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The field in words.
    pub field: String,
    /// What was written.
    pub written: String,
    /// What came back.
    pub found: String,
}

impl fmt::Display for Rewritten {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [field, written, found] =
            [&self.field, &self.written, &self.found].map(|one| text::clean(one, 200));
        write!(
            formatter,
            "{found} instead of {written} as {field}: a webhook or a MutatingAdmissionPolicy rewrites it"
        )
    }
}

/// Code and words of what the dry run says; `None` where it goes through, or says nothing of the kind.
#[must_use]
pub fn rehearsed(rehearsal: &Rehearsal, enforced: Option<&str>) -> Option<(Reason, String)> {
    if let Some((status, message)) = &rehearsal.refused {
        return refused(*status, message).map(|reason| (reason, text::clean_ends(message, 300)));
    }
    if let Some(rewritten) = &rehearsal.rewritten {
        return Some((Reason::WriteRewritten, rewritten.to_string()));
    }
    let words = rehearsal.warnings.iter().filter_map(|header| warning(header));
    let violates = "would violate PodSecurity \"";
    let level = |words: &str| {
        let rest = words.split(violates).nth(1)?;
        rest.split([':', '"']).next().map(str::to_owned)
    };
    // The namespace may only warn of a level that it does not enforce.
    let found = words.into_iter().find(|words| level(words).is_some_and(|level| enforced == Some(&level)))?;
    Some((Reason::PodSecurity, text::clean_ends(&found, 300)))
}

/// A conflict or a webhook that cannot rehearse is no answer to whether it would go.
fn refused(status: u16, message: &str) -> Option<Reason> {
    if message.contains("does not support dry run") {
        return None;
    }
    if let Some(rule) = lookup(Place::Create, message) {
        return Some(rule.reason);
    }
    match status {
        403 => Some(Reason::WriteForbidden),
        400 if message.contains("admission") || message.contains("denied") => Some(Reason::WriteDenied),
        _ => None,
    }
}

/// The text of a `Warning` header: `299 - "text"`, with quotes and backslashes escaped.
#[must_use]
pub fn warning(header: &str) -> Option<String> {
    let (_, rest) = header.split_once('"')?;
    let mut words = String::new();
    let mut escaped = false;
    for letter in rest.chars() {
        match (letter, escaped) {
            ('\\', false) => escaped = true,
            ('"', false) => return Some(words),
            (letter, _) => {
                words.push(letter);
                escaped = false;
            }
        }
    }
    None
}

/// A ResourceQuota as it stands, quantities as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// What is allowed.
    pub hard: BTreeMap<String, String>,
    /// What is taken.
    pub used: BTreeMap<String, String>,
}

/// What one pod of the template asks of a quota, by the quota's keys, quantities as they are written, one for each container.
pub type Needs = BTreeMap<String, Vec<String>>;

/// The new pods that a step of a canary starts beside the old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surge {
    /// How many.
    pub pods: i32,
    /// The step, counted from 1, with its size as it is written; nothing for the first, which needs no name.
    step: Option<(usize, StepSize)>,
}

impl fmt::Display for Surge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.pods == 1 { "" } else { "s" };
        match self.step {
            None => write!(formatter, "{} more pod{plural}", self.pods),
            Some((step, StepSize::Pods(_))) => {
                write!(formatter, "the {} more pod{plural} of step {step}", self.pods)
            }
            Some((step, StepSize::Percent(percent))) => {
                write!(formatter, "the {} more pod{plural} of step {step} ({percent}%)", self.pods)
            }
        }
    }
}

/// What the steps of a canary start beside the old pods, each that is larger than those before: the room that it finds at its
/// first step must be there at its last one too.
#[must_use]
pub fn surges(settings: &RolloutSettings, replicas: i32) -> Vec<Surge> {
    let surges: Vec<Surge> = patch::surges(settings, replicas)
        .into_iter()
        .map(|(step, pods)| {
            let size = settings.steps.get(step).filter(|_| 0 < step);
            Surge { pods, step: size.map(|size| (step.saturating_add(1), *size)) }
        })
        .collect();
    // Where the only step is the promotion, one pod goes before the rest.
    if surges.is_empty() { vec![Surge { pods: 1, step: None }] } else { surges }
}

/// Why so many more pods find no room in the quotas; `None` where they do. A dry run does not see this: it makes no pod.
#[must_use]
pub fn over_quota(quotas: &[Quota], needs: &Needs, surges: &[Surge]) -> Option<String> {
    surges.iter().find_map(|surge| over(quotas, needs, *surge))
}

fn over(quotas: &[Quota], needs: &Needs, surge: Surge) -> Option<String> {
    quotas.iter().find_map(|quota| {
        quota.hard.iter().find_map(|(key, hard)| {
            let each = if matches!(key.as_str(), "pods" | "count/pods") {
                1_000
            } else {
                needs.get(key)?.iter().try_fold(0_i128, |sum, one| sum.checked_add(thousandths(one)?))?
            };
            let wanted = each.checked_mul(i128::from(surge.pods.max(0)))?;
            let used = quota.used.get(key).map_or("0", String::as_str);
            let after = thousandths(used)?.checked_add(wanted)?;
            (0 < wanted && thousandths(hard)? < after).then(|| {
                format!(
                    "quota {} allows {key} {hard}, {used} used; {surge} cannot be created beside the old ones",
                    text::clean(&quota.name, 64)
                )
            })
        })
    })
}

/// A quantity in thousandths: `250m`, `1.5`, `128Mi`, `1e3`; what is finer is rounded up, as Kubernetes does.
#[must_use]
pub fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || 18 < whole.len() || 9 < fraction.len() {
        return None;
    }
    // In billionths, so that every suffix is whole.
    let mut billionths =
        whole.parse::<i128>().or_else(|error| if whole.is_empty() { Ok(0) } else { Err(error) }).ok()?;
    billionths = billionths.checked_mul(1_000_000_000)?;
    let digits = u32::try_from(fraction.len()).ok()?;
    if !fraction.is_empty() {
        let unit = 10_i128.checked_pow(9_u32.checked_sub(digits)?)?;
        billionths = billionths.checked_add(fraction.parse::<i128>().ok()?.checked_mul(unit)?)?;
    }
    let kilo = |power: u32| 1_000_i128.checked_pow(power);
    let kibi = |power: u32| 1_024_i128.checked_pow(power);
    let scaled = match suffix {
        "n" => billionths.checked_div(1_000_000_000),
        "u" => billionths.checked_div(1_000_000),
        "m" => billionths.checked_div(1_000),
        "" => Some(billionths),
        "k" => billionths.checked_mul(kilo(1)?),
        "M" => billionths.checked_mul(kilo(2)?),
        "G" => billionths.checked_mul(kilo(3)?),
        "T" => billionths.checked_mul(kilo(4)?),
        "P" => billionths.checked_mul(kilo(5)?),
        "E" => billionths.checked_mul(kilo(6)?),
        "Ki" => billionths.checked_mul(kibi(1)?),
        "Mi" => billionths.checked_mul(kibi(2)?),
        "Gi" => billionths.checked_mul(kibi(3)?),
        "Ti" => billionths.checked_mul(kibi(4)?),
        "Pi" => billionths.checked_mul(kibi(5)?),
        "Ei" => billionths.checked_mul(kibi(6)?),
        power => {
            let power = power.strip_prefix(['e', 'E'])?.parse::<u32>().ok().filter(|power| *power <= 18)?;
            billionths.checked_mul(10_i128.checked_pow(power)?)
        }
    }?;
    scaled.checked_add(999_999)?.checked_div(1_000_000)
}

/// Why a host port leaves no room beside the old pods: one pod a node, and too few nodes without one.
#[must_use]
pub fn ports_taken(host_ports: &[i32], nodes: usize, old_pods: usize, surges: &[Surge]) -> Option<String> {
    let first = host_ports.first()?;
    let free = nodes.saturating_sub(old_pods);
    let fits = |surge: &&Surge| usize::try_from(surge.pods).is_ok_and(|pods| pods <= free);
    let crowded = surges.iter().find(|surge| !fits(surge))?;
    Some(if free == 0 {
        format!("host port {first} is taken on {nodes} of {nodes} nodes by the {old_pods} old pods")
    } else {
        format!("host port {first} is free on {free} of {nodes} nodes, too few for {crowded}")
    })
}

/// Why a volume cannot be mounted by one more pod beside the old ones.
#[must_use]
pub fn volume_in_use(claims: &[(String, Vec<String>)], nodes: usize) -> Option<String> {
    claims.iter().find_map(|(claim, modes)| {
        let only = |mode: &str| modes.iter().all(|one| one == mode) && !modes.is_empty();
        let claim = text::clean(claim, 64);
        if only("ReadWriteOncePod") {
            return Some(format!("claim {claim} is ReadWriteOncePod and mounted by an old pod"));
        }
        // On one node the pods share it; on several the next pod may land elsewhere.
        let once = modes.iter().all(|mode| mode.starts_with("ReadWriteOnce")) && !modes.is_empty();
        (once && 1 < nodes).then(|| {
            format!("claim {claim} is ReadWriteOnce and mounted by an old pod, with {nodes} nodes to land on")
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let check = |text: &str, wanted: Option<i128>| assert_eq!(thousandths(text), wanted, "{text}");
        check("1", Some(1_000));
        check("250m", Some(250));
        check("1.5", Some(1_500));
        check(".5", Some(500));
        check("0", Some(0));
        check("128Mi", Some(134_217_728_000));
        check("1G", Some(1_000_000_000_000));
        check("1e3", Some(1_000_000));
        check("1u", Some(1));
        for hostile in ["", ".", "-1", "1x", "m", "1e99", "9999999999999999999999", "1.5.5", "１", "1E99"] {
            check(hostile, None);
        }
        check("1E", Some(1_000_000_000_000_000_000_000));
    }

    #[test]
    fn a_quota_without_room_for_the_extra_pod_is_named_with_its_numbers_before_anything_starts() {
        let map = |rows: &[(&str, &str)]| -> BTreeMap<String, String> {
            rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let quota = Quota {
            name: "compute".to_owned(),
            hard: map(&[("pods", "5"), ("requests.memory", "512Mi")]),
            used: map(&[("pods", "4"), ("requests.memory", "448Mi")]),
        };
        let needs = |memory: &str| Needs::from([("requests.memory".to_owned(), vec![memory.to_owned()])]);
        let of = |pods| [Surge { pods, step: None }];
        assert_eq!(over_quota(std::slice::from_ref(&quota), &needs("64Mi"), &of(1)), None);
        assert_eq!(
            over_quota(std::slice::from_ref(&quota), &needs("65Mi"), &of(1)).unwrap(),
            "quota compute allows requests.memory 512Mi, 448Mi used; 1 more pod cannot be created beside the old ones"
        );
        assert_eq!(
            over_quota(std::slice::from_ref(&quota), &needs("1Mi"), &of(2)).unwrap(),
            "quota compute allows pods 5, 4 used; 2 more pods cannot be created beside the old ones"
        );
        let later = [of(1)[0], Surge { pods: 2, step: Some((2, StepSize::Percent(50))) }];
        assert_eq!(
            over_quota(&[quota], &needs("1Mi"), &later).unwrap(),
            "quota compute allows pods 5, 4 used; the 2 more pods of step 2 (50%) cannot be created beside the old ones"
        );
    }

    #[test]
    fn only_a_level_that_the_namespace_enforces_stops_the_pods() {
        let header = r#"299 - "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"app\" must set it)""#;
        let rehearsal = Rehearsal { warnings: vec![header.to_owned()], ..Rehearsal::default() };
        let (reason, words) = rehearsed(&rehearsal, Some("restricted")).unwrap();
        assert_eq!(reason, Reason::PodSecurity);
        assert!(
            words.starts_with("would violate PodSecurity \"restricted:latest\": allowPrivilege"),
            "{words}"
        );
        assert_eq!(rehearsed(&rehearsal, Some("baseline")), None, "it only warns of restricted");
        assert_eq!(rehearsed(&rehearsal, None), None);
        let other = Rehearsal { warnings: vec!["299 - \"deprecated\"".to_owned()], ..Rehearsal::default() };
        assert_eq!(rehearsed(&other, Some("restricted")), None);
        for hostile in ["", "299", "299 - \"", "\"\\", "299 - \"would violate PodSecurity \\\"\""] {
            let rehearsal = Rehearsal { warnings: vec![hostile.to_owned()], ..Rehearsal::default() };
            assert_eq!(rehearsed(&rehearsal, Some("restricted")), None, "{hostile}");
        }
    }

    #[test]
    fn a_refused_rehearsal_has_its_own_code_and_a_conflict_is_none() {
        let check = |status: u16, message: &str, wanted: Option<Reason>| {
            let rehearsal = Rehearsal { refused: Some((status, message.to_owned())), ..Rehearsal::default() };
            assert_eq!(rehearsed(&rehearsal, None).map(|told| told.0), wanted, "{message}");
        };
        check(
            422,
            "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            Some(Reason::AdmissionDenied),
        );
        check(400, "admission webhook \"guard.acme.io\" denied the request: no", Some(Reason::WebhookDenied));
        check(
            500,
            "Internal error occurred: failed calling webhook \"guard.acme.io\": refused",
            Some(Reason::WebhookDown),
        );
        check(
            403,
            "deployments.apps \"web\" is forbidden: User \"u\" cannot patch resource",
            Some(Reason::WriteForbidden),
        );
        check(400, "admission webhook \"guard.acme.io\" does not support dry run", None);
        check(422, "the server rejected our request due to an error in our request", None);
    }

    #[test]
    fn what_admission_makes_something_else_of_is_told_with_both() {
        let rewritten = Rewritten {
            field: "the image of container app".to_owned(),
            written: "r.test/web:1.0.1@sha256:ab".to_owned(),
            found: "mirror.test/web:1.0.1".to_owned(),
        };
        let rehearsal = Rehearsal { rewritten: Some(rewritten), ..Rehearsal::default() };
        let words = "mirror.test/web:1.0.1 instead of r.test/web:1.0.1@sha256:ab as the image of container app: a webhook or a MutatingAdmissionPolicy rewrites it";
        assert_eq!(rehearsed(&rehearsal, None), Some((Reason::WriteRewritten, words.to_owned())));
    }

    #[test]
    fn ports_and_volumes_leave_room_only_where_there_is_another_place() {
        let one = [Surge { pods: 1, step: None }];
        assert_eq!(ports_taken(&[], 1, 1, &one), None);
        assert_eq!(ports_taken(&[8080], 3, 2, &one), None);
        assert_eq!(
            ports_taken(&[8080], 2, 2, &one).unwrap(),
            "host port 8080 is taken on 2 of 2 nodes by the 2 old pods"
        );
        let wide = [one[0], Surge { pods: 2, step: Some((2, StepSize::Pods(2))) }];
        assert_eq!(
            ports_taken(&[8080], 3, 2, &wide).unwrap(),
            "host port 8080 is free on 1 of 3 nodes, too few for the 2 more pods of step 2"
        );
        let claim = |modes: &[&str]| {
            vec![("data".to_owned(), modes.iter().map(|mode| (*mode).to_owned()).collect::<Vec<_>>())]
        };
        assert_eq!(volume_in_use(&claim(&["ReadWriteMany"]), 3), None);
        assert_eq!(volume_in_use(&claim(&["ReadWriteOnce", "ReadOnlyMany"]), 3), None);
        assert_eq!(volume_in_use(&claim(&["ReadWriteOnce"]), 1), None);
        assert_eq!(volume_in_use(&claim(&[]), 3), None);
        assert!(volume_in_use(&claim(&["ReadWriteOnce"]), 3).unwrap().contains("with 3 nodes to land on"));
        assert!(volume_in_use(&claim(&["ReadWriteOncePod"]), 1).unwrap().contains("is ReadWriteOncePod"));
    }
}
