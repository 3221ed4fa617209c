//! Ranges beside the Go library whose syntax they follow: the real github.com/Masterminds/semver/v3, the real
//! `rollforward resolve --batch`, and tens of thousands of generated pairs. Every difference is listed here with its reason.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::operator;
use serde_json::{Value, json};

pub(crate) fn trials() -> Vec<Named> {
    vec![trial(
        "ranges mean what Masterminds/semver means by them, but for the differences that are listed",
        compared,
    )]
}

/// How many ranges are made, and how many versions are asked of each.
const RANGES: usize = 6_000;
const VERSIONS: usize = 12;
/// Pairs with a range that can be read to which no listed difference applies, at least: there the two must agree to the letter.
const LEAST_PLAIN: usize = 20_000;

/// What either side says of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    BadRange,
    BadVersion,
    In,
    Out,
}

/// An intended difference: which pairs it is about, and why.
struct Difference {
    why: &'static str,
    about: fn(range: &str, version: &str) -> bool,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "a suffix that is no pre-release word is a variant of the same version, not a pre-release of it",
        about: |_, version| {
            suffix(version).is_some_and(|suffix| suffix.split('-').any(|part| !is_prerelease(part)))
        },
    },
    Difference {
        why: "numbers inside a pre-release are numbers and letters have no case: rc10 comes after RC9",
        about: |range, version| {
            let mixed = |text: &str| {
                let glued = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_digit();
                text.chars().any(|letter| letter.is_ascii_uppercase())
                    || text.as_bytes().windows(2).any(glued)
            };
            let named = range.split([' ', ',', '|']).filter_map(suffix).any(mixed);
            suffix(version).is_some_and(|suffix| named || mixed(suffix))
        },
    },
    Difference {
        why: "numbers have any size; the library ends at 64 bits",
        about: |range, version| {
            let long =
                |text: &str| text.split(|letter: char| !letter.is_ascii_digit()).any(|run| 19 < run.len());
            long(range) || long(version)
        },
    },
    Difference {
        why: "a tag cannot hold a +, so there is no build metadata in it",
        about: |_, version| version.contains('+'),
    },
    Difference {
        why: "four and more parts are read and ordered, and are outside every range",
        about: |_, version| 3 < numbers(version).split('.').count(),
    },
    Difference {
        why: "a pre-release word may follow without a hyphen, and _ is read like -",
        about: |_, version| {
            let rest = version
                .trim_start_matches(['v', 'V'])
                .trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
            rest.starts_with('_') || rest.starts_with(|letter: char| letter.is_ascii_lowercase())
        },
    },
    Difference {
        why: "an empty piece of a suffix is passed over",
        about: |_, version| suffix(version).is_some_and(|suffix| suffix.split(['.', '-']).any(str::is_empty)),
    },
    Difference { why: "a capital V is read like a small one", about: |_, version| version.starts_with('V') },
    Difference {
        why: "a leading zero in a pre-release of a tag is read",
        about: |_, version| {
            let zero = |part: &str| {
                1 < part.len() && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit())
            };
            suffix(version).is_some_and(|suffix| suffix.split(['.', '-']).any(zero))
        },
    },
];

fn numbers(version: &str) -> &str {
    let plain = version.trim_start_matches(['v', 'V']);
    plain.split(['-', '+', '_']).next().unwrap_or(plain)
}

fn suffix(version: &str) -> Option<&str> {
    version.split('+').next()?.split_once('-').map(|(_, suffix)| suffix)
}

