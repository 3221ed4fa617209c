//! Writes bundles of the Sigstore in memory into a folder, good ones and one a defect, for a second verifier to judge.
//!
//! `cargo run -p rollforward-testkit --example mint -- FOLDER`, then `second_opinion.py FOLDER` beside this crate.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::path::PathBuf;

use rollforward_testkit::image::digest_of;
use rollforward_testkit::sigstore::{DEFECTS, Defect, Log, MiniSigstore, Order};
use serde_json::json;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    fs::create_dir_all(&folder).unwrap();
    let mini = MiniSigstore::default();
    fs::write(folder.join("trusted_root.json"), mini.trusted_root(None)).unwrap();
    let digest = digest_of(b"image");
    let mut cases = Vec::new();
    for log in [Log::V1, Log::V2] {
        for defect in [None].into_iter().chain(DEFECTS.iter().copied().map(Some)) {
            // What the other log alone could have.
            let foreign = match log {
                Log::V1 => matches!(defect, Some(Defect::ForeignTimestamp | Defect::OtherTimestamp)),
                Log::V2 | Log::No => {
                    matches!(defect, Some(Defect::BadPromise | Defect::ForeignPromise | Defect::FutureTime))
                }
            };
            if foreign {
                continue;
            }
            let order = Order { log, defect, ..Order::signature(&digest) };
            let name =
                format!("{log:?}-{}", defect.map_or("good".to_owned(), |defect| format!("{defect:?}")));
            fs::write(folder.join(format!("{name}.json")), mini.bundle(&order).to_string()).unwrap();
            cases.push(json!({"name": name, "good": defect.is_none(), "subject": order.who.subject,
                "issuer": order.who.issuer, "digest": digest.as_str()}));
        }
    }
    fs::write(folder.join("cases.json"), json!(cases).to_string()).unwrap();
}
