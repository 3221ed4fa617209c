//! Events on the policy and on the workload.
//!
//! kube's Recorder folds Events of six minutes by type, action, reason and object, without the note: a changed explanation
//! would not be shown. A short hash of the note in `action`, which describe does not show, keeps them apart.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use rollforward_core::report;
use rollforward_core::text;
use rollforward_core::workload::WorkloadId;

/// Publishes Events; cheap to clone.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// A publisher that signs as `rollforward`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "rollforward".to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes an Event on each object. A failure is logged: an Event is a courtesy, the status holds the truth.
    pub async fn publish(&self, event: &report::Event, policy: &ObjectReference) {
        let workload = event.workload.as_ref().map(reference);
        for object in std::iter::once(policy).chain(workload.as_ref()) {
            if let Err(error) = self.recorder.publish(&kube_event(event), object).await {
                tracing::warn!(reason = %event.reason, %error, "the Event could not be published");
            }
        }
    }
}

fn kube_event(event: &report::Event) -> Event {
    let hash = event.note.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Event {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.code().to_owned(),
        note: Some(text::clean(&event.note, 1000)),
        action: format!("Rollforward{hash:016x}"),
        secondary: None,
    }
}

fn reference(id: &WorkloadId) -> ObjectReference {
    ObjectReference {
        api_version: Some(id.kind.api_version().to_owned()),
        kind: Some(id.kind.name().to_owned()),
        name: Some(id.name.clone()),
        namespace: Some(id.namespace.clone()),
        uid: Some(id.uid.clone()),
        ..ObjectReference::default()
    }
}