fn is_prerelease(part: &str) -> bool {
    part.is_empty()
        || ["rc", "beta", "alpha", "dev"].iter().any(|word| part.to_ascii_lowercase().starts_with(word))
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn number(&mut self) -> String {
        match self.below(60) {
            0 => "18446744073709551615".to_owned(),
            1 => "18446744073709551616".to_owned(),
            2 => "02".to_owned(),
            small => (small % 4).to_string(),
        }
    }

    fn version(&mut self) -> String {
        let head = self.pick(&["", "", "", "", "", "", "", "", "", "", "", "v", "v", "V"]);
        let parts = [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4][self.below(16)];
        let numbers: Vec<String> = (0..parts).map(|_| self.number()).collect();
        let plain = ["", "", "", "-rc.1", "-rc.2", "-beta.2", "-alpha", "-alpha.beta", "-beta.11"];
        let odd = [
            "-rc1",
            "-rc10",
            "-RC.1",
            "-0",
            "-01",
            "-rc.01",
            "-alpine",
            "-alpine3.20",
            "-rc.1-alpine",
            "+b1",
            "-rc.1+b1",
            "rc1",
            "_1",
            ".x",
            "-",
            "-beta..1",
        ];
        let tail = if self.below(4) == 0 { self.pick(&odd) } else { self.pick(&plain) };
        format!("{head}{}{tail}", numbers.join("."))
    }

    fn named(&mut self) -> String {
        let head = self.pick(&["", "", "", "", "v"]);
        let count = [1, 2, 2, 3, 3, 3, 3, 3, 3, 3][self.below(10)];
        let parts: Vec<String> = (0..count)
            .map(|_| match self.below(24) {
                0 => "x".to_owned(),
                1 => "*".to_owned(),
                2 => "X".to_owned(),
                _ => self.number(),
            })
            .collect();
        let odd = ["-0", "-rc.1", "-beta.2", "-alpha", "-rc2", "-alpine", "-rc.01", "+b2", "-rc.1+b2"];
        let tail = if self.below(4) == 0 { self.pick(&odd) } else { "" };
        format!("{head}{}{tail}", parts.join("."))
    }

    fn comparator(&mut self) -> String {
        let operator = self.pick(&[
            "", "", "=", "!=", ">", "<", ">=", ">=", "=>", "<=", "=<", "~", "~", "~>", "^", "^", "^", "!",
            "==", ">>",
        ]);
        // The last three are no operators: rare, so that most ranges can be read.
        let operator = if operator.len() == 2 && ["==", ">>"].contains(&operator) && self.below(4) != 0 {
            ""
        } else {
            operator
        };
        let operator = if operator == "!" { "!=" } else { operator };
        format!("{operator}{}{}", self.pick(&["", "", "", " ", "  "]), self.named())
    }

    fn group(&mut self) -> String {
        if self.below(8) == 0 {
            let joint = self.pick(&[" - ", " - ", " - ", " - ", "  -  ", " -", "-"]);
            return format!("{}{joint}{}", self.named(), self.named());
        }
        let count = [1, 1, 1, 2, 2, 3][self.below(6)];
        let comparators: Vec<String> = (0..count).map(|_| self.comparator()).collect();
        comparators.join(self.pick(&[" ", " ", " ", ",", ",", ", ", ", ", " , ", " , ", ",,"]))
    }

    fn range(&mut self) -> String {
        match self.below(60) {
            0 => self
                .pick(&[
                    "", " ", "||", "latest", "1.2.3.4", "1x", "1|2", "*", "^*", "~*", "!=*", "<=*", ">*",
                    "<*",
                ])
                .to_owned(),
            1 => format!("{} {}", self.comparator(), self.group()),
            _ => {
                let count = [1, 1, 1, 2, 3][self.below(5)];
                let groups: Vec<String> = (0..count).map(|_| self.group()).collect();
                groups.join(self.pick(&[" || ", "||", " ||"]))
            }
        }
    }
}

fn lines(program: &Path, arguments: &[&str], questions: &[Value]) -> anyhow::Result<Vec<Value>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let mut input = child.stdin.take().context("standard input")?;
    let text: String = questions.iter().map(|question| format!("{question}\n")).collect();
    // Beside the reading: both pipes are bounded.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().expect("the writer")?;
    ensure!(output.status.success(), "{} ended with {}", program.display(), output.status);
    let answers: Result<Vec<Value>, _> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect();
    let answers = answers?;
    ensure!(answers.len() == questions.len(), "{} answers to {} questions", answers.len(), questions.len());
    Ok(answers)
}

fn theirs(program: &Path, pairs: &[(String, Vec<String>)]) -> anyhow::Result<Vec<Word>> {
    let questions: Vec<Value> = pairs
        .iter()
        .flat_map(|(range, versions)| {
            versions.iter().map(move |version| json!({"range": range, "version": version}))
        })
        .collect();
    let said = |answer: &Value| match (&answer["range"], &answer["version"], &answer["match"]) {
        (Value::Bool(false), _, _) => Word::BadRange,
        (_, Value::Bool(false), _) => Word::BadVersion,
        (_, _, Value::Bool(true)) => Word::In,
        _ => Word::Out,
    };
    Ok(lines(program, &[], &questions)?.iter().map(said).collect())
}

