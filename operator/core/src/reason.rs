//! The closed list of reason codes: public API, never renamed or used again.
//!
//! One code is the same word as condition reason, Event reason, metric label, log field and in `explain`. Each says what
//! happened, why, and what to do; `crds/reference.md` is printed from this file. Sentences: `report.rs`.

use std::fmt;

macro_rules! reasons {
    ($($section:literal { $($(#[doc = $doc:literal])+ $code:ident,)+ })+) => {
        /// Why something is as it is. The doc of each code is what the reference prints.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($($(#[doc = $doc])+ $code,)+)+
        }

        impl Reason {
            /// Every code, in the order of the reference.
            pub const ALL: &'static [Reason] = &[$($(Reason::$code,)+)+];

            /// The code as it is published.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $($(Reason::$code => stringify!($code),)+)+
                }
            }

            /// What it means and what to do, as the reference prints it.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $($(Reason::$code => concat!($($doc,)+).trim_ascii(),)+)+
                }
            }

            /// The part of the walk in which it arises: the heading in the reference.
            #[must_use]
            pub fn section(self) -> &'static str {
                match self {
                    $($(Reason::$code => $section,)+)+
                }
            }
        }
    };
}

reasons! {
    "Selection: why a tag is not a candidate" {
        /// The tag is a version that the policy's `select` does not allow. Widen `image.select` if you want it.
        OutsideRule,
        /// The tag is not newer than what runs. Nothing to do.
        NotNewer,
        /// The tag is not above a version that already completed here, or that the running image gives itself by its label. Set `image.downgrade: Allow` to go back by policy.
        BelowFloor,
        /// The tag belongs to another variant (`-alpine`, `-slim`) than the running one. Set `image.variant.mode: Any` to mix variants.
        OtherVariant,
        /// The tag is a pre-release and the rule does not name pre-releases. A range with a pre-release part (`>=1.0.0-0`) does.
        PreRelease,
        /// The tag cannot be read as what the rule orders: a version, a date of the format, a number. Nothing to do; `image.tags.extract` cuts out the part to read.
        NotAVersion,
        /// `image.tags.include`, `exclude` or `extract` leaves the tag out.
        TagFiltered,
        /// The name is not a valid tag: 1 to 128 of letters, digits, `_`, `.` and `-`, not starting with `.` or `-`. Nothing can be pulled by it.
        NotATag,
        /// The tag names a signature, attestation or SBOM, not an image.
        ArtefactTag,
        /// A person went back from this version. It and everything up to it is held; a newer version goes on by itself. Release: `kubectl rollforward release`, or publish a newer version.
        HumanRollback,
        /// Another tag spells the same version; the one spelled like the running tag was preferred, then the shortest, then the first in the alphabet.
        Duplicate,
    }
    "Current version" {
        /// The running version cannot be known from the tag. Deploy a versioned tag, or set `image.adopt: Allow`.
        CurrentVersionUnknown,
        /// The container's image field is not a valid reference. Correct the workload.
        ImageNotReadable,
    }
    "Registry" {
        /// The registry did not answer, or answered with an error. Tried again by itself.
        RegistryUnavailable,
        /// The registry asked for fewer requests. Tried again at the time it named.
        RegistryRateLimited,
        /// The registry refused the credential, or wants one. Check the pull secret of the workload.
        RegistryUnauthorized,
        /// The registry has no such repository, or hides it without a credential. Check the name and the pull secret.
        RepositoryNotFound,
        /// The registry lists no tag. This is never read as a deletion: the workload stays.
        TagListEmpty,
        /// The listing ended early. Nothing is concluded from the missing tags.
        TagListIncomplete,
        /// The tag was listed and is not there any more. Nothing to do; the workload stays.
        TagGone,
        /// The manifest is not one that can be run: malformed, of an old schema, or too large. Push it again.
        ManifestInvalid,
        /// The registry's content does not hash to the digest it names. Treat it as an attack or a broken mirror.
        DigestMismatch,
        /// The mirror that the workload names does not serve the digest that was chosen at `image.source`. Copy the image there; tried again by itself.
        MirrorLacksDigest,
        /// `image.source` names one repository and the policy's containers run several. Narrow `image.repositories` or `containers`, or write one policy for each.
        SourceAmbiguous,
        /// The registry speaks plain http and is not among the hosts allowed to. Add it to `registries.plainHttp` of the operator's configuration.
        InsecureRegistry,
        /// A pull secret that the workload names does not exist. Create it or correct the name.
        PullSecretMissing,
        /// The operator may not read a pull secret. Grant it by name; the sentence shows the Role.
        PullSecretForbidden,
        /// A pull secret is not a docker configuration. Create it with `kubectl create secret docker-registry`.
        PullSecretInvalid,
    }
    "Gates" {
        /// Nobody has decided what to trust. Write `verification: {unsigned: Allow}` into the policy, or create a VerificationPolicy.
        NoTrustDecision,
        /// The policy allows unsigned images: no signature was looked for.
        UnsignedAllowed,
        /// The tag was resolved to a digest; the digest is what is written and runs.
        Resolved,
        /// The image serves every platform of the nodes in use.
        PlatformPresent,
        /// The image lacks a platform of the nodes in use. Publish it for that platform.
        PlatformMissing,
        /// The tag has not moved and the digest is new.
        LedgerClean,
        /// The tag was pushed again with other content. Its soak starts again.
        TagMoved,
        /// An old digest came back under a newer name. Publish a new build, or delete the tag.
        RetaggedDigest,
        /// Somebody decided what to trust; the sentence names who.
        TrustDecided,
        /// The repository and the digest are allowed by the lists of the decisions.
        ReferenceAllowed,
        /// The repository is on a deny list. Use another one; no exception lifts that.
        RepositoryDenied,
        /// The repository is not on the allow list of a decision. Add it there, or use an allowed one.
        RepositoryNotAllowed,
        /// The digest is on a deny list. Publish a newer version; no exception lifts that.
        DigestDenied,
        /// The digest is not on the allow list of a decision. Add it there.
        DigestNotAllowed,
        /// Unsigned images are denied and no authority is named that could have signed. Name one, or write `unsigned: Allow`.
        NoAuthority,
        /// Enough authorities signed the digest.
        SignatureVerified,
        /// No signature was found; every place was asked. Sign the digest.
        SignatureAbsent,
        /// A place where signatures are kept gave no answer. Nothing is concluded; asked again by itself.
        SignatureUnknown,
        /// The digest is signed, by somebody else than the decision names. Sign it as expected, or correct the decision.
        SignatureIdentityMismatch,
        /// The right identity signed, with a certificate that says something else than the decision wants. Build it where it is expected, or correct the decision.
        SignatureClaimMismatch,
        /// A signature is there and is not one of this key or root over this content. Sign the digest anew.
        SignatureInvalid,
        /// A signature was made for another digest. Treat it as an attempt, and sign this digest.
        SignatureSubjectMismatch,
        /// A signature has a form that this version cannot check. Sign the digest with a current tool.
        SignatureUnsupported,
        /// Some authorities signed, fewer than the decision asks for. Let the others sign too.
        SignaturesTooFew,
        /// More is attached to the digest than is read, and none of what was read is the signature. Delete what is not yours.
        EvidenceBudgetExhausted,
        /// Everything that the VerificationPolicy names can be used; the sentence says what it asks for.
        Usable,
        /// The trust root can be used.
        TrustRootUsable,
        /// The trust root ends within 60 days; nothing keyless can be verified after that. Give it a current `trusted_root.json`.
        TrustRootExpiresSoon,
        /// The trust root that an authority names does not exist or cannot be read. Create or correct it; nothing is rolled back by this.
        TrustRootMissing,
        /// The trust root has expired: nothing can be proved by it. Give it a current `trusted_root.json`.
        TrustRootExpired,
        /// The key of an authority cannot be read: its ConfigMap or entry is not there, may not be read, or holds no key. Correct the decision or the ConfigMap that it names; nothing is rolled back by this.
        AuthorityUnreadable,
        /// The apiserver did not say what a key, a trust root or the decisions of the namespace are. Nothing is concluded; asked again within 10 s.
        AuthorityUnknown,
        /// A trust decision cannot be read, or uses a value of a newer version, and denies what it is about. Correct it, or upgrade the operator.
        DecisionUnreadable,
        /// What was signed names this version.
        VersionBound,
        /// What was signed names no version. With `versionBinding: Required` nothing moves without one.
        VersionUnbound,
        /// What was signed names the source that was asked for.
        SourceBound,
        /// What was signed names no source, and one is asked for. Sign with a certificate or provenance that names it.
        SourceUnbound,
        /// What was signed names another version: an old or other image under this name. It counts when it is attached no longer, too. Publish a new build, or delete the tag.
        VersionMismatch,
        /// What was signed is of another repository. A signature that said so counts when it is attached no longer, too. Sign it for this one.
        RepositoryMismatch,
        /// What was signed was built from a branch or an unmerged change, not from the version's tag. It counts when it is attached no longer, too. Build the version from its tag.
        BranchBuild,
        /// Signing is proved by a log, or dated by a timestamp authority.
        LogProofPresent,
        /// The signature is in no transparency log, and the decision asks for one. Sign it with a log entry.
        LogProofAbsent,
        /// The log's proof or promise does not hold under the trust root. Sign anew, or refresh the trust root.
        LogProofInvalid,
        /// The time of signing cannot be believed, or the certificate was not valid then. Sign anew, with a log or a timestamp.
        SigningTimeUntrusted,
        /// The statements that the decision asks for are there, signed, and say what they must.
        AttestationVerified,
        /// A statement that the decision asks for is not there. Attach it.
        AttestationAbsent,
        /// Whether a statement is there could not be found out. Asked again by itself.
        AttestationUnknown,
        /// A statement of the right type is there, signed by nobody who may. Sign it by one of the authorities.
        AttestationUntrusted,
        /// The provenance says something else than the rule wants. Build it as the rule wants, or correct the rule.
        ProvenanceRuleFailed,
        /// A statement says something else than the rule wants. Correct what it is about, or the rule.
        AttestationRuleFailed,
        /// A rule could not be run over a statement; that is never a pass. Correct the rule.
        RuleNotRun,
        /// A signed list of what is in the image is attached.
        SbomPresent,
        /// No signed list of what is in the image is attached.
        SbomAbsent,
        /// The image has the shape of what runs.
        NoDrift,
        /// The image differs in shape from what runs: user, start, ports, volumes, environment, size or age. Compare the two.
        ConfigDrift,
        /// The shape of the image or of what runs could not be read.
        DriftUnknown,
        /// The evidence together suffices for the trust ledger.
        TrustEnough,
        /// The evidence together does not suffice for the trust ledger yet. Time adds to it; signatures, a bound version and provenance do too.
        TrustShort,
        /// What runs does not satisfy the decisions any more, or never did. Nothing is rolled back by this; move on, or correct the decision. Where it cannot be judged for want of a key or root, the code is that one's.
        RunningImageNoLongerVerified,
        /// The digest has been known for long enough.
        SoakDone,
        /// The digest is too young to be trusted. It goes on by itself at the time named.
        Soaking,
        /// The digest was first seen in the future: one of two clocks is wrong. Check the nodes' clocks.
        ClockBehind,
        /// The digest has not failed here.
        NotQuarantined,
        /// The digest failed here and is tried again, at the time named.
        RetryPending,
    }
    "Decision" {
        /// The newest version that the rule allows runs.
        NewestRuns,
        /// A better version passes soon; the lesser one is not rolled out just before it.
        Deferred,
        /// `spec.suspend` is true. Set it to false to go on.
        Suspended,
        /// A person paused the policy: nothing starts, an open canary stays held, is rolled back if it fails, and ends at its deadline. `kubectl rollforward resume` goes on.
        Paused,
        /// Every policy is paused: by a person (`kubectl rollforward resume --all` goes on), or by `paused: true` in the operator's configuration.
        PausedByOperator,
        /// `mode: DryRun`: the update would start now, and nothing is written. Set `mode: Enforce` to go on.
        DryRun,
        /// The run is recorded and waits for somebody's approval; the sentence says who may give it and how.
        AwaitingApproval,
        /// The digest is being tried on another workload and has not succeeded anywhere yet. Starts by itself when that run ends, or is past its deadline.
        FirstSuccessPending,
        /// Several workloads failed of late by the environment's fault, or different images in the same way. Nothing starts until the time named, in the namespace alone where all of them are in it.
        EnvironmentFailures,
        /// The image is kept in Git by Flux, Argo CD or the like, and would be put back. Make the change there that the sentence shows.
        ManagedByGitOps,
        /// The workload is a copy that Argo Rollouts or Flagger keeps. Name the object as the target that the sentence names.
        ManagedByRollouts,
        /// Argo Rollouts or Flagger is at work on the workload, or has not looked at it yet. Starts by itself when it is at rest; a pause without an end waits for a person there.
        DelegateBusy,
        /// Whether Argo Rollouts or Flagger rolls the workload out could not be read: nothing is written before that is known. Correct the operator's rights.
        DelegateUnreadable,
        /// As many runs are open as the operator's configuration allows. Starts by itself when one ends.
        ConcurrencyLimit,
        /// Another policy's run is open on this workload. Starts by itself when it ends.
        WorkloadBusy,
        /// An older policy moves the same container. Delete one of the two, or narrow `containers`.
        TargetConflict,
        /// No workload matches the target. It is picked up when it appears.
        TargetMissing,
        /// The workload or its namespace is being deleted. Nothing is written to it.
        TargetDeleting,
        /// The Deployment is paused by somebody. Resume it: `kubectl rollout resume`. In the middle of a run the deadline goes on.
        TargetPaused,
        /// The Deployment is in the middle of another rollout. Starts by itself when that has ended.
        AlreadyRolling,
        /// A pod of the StatefulSet is not Ready, and under `OrderedReady` the native controller replaces no pod before it is: a new version would be written and never run. Mend what the pod lacks, or go back and delete it; starts by itself when it is Ready.
        BrokenPodBlocks,
        /// No container of the workload runs a repository that the policy names.
        NoContainerMatches,
        /// A DaemonSet that the nodes cannot do without (class `system-node-critical` or `system-cluster-critical`) is moved only where a target names it, never by labels. Name it in `targets`.
        NodeCritical,
        /// The workload leaves no room for a canary beside the old pods. Change its strategy, or set `rollout.whenImpossible: RollWithoutCanary`.
        CanaryImpossible,
    }
    "Run" {
        /// The run is recorded, nothing is written to the workload yet.
        Preparing,
        /// New pods were started beside all old ones.
        CanaryStarted,
        /// The new pods are watched; no old pod is removed meanwhile.
        CanaryWatching,
        /// The watched share of new pods was raised.
        StepTaken,
        /// The new pods passed; the native controller replaces the rest.
        Promoting,
        /// All pods run the new version.
        RolledForward,
        /// The old image and the saved fields are restored.
        RolledBack,
        /// The digest is not tried again until a person releases it.
        DigestQuarantined,
        /// The run was ended by a person, by a change of the policy, or as a StatefulSet was scaled below the partition that held its canary; image and fields are restored. Nothing is held against the digest.
        Aborted,
        /// Another version passed its gates before a run of this one had succeeded, or had been approved; the image went back where it was written, and the other one follows. Nothing is held against the digest.
        Superseded,
        /// A broken pod of the failed version was deleted, as `rollout.rollback.deleteBrokenPods` allows: under `OrderedReady` the StatefulSet controller would wait for it for ever.
        BrokenPodDeleted,
        /// A Job of the failed version that could not start was ended by `activeDeadlineSeconds: 1`, so that the CronJob's next run starts. It stays as evidence.
        StuckJobEnded,
        /// A person skipped what was left of the observation: `kubectl rollforward promote`. The run's record says who.
        Promoted,
        /// A person ended a pause: `kubectl rollforward resume`.
        Resumed,
        /// A person let go what was held: `kubectl rollforward release`.
        Released,
        /// A person asked for a failed digest to be tried now: `kubectl rollforward retry`. That it failed is remembered.
        RetryAsked,
        /// A person changed the workload in the middle of the run. Only what we wrote and they left is restored.
        HumanEdit,
        /// The workload was deleted in the middle of the run.
        WorkloadGone,
        /// The new pods were neither good nor bad when the deadline came.
        DeadlineExceeded,
        /// The image is set; Argo Rollouts or Flagger rolls it out, and its verdict is waited for. Nothing to do.
        DelegateWatching,
        /// Argo Rollouts or Flagger has paused the rollout: by its own plan until the time named, or until a person goes on there. Nothing is rolled back by that.
        DelegatePaused,
        /// The workload changed between reading and writing. Read again and decided anew.
        WriteConflict,
        /// The apiserver refused our write for lack of rights. The sentence names the verb and resource to grant.
        WriteForbidden,
        /// Admission refused our write to the workload. The sentence keeps its words.
        WriteDenied,
        /// Admission (a mutating webhook, a MutatingAdmissionPolicy) makes something else of what is written to the workload, and the run would take that for a person's edit. Nothing is written. Exclude the workload there, or write its image as it comes out of there.
        WriteRewritten,
        /// The apiserver did not take our write: it did not answer, or failed by itself. The sentence keeps its words; tried again by itself.
        WriteFailed,
    }
    "Causes: what the new pods did" {
        /// The program ended by itself with an exit code.
        CrashExit,
        /// The program was ended by a signal.
        CrashSignal,
        /// The program used an instruction that the node's CPU does not know (signal 4, SIGILL). Publish a build for older CPUs, or keep the pods on newer nodes.
        IllegalInstruction,
        /// The seccomp profile killed the program (signal 31, SIGSYS): the new image makes a system call that the profile forbids.
        SeccompKill,
        /// The program seems to have been stopped by the pod's read-only root file system: inferred from its last words. Mount a volume where it writes, or publish an image that does not.
        ReadOnlyRootBlocked,
        /// The program seems to have been stopped by a capability that the pod drops: inferred from its last words. Add the capability, or publish an image that does not need it.
        CapabilityBlocked,
        /// The program seems to have been stopped by the pod's seccomp profile, which refuses a system call: inferred from its last words. Allow the call, or publish an image that does not make it.
        SyscallBlocked,
        /// The program seems to have been stopped by the pod's AppArmor profile or user, which may not open a file: inferred from its last words. Allow the path, or publish an image that does not need it.
        FileAccessBlocked,
        /// The program seems to have been stopped by a NetworkPolicy that does not let it call out: inferred from its last words. Allow the destination, or publish an image that does not call it.
        EgressBlocked,
        /// The kernel ended the program for memory.
        OutOfMemory,
        /// The runtime could not start the program: missing, not executable, or for another platform.
        StartFailed,
        /// A lifecycle hook of the container failed; the sentence keeps the words. Compare the hook's command with the new image.
        HookFailed,
        /// The node could not find the image.
        PullNotFound,
        /// The node's credential was refused for the image.
        PullUnauthorized,
        /// The image has nothing for the node's platform.
        PullPlatform,
        /// The registry did not serve the node: an outage or a rate limit, not the image.
        PullUnavailable,
        /// The node could not unpack the image, or refused its name.
        PullInvalid,
        /// The node's own signature check refused the image, and ours had let it through. Compare the node's trust with the policy's; treat it as an attack until you know.
        SignatureRefusedByNode,
        /// A Secret, ConfigMap or key that the pod names does not exist.
        ConfigMissing,
        /// The pod demands a user other than root and the image runs as root, or its user cannot be verified. The security setting did this, not a crash.
        RunAsNonRoot,
        /// The program runs and never becomes Ready.
        NotReady,
        /// The kubelet restarts the program because its liveness probe fails.
        LivenessFailed,
        /// The kubelet restarts the program because its startup probe fails. Give it more time (`failureThreshold`), or publish a fixed image.
        StartupProbeFailed,
        /// A probe could not be carried out at all, for example because its command is not in the image. Compare the probe with the new image.
        ProbeErrored,
        /// The program ended without an error; a Deployment's program has to go on.
        Completed,
        /// A ResourceQuota leaves no room for the new pod. Raise it; tried again by itself.
        QuotaExceeded,
        /// A LimitRange refuses the pod. Correct it or the pod's resources.
        LimitRange,
        /// Pod Security admission refuses the pod. The security layer did this, not the application.
        PodSecurity,
        /// A ValidatingAdmissionPolicy refuses the pod. The security layer did this, not the application.
        AdmissionDenied,
        /// An admission webhook refuses the pod. The security layer did this, not the application.
        WebhookDenied,
        /// An admission webhook does not answer, so that no pod can be created or our write is not taken. An outage, not a refusal; tried again by itself.
        WebhookDown,
        /// The image policy webhook refuses the image. The security layer did this, not the application.
        ImagePolicyDenied,
        /// The pod's ServiceAccount does not exist.
        ServiceAccountMissing,
        /// Creating the pod was refused for another reason; the sentence keeps the words.
        CreateForbidden,
        /// A security setting (SELinux) could not be applied on the node. The environment, not the image.
        SecurityProfile,
        /// An AppArmor profile that the pod names is not on the node, or cannot be applied. Load it there, or keep the pods on nodes that have it.
        AppArmorUnavailable,
        /// The pod's seccomp profile could not be set up on the node. Install it there, or correct the pod's profile.
        SeccompUnavailable,
        /// The node does not allow a sysctl that the pod sets. Allow it there, or take it out of the pod.
        SysctlForbidden,
        /// No node has room for the pod. The environment, not the image.
        Unschedulable,
        /// A host port of the pod is taken on every node, usually by the old pods. The environment, not the image. Free a node, or set `rollout.whenImpossible: RollWithoutCanary`.
        HostPortTaken,
        /// No node has enough CPU left for one more pod. The environment, not the image. Add room; tried again by itself.
        InsufficientCpu,
        /// No node has enough memory left for one more pod. The environment, not the image. Add room; tried again by itself.
        InsufficientMemory,
        /// Every node runs as many pods as it may. The environment, not the image. Add a node; tried again by itself.
        PodCountExceeded,
        /// No node has a taint that the pod tolerates. The environment, not the image. Correct the taint or the tolerations.
        TaintNotTolerated,
        /// No node matches the pod's node selector or affinity. The environment, not the image. Correct the labels or the selector.
        NodeSelectorUnmet,
        /// The pod may not share a node with those that run there (anti-affinity), and there is no free one. The environment, not the image. Add a node, or prefer instead of require.
        AntiAffinity,
        /// One more pod would break the topology spread constraints. The environment, not the image. Add a node, or allow `ScheduleAnyway`.
        TopologySpread,
        /// The nodes cannot take another volume. The environment, not the image. Add a node.
        VolumeCountExceeded,
        /// The volume lives on another node or in another zone than any free node. The environment, not the image.
        VolumeElsewhere,
        /// The volume is in use by another pod and cannot be shared. Our extra pod brings this about, not the image. Set `rollout.whenImpossible: RollWithoutCanary`, or use a claim that several may mount.
        VolumeInUse,
        /// A volume could not be attached or mounted. The environment, not the image.
        VolumeUnavailable,
        /// The kubelet refused the pod. The environment, not the image.
        NodeRefused,
        /// A number that the policy measures was beyond its limits on the new pods, and not on the old ones. Look at what the signal counts, or correct its limits under `rollout.analysis`.
        SignalExceeded,
        /// A signal has too little data to decide. It waits; at the deadline `rollout.analysis.onInsufficientData` decides.
        InsufficientData,
        /// Prometheus did not answer a signal's query, or not with one number. Nothing is rolled back by this; correct the query, or Prometheus.
        MetricsUnavailable,
        /// The old pods were failing before the run began: there is nothing to compare with, and the new version may be the cure. A failure is rolled back and not held against the image.
        BaselineUnhealthy,
        /// After the rollback the old version fails in the same way: it was the environment, and the digest is no longer under suspicion. Find what changed around the workload; the update is tried again by itself.
        EnvironmentIncident,
        /// The pods could not be read, so that nothing is known of them. Nothing is rolled back by this; correct the operator's rights or the apiserver.
        PodsUnreadable,
        /// The pod was drained, preempted or evicted: it says nothing about the image.
        Disrupted,
        /// Argo Rollouts or Flagger gave the new version up; the sentence has its words. The old image is put back, which it leaves to us.
        DelegateFailed,
        /// The runs of the new image fail more often than those of the old one did, by a sequential test at 1 %.
        RunsFailed,
        /// None of the known causes fits; the sentence keeps the words.
        Unclassified,
    }
    "Policy" {
        /// The policy is valid, the registry answers, the targets can be read.
        Watching,
        /// This generation of the policy is being looked at for the first time. Nothing to do; the next status tells.
        FirstLook,
        /// A field of the policy is not valid in a way that the schema cannot see. The sentence names it.
        InvalidPolicy,
        /// The policy uses a value that this version does not know. Upgrade the operator, or use a value it knows.
        NewerApi,
        /// The object cannot be read as a policy at all. The others go on.
        Unreadable,
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_once_and_ends_its_meaning_with_a_full_stop() {
        let mut codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.meaning().ends_with(['.', '`']), "{reason}: {}", reason.meaning());
            assert!(reason.code().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{reason}");
        }
    }
}
