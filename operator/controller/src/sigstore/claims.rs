//! The claims of a Fulcio certificate under the names that policies use (`rollforward_core::trust::CLAIMS`).

use std::collections::BTreeMap;

use rollforward_core::text::clean;
use sigstore_verify::crypto::x509::FulcioCiClaims;

/// What a certificate claims, by name. A claim that it does not make is not in it.
pub(super) fn named(claims: &FulcioCiClaims) -> BTreeMap<String, String> {
    let github = &claims.deprecated_github;
    let all = [
        ("githubWorkflowTrigger", &github.workflow_trigger),
        ("githubWorkflowSHA", &github.workflow_sha),
        ("githubWorkflowName", &github.workflow_name),
        ("githubWorkflowRepository", &github.workflow_repository),
        ("githubWorkflowRef", &github.workflow_ref),
        ("buildSignerURI", &claims.build_signer_uri),
        ("buildSignerDigest", &claims.build_signer_digest),
        ("runnerEnvironment", &claims.runner_environment),
        ("sourceRepositoryURI", &claims.source_repository_uri),
        ("sourceRepositoryDigest", &claims.source_repository_digest),
        ("sourceRepositoryRef", &claims.source_repository_ref),
        ("sourceRepositoryIdentifier", &claims.source_repository_identifier),
        ("sourceRepositoryOwnerURI", &claims.source_repository_owner_uri),
        ("sourceRepositoryOwnerIdentifier", &claims.source_repository_owner_identifier),
        ("buildConfigURI", &claims.build_config_uri),
        ("buildConfigDigest", &claims.build_config_digest),
        ("buildTrigger", &claims.build_trigger),
        ("runInvocationURI", &claims.run_invocation_uri),
        ("sourceRepositoryVisibilityAtSigning", &claims.source_repository_visibility_at_signing),
    ];
    // Compared as they are, so cut only where nobody's claim can be: a certificate of megabytes does not fill the memory.
    let bounded = |text: &String| if text.len() <= MAX_CLAIM_BYTES { text.clone() } else { clean(text, 200) };
    all.into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name.to_owned(), bounded(value))))
        .collect()
}

/// Longer than any URL of a repository or workflow.
const MAX_CLAIM_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_that_a_policy_can_name_is_reported_under_that_name() {
        let mut claims = FulcioCiClaims::default();
        let some = || Some("x".to_owned());
        claims.deprecated_github.workflow_trigger = some();
        claims.deprecated_github.workflow_sha = some();
        claims.deprecated_github.workflow_name = some();
        claims.deprecated_github.workflow_repository = some();
        claims.deprecated_github.workflow_ref = some();
        claims.build_signer_uri = some();
        claims.build_signer_digest = some();
        claims.runner_environment = some();
        claims.source_repository_uri = some();
        claims.source_repository_digest = some();
        claims.source_repository_ref = some();
        claims.source_repository_identifier = some();
        claims.source_repository_owner_uri = some();
        claims.source_repository_owner_identifier = some();
        claims.build_config_uri = some();
        claims.build_config_digest = some();
        claims.build_trigger = some();
        claims.run_invocation_uri = some();
        claims.source_repository_visibility_at_signing = some();
        let mut expected: Vec<&str> = rollforward_core::trust::CLAIMS.to_vec();
        expected.sort_unstable();
        assert_eq!(named(&claims).keys().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