fn ours(program: &Path, pairs: &[(String, Vec<String>)]) -> anyhow::Result<Vec<Word>> {
    let question = |(range, versions): &(String, Vec<String>)| json!({"select": {"semver": {"range": range}}, "variant": {"mode": "Any"}, "current": null, "available": versions});
    let questions: Vec<Value> = pairs.iter().map(question).collect();
    let answers = lines(program, &["resolve", "--batch"], &questions)?;
    let mut words = Vec::new();
    for ((_, versions), answer) in pairs.iter().zip(&answers) {
        let mut said: BTreeMap<&str, Word> = BTreeMap::new();
        for one in answer["rejected"].as_array().context("rejected")? {
            let word = match one["code"].as_str().context("a code")? {
                "OutsideRule" | "PreRelease" => Word::Out,
                "Duplicate" => Word::In,
                "NotAVersion" | "NotATag" => Word::BadVersion,
                other => anyhow::bail!("unexpected code {other}"),
            };
            said.entry(one["tag"].as_str().context("a tag")?).or_insert(word);
        }
        for one in answer["candidates"].as_array().context("candidates")? {
            said.insert(one.as_str().context("a tag")?, Word::In);
        }
        let refused = !answer["error"].is_null();
        for version in versions {
            let word = if refused { Some(Word::BadRange) } else { said.get(version.as_str()).copied() };
            words.push(word.with_context(|| format!("no word on {version} in {answer}"))?);
        }
    }
    Ok(words)
}

async fn compared(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut seeded = Seeded(20_261_124);
    let pairs: Vec<(String, Vec<String>)> =
        (0..RANGES).map(|_| (seeded.range(), (0..VERSIONS).map(|_| seeded.version()).collect())).collect();
    let (theirs, ours) = tokio::task::spawn_blocking({
        let (pairs, library) = (pairs.clone(), cluster.parts.program("masterminds"));
        move || anyhow::Ok((theirs(&library, &pairs)?, ours(&operator::binary()?, &pairs)?))
    })
    .await??;
    let all = pairs.iter().flat_map(|(range, versions)| versions.iter().map(move |version| (range, version)));
    let mut seen = vec![0_usize; DIFFERENCES.len()];
    let (mut plain, mut plain_in, mut plain_bad) = (0_usize, 0_usize, 0_usize);
    let mut unexplained = Vec::new();
    for ((range, version), (them, us)) in all.zip(theirs.iter().zip(&ours)) {
        let applies: Vec<usize> =
            (0..DIFFERENCES.len()).filter(|at| (DIFFERENCES[*at].about)(range, version)).collect();
        if applies.is_empty() {
            plain += 1;
            plain_in += usize::from(*us == Word::In);
            plain_bad += usize::from(*us == Word::BadRange);
        }
        if them != us {
            if applies.is_empty() {
                unexplained.push(format!("{version:?} in {range:?}: library {them:?}, we {us:?}"));
            }
            applies.iter().for_each(|at| seen[*at] += 1);
        }
    }
    let shown: Vec<String> = unexplained.iter().take(20).cloned().collect();
    ensure!(
        unexplained.is_empty(),
        "{} differences that are not listed:\n{}",
        unexplained.len(),
        shown.join("\n")
    );
    ensure!(
        LEAST_PLAIN <= plain - plain_bad,
        "only {plain} plain pairs, {plain_bad} of them without a range"
    );
    // Neither side may agree by refusing or by taking everything.
    ensure!(plain / 10 < plain_in && plain_in < plain * 9 / 10, "{plain_in} of {plain} pairs match");
    ensure!(plain_bad < plain / 4, "{plain_bad} of {plain} pairs have a range that cannot be read");
    for (difference, count) in DIFFERENCES.iter().zip(&seen) {
        ensure!(0 < *count, "a listed difference never occurs: {}", difference.why);
    }
    println!("{plain} plain pairs agree, {plain_in} of them in range; differences as listed: {seen:?}");
    Ok(())
}
