//! The registry under the simulated clock, and what the operator asks of it: the list, digests, manifests, signatures.
//!
//! Answers stay in the operator's memory as the controller's caches keep them, until it dies: a digest for as long as its scan.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::current;
use rollforward_core::evidence::{Answer, Manifest};
use rollforward_core::gate::{self, Assessment, Evidence, Need};
use rollforward_core::image::{Digest, ImageRef, Tag};
use rollforward_core::policy::Facts;
use rollforward_core::reason::Reason;
use rollforward_core::scan::Scan;

use crate::build;
use crate::kubelet::Behaviour;
use crate::world::World;

/// How the registry answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Up,
    Down,
    /// It answers, and lists nothing.
    Empty,
}

/// The repository as the registry has it.
#[derive(Debug)]
pub struct Registry {
    pub door: Door,
    pub tags: BTreeMap<Tag, Digest>,
    /// What each digest does when it runs: for ever, deleted tags too.
    pub behaviours: BTreeMap<Digest, Behaviour>,
    pub pushes: u32,
    /// The version label that each push of a tag carries.
    pub labels: BTreeMap<Digest, String>,
    /// Who signed each digest, with a key of that name.
    pub signers: BTreeMap<Digest, Vec<String>>,
}

impl Registry {
    pub fn pull(&self, image: &str) -> (Digest, Behaviour) {
        let image = ImageRef::parse(image).unwrap();
        let digest = image.digest.or_else(|| self.tags.get(&image.tag?).cloned());
        match digest.and_then(|digest| Some((digest.clone(), self.behaviours.get(&digest)?.clone()))) {
            Some(found) => found,
            None => (build::digest("nothing"), Behaviour::Missing),
        }
    }
}

impl World {
    pub fn scanned(&mut self, interval: SignedDuration) -> Answer<Scan> {
        if let Some((scan, at)) = &self.operator.scan
            && self.now < *at + interval
        {
            return scan.clone();
        }
        let names: Vec<&str> = self.registry.tags.keys().map(Tag::as_str).collect();
        let scan = match self.registry.door {
            Door::Up => build::scan(&names, self.now),
            Door::Empty => build::scan(&[], self.now),
            Door::Down => build::unknown(Reason::RegistryUnavailable, "connection refused"),
        };
        self.operator.scan = Some((scan.clone(), self.now));
        scan
    }

    pub fn gather(&mut self, facts: &Facts, chosen: &[current::Chosen]) -> Assessment {
        let mut evidence = self.known();
        loop {
            let (assessment, needs) = gate::assess(facts, chosen.to_vec(), &evidence);
            if needs.is_empty() {
                return assessment;
            }
            for need in needs {
                match need {
                    Need::Digest(repository, tag) => {
                        let answer = self.resolved(&tag);
                        evidence.digests.insert((repository, tag), answer);
                    }
                    Need::Manifest(repository, digest) => {
                        let manifest = Answer::Found(self.manifest(&digest));
                        evidence.manifests.insert((repository, digest), manifest);
                    }
                    Need::Attached(repository, digest) => {
                        let answer = match self.registry.door {
                            Door::Down => build::unknown(Reason::RegistryUnavailable, "connection refused"),
                            Door::Up | Door::Empty => build::attached(self.registry.signers.get(&digest)),
                        };
                        evidence.attached.insert((repository, digest), answer);
                    }
                    Need::Served(repository, digest) => {
                        evidence.served.insert((repository, digest), Answer::Found(()));
                    }
                }
            }
        }
    }

    /// What the process has in memory: digests of this scan, and the manifests of those.
    fn known(&self) -> Evidence {
        let mut evidence = Evidence::default();
        let repository = build::repository();
        for (tag, (digest, _)) in self.operator.digests.iter().filter(|(_, (_, at))| self.is_fresh(*at)) {
            let manifest = Answer::Found(self.manifest(digest));
            evidence.manifests.insert((repository.clone(), digest.clone()), manifest);
            evidence.digests.insert((repository.clone(), tag.clone()), Answer::Found(digest.clone()));
        }
        evidence
    }

    fn manifest(&self, digest: &Digest) -> Manifest {
        let version = self.registry.labels.get(digest).cloned();
        Manifest { version, ..build::manifest(digest, &["linux/amd64"]) }
    }

    fn is_fresh(&self, resolved_at: Timestamp) -> bool {
        self.operator.scan.as_ref().map_or(self.now, |(_, at)| *at) <= resolved_at
    }

    fn resolved(&mut self, tag: &Tag) -> Answer<Digest> {
        if let Some((digest, at)) = self.operator.digests.get(tag)
            && self.is_fresh(*at)
        {
            return Answer::Found(digest.clone());
        }
        match (self.registry.door, self.registry.tags.get(tag)) {
            (Door::Down, _) => build::unknown(Reason::RegistryUnavailable, "connection refused"),
            (Door::Up | Door::Empty, None) => Answer::Absent,
            (Door::Up | Door::Empty, Some(digest)) => {
                self.operator.digests.insert(tag.clone(), (digest.clone(), self.now));
                Answer::Found(digest.clone())
            }
        }
    }
}
