//! The public conformance suite through `rollforward verify-bundle`: each of its folders with a path and with a digest.
//!
//! Its cases are data that may not be committed: `SIGSTORE_CONFORMANCE_DIR` names the folder that holds `bundle-verify`.
//! Without it the trials are reported as ignored, with the reason in their names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use rollforward_testkit::image::digest_of;

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(folder) = std::env::var_os("SIGSTORE_CONFORMANCE_DIR") else {
        let name = "the conformance suite was not run: SIGSTORE_CONFORMANCE_DIR is not set";
        let ignored = Trial::test(name, || Ok(())).with_ignored_flag(true);
        return libtest_mimic::run(&arguments, vec![ignored]).exit_code();
    };
    let folder = PathBuf::from(folder).join("bundle-verify");
    let cases = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut cases: Vec<PathBuf> =
        cases.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} holds no cases", folder.display());
    let trials = cases.iter().flat_map(|case| {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        [("path", false), ("digest", true)].map(|(form, by_digest)| {
            let case = case.clone();
            Trial::test(format!("{name} by {form}"), move || run(&case, by_digest))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn run(case: &Path, by_digest: bool) -> Result<(), Failed> {
    let optional = |name: &str| Some(case.join(name)).filter(|path| path.exists());
    let text = |name: &str, default: &str| {
        optional(name)
            .map_or_else(|| default.to_owned(), |path| fs::read_to_string(path).unwrap().trim().to_owned())
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollforward"));
    command.arg("verify-bundle").arg("--bundle").arg(case.join("bundle.sigstore.json"));
    match optional("key.pub") {
        Some(key) => command.arg("--key").arg(key),
        None => command
            .args(["--certificate-identity", &text("identity", IDENTITY)])
            .args(["--certificate-oidc-issuer", &text("issuer", ISSUER)]),
    };
    if let Some(root) = optional("trusted_root.json") {
        command.arg("--trusted-root").arg(root);
    }
    let artifact = optional("artifact").unwrap_or_else(|| case.join("../a.txt"));
    if by_digest {
        command.arg(digest_of(&fs::read(artifact).unwrap()).as_str());
    } else {
        command.arg(artifact);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let must_fail = case.to_string_lossy().ends_with("_fail");
    match (output.status.code(), must_fail) {
        (Some(0), false) => Ok(()),
        // A wrong command line would also fail: 2.
        (Some(1), true) if said.starts_with("rollforward: ") => Ok(()),
        (code, _) => Err(format!(
            "expected {}, exit code {code:?}: {said}",
            if must_fail { "a refusal" } else { "success" }
        )
        .into()),
    }
}
