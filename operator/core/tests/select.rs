//! Selection and ranges: tables of cases, and what holds for every list of tags.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests; the number of property cases comes from the environment"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use rollforward_core::image::{ImageRef, Tag};
use rollforward_core::reason::Reason;
use rollforward_core::select::{
    Direction, Level, Order, Query, Rule, Selection, TagFilter, VariantMode, glob_matches, select,
};
use rollforward_core::text::clean;
use rollforward_core::version::Version;
use rollforward_core::version::calver::Format;
use rollforward_core::version::range::Range;

fn rule(text: &str) -> Rule {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let direction = if rest.starts_with("desc") || rest.starts_with("Desc") {
        Direction::Descending
    } else {
        Direction::Ascending
    };
    match kind {
        "Patch" => Rule::Level(Level::Patch),
        "Minor" => Rule::Level(Level::Minor),
        "Major" => Rule::Level(Level::Major),
        "calver" => Rule::Calver(Format::parse(rest).unwrap()),
        "numeric" => Rule::Numeric(direction),
        "lexical" => Rule::Lexical(direction),
        "digest" => Rule::Digest(Tag::parse(rest).unwrap()),
        _ => Rule::Semver(Range::parse(text).unwrap()),
    }
}

fn variant(text: &str) -> VariantMode {
    match text {
        "Keep" => VariantMode::Keep,
        "Any" => VariantMode::Any,
        pattern => VariantMode::pattern(pattern.strip_prefix('/').unwrap()).unwrap(),
    }
}

fn filter(text: &str) -> TagFilter {
    let part = |name: &str| text.split(';').find_map(|part| part.strip_prefix(&format!("{name}=")));
    TagFilter::parse(part("include"), part("exclude"), part("extract")).unwrap()
}

/// A question as a row of a table asks it.
struct Question {
    rule: Rule,
    variant: VariantMode,
    filter: TagFilter,
    current: Option<Tag>,
    floor: Option<Tag>,
    label: Option<String>,
    abandoned: Option<Tag>,
}

impl Question {
    fn new(rule_text: &str, variant_text: &str, filter_text: &str, current: &str) -> Self {
        Self {
            rule: rule(rule_text),
            variant: variant(variant_text),
            filter: filter(filter_text),
            current: tag(current),
            floor: None,
            label: None,
            abandoned: None,
        }
    }

    fn ask<'a, S: AsRef<str>>(&self, tags: &'a [S]) -> Selection<'a, S> {
        let query = Query {
            rule: &self.rule,
            variant: &self.variant,
            filter: &self.filter,
            current: self.current.as_ref(),
            floor: self.floor.as_ref(),
            label: self.label.as_deref(),
            abandoned: self.abandoned.as_ref(),
            allow_downgrade: false,
        };
        select(&query, tags)
    }
}

fn tag(text: &str) -> Option<Tag> {
    (text != "-").then(|| Tag::parse(text).unwrap())
}

fn told<S: AsRef<str>>(selection: &Selection<'_, S>) -> String {
    let chosen: Vec<&str> = selection.candidates().collect();
    let rejected: Vec<String> =
        selection.rejected().iter().map(|(tag, reason)| format!("{tag}={reason}")).collect();
    let chosen = if chosen.is_empty() { "none".to_owned() } else { chosen.join(" ") };
    format!("{chosen}; {}", rejected.join(" ")).trim().to_owned()
}

#[test]
fn every_row_of_the_table_selects_what_it_says_and_gives_a_reason_for_every_other_tag() {
    for row in include_str!("tables/select.txt").lines().filter(|row| !row.starts_with('#')) {
        let (question, answer) = row.split_once(" => ").unwrap();
        let parts: Vec<&str> = question.split(" | ").collect();
        let [rule, variant, filter, current, floor, abandoned, tags] = parts.as_slice() else {
            panic!("{row}")
        };
        let mut question = Question::new(rule, variant, filter, current);
        // A floor by the label of the running image is written `label:1.4.7`.
        question.label = floor.strip_prefix("label:").map(str::to_owned);
        let floor = if question.label.is_some() { "-" } else { floor };
        (question.floor, question.abandoned) = (tag(floor), tag(abandoned));
        let mut tags: Vec<&str> = tags.split(' ').collect();
        assert_eq!(told(&question.ask(&tags)), answer, "{row}");
        tags.reverse();
        assert_eq!(told(&question.ask(&tags)), answer, "reversed: {row}");
    }
}

#[test]
fn ranges_mean_what_masterminds_means_by_them() {
    for row in include_str!("tables/ranges.txt").lines().filter(|row| !row.starts_with('#')) {
        let parts: Vec<&str> = row.split(" | ").collect();
        let [text, inside, outside] = parts.as_slice() else { panic!("{row}") };
        let range = Range::parse(text).unwrap();
        let within = |version: &str| range.matches(&Version::parse(version).unwrap());
        for version in inside.split(' ') {
            assert!(within(version), "{version} is in {text}");
        }
        for version in outside.split(' ') {
            assert!(!within(version), "{version} is not in {text}");
        }
    }
}

#[test]
fn a_bad_range_says_what_was_expected_and_what_was_found() {
    let refused = |text: &str| Range::parse(text).unwrap_err().to_string();
    assert!(refused("").contains("expected a range such as ~1.4"));
    for bad in
        [">>1.2", "1.2 -", "latest", "1.2 || ", "1.2.3.4", "1x", "1|2", ">=1.2 - 1.4", "=v1 V2", "~1.0.0-01"]
    {
        assert!(refused(bad).contains("expected operators (= !="), "{bad}: {}", refused(bad));
    }
    assert!(refused("latest").contains("got \"latest\""));
    assert!(refused(&"1".repeat(600)).contains("at most 512 characters"));
    assert!(refused(&"1||".repeat(40)).contains("at most 32 groups"));
}

#[test]
fn a_bad_format_says_what_was_expected() {
    let refused = |text: &str| Format::parse(text).unwrap_err().to_string();
    assert!(refused("").contains("expected a year"));
    assert!(refused("MAJOR.MINOR").contains("expected a year"));
    assert!(refused("YYYY.Q").contains("got \"Q\""));
    assert!(refused("YYYY.0M.YY").contains("each part of a date once"));
    assert!(refused("YYYY.N0M").contains("a separator after N"));
    assert!(refused("YYYY.N.N.N.N.N.N").contains("at most 6 numbers"));
    assert!(refused(&"YYYY.".repeat(20)).contains("at most 6 numbers"));
}

#[test]
fn a_bad_expression_is_refused_by_its_field() {
    let refused =
        |include, exclude, extract| TagFilter::parse(include, exclude, extract).unwrap_err().to_string();
    let error = refused(None, Some("("), None);
    assert!(error.starts_with("`image.tags.exclude`: expected a regular expression"), "{error}");
    let error = refused(None, None, Some("^main-([0-9]+)$"));
    assert!(error.starts_with("`image.tags.extract`: expected a group named version"), "{error}");
    let long = "a".repeat(300);
    let error = refused(Some(&long), None, None);
    assert!(error.contains("`image.tags.include`") && error.ends_with("too long"), "{error}");
    let error = refused(Some("(a{1000}){1000}"), None, None);
    assert!(error.contains("size"), "an expression that compiles to too much is refused: {error}");
    let error = VariantMode::pattern("[").unwrap_err().to_string();
    assert!(error.starts_with("`image.variant.pattern`: expected a regular expression"), "{error}");
}

#[test]
fn what_the_rule_hides_is_told_and_names_that_are_no_tags_have_a_reason_too() {
    let tags = ["2.1.0", "1.4.0", "3.0.0-rc.1", "v2.1.0", "\u{1b}[2J", "-x", "1.0.1+b1"];
    let question = Question::new("Patch", "Keep", "-", "1.0.0");
    let selection = question.ask(&tags);
    assert_eq!(selection.newest_outside(), Some("2.1.0"));
    let shortlist = selection.shortlist();
    assert_eq!(shortlist.newest_outside.unwrap().as_str(), "2.1.0");
    let group = shortlist.groups.iter().find(|group| group.reason == Reason::NotATag).unwrap();
    assert_eq!((group.count, group.example.as_str()), (3, "[2J"));
}

#[test]
fn a_shortlist_is_bounded_whatever_the_length_of_the_list() {
    let tags: Vec<String> = (0..5_000).map(|patch| format!("1.0.{patch}")).collect();
    let shortlist = Question::new("Patch", "Keep", "-", "1.0.10").ask(&tags).shortlist();
    let best: Vec<&str> = shortlist.best.iter().map(Tag::as_str).collect();
    assert_eq!(best, ["1.0.4999", "1.0.4998", "1.0.4997", "1.0.4996", "1.0.4995"]);
    assert_eq!(shortlist.n_candidates, 4_989);
    assert_eq!((shortlist.groups.len(), shortlist.groups[0].count), (1, 11));
}

#[test]
fn a_shorter_spelling_is_an_alias_of_what_it_follows_and_of_nothing_else() {
    let (rule, filter) = (rule("Major"), TagFilter::default());
    let order = Order { rule: &rule, filter: &filter };
    let alias = |short: &str, long: &str| order.is_alias(&tag(short).unwrap(), &tag(long).unwrap());
    assert!(alias("1.4", "1.4.2") && alias("1", "1.4.2") && alias("v1.4", "1.4.2"));
    assert!(!alias("1.4.2", "1.4") && !alias("1.3", "1.4.2") && !alias("1.4.2", "1.4.2"));
}

#[test]
fn a_pattern_of_repositories_matches_across_slashes() {
    for (pattern, text, fits) in [
        ("ghcr.io/acme/*", "ghcr.io/acme/web", true),
        ("ghcr.io/acme/*", "ghcr.io/acme/team/web", true),
        ("ghcr.io/acme/*", "ghcr.io/other/web", false),
        ("*", "anything", true),
        ("*/web", "ghcr.io/acme/web", true),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxc", false),
        ("ghcr.io/acme/web", "ghcr.io/acme/web", true),
        ("ghcr.io/acme/web", "ghcr.io/acme/web2", false),
    ] {
        assert_eq!(glob_matches(pattern, text), fits, "{pattern} {text}");
    }
}

/// The same cases at every run, so that a build says what the change did; `ROLLFORWARD_PROPERTY_CASES=10000` makes
/// that many new ones.
fn config() -> Config {
    let asked = std::env::var("ROLLFORWARD_PROPERTY_CASES").ok().and_then(|text| text.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(20_261_125) };
    let cases = asked.unwrap_or(64);
    // A failure is made smaller for a minute at most.
    Config { cases, rng_seed, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() }
}

fn names() -> impl Strategy<Value = Vec<String>> {
    let version = (0..3_u8, 0..4_u8, 0..12_u8, 0..6_u8).prop_map(|(major, minor, patch, form)| match form {
        0 => format!("v{major}.{minor}.{patch}"),
        1 => format!("{major}.{minor}.{patch}-alpine3.{patch}"),
        2 => format!("{major}.{minor}.{patch}-rc.{patch}"),
        3 => format!("{major}.{minor}"),
        _ => format!("{major}.{minor}.{patch}"),
    });
    prop::collection::vec(prop_oneof![9 => version, 1 => "[a-z0-9._-]{1,12}"], 0..40)
}

fn ask<'a>(names: &'a [String], level: Level, floor: &str) -> Selection<'a, String> {
    let mut question = Question::new("Patch", "Keep", "-", "1.1.3");
    (question.rule, question.floor) = (Rule::Level(level), tag(floor));
    question.ask(names)
}

/// Every kind of rule, with a running tag that it orders.
const KINDS: &[(&str, &str, &str, &str)] = &[
    ("Minor", "Keep", "-", "1.1.3"),
    ("Minor", "Any", "-", "v1.1.3"),
    (">=1.0.0-0 <2 || ^0.2", "Any", "-", "0.1"),
    (">0", "/^alpine", "-", "1.1.3-alpine3.3"),
    ("calver:YYYY.MM.DD", "Keep", "-", "2026.1.3"),
    ("calver:N.YY-N", "Any", "-", "1.26-3"),
    ("numeric", "Keep", "-", "3"),
    ("numeric:desc", "Keep", "extract=(?P<version>[0-9]+)$", "1.1.3"),
    ("lexical:asc", "Keep", "-", "1.1.3"),
    ("lexical:desc", "Keep", "include=^[0-9]", "1.1.3"),
    ("digest:1.1", "Keep", "-", "1.1"),
];

fn any_names() -> impl Strategy<Value = Vec<String>> {
    let number = prop_oneof![5 => "[0-9]{1,2}", 1 => "[0-9]{18,22}", 1 => "0[0-9]"];
    let part = prop_oneof![
        3 => number.prop_map(|number| number),
        1 => "2026\\.[0-9]{1,2}\\.[0-9]{1,2}",
        1 => "(alpine|slim|rc|beta|m|jdk)[0-9.]{0,3}",
        1 => "[a-zA-Z0-9_]{1,3}",
    ];
    let joined = (prop::collection::vec(part, 1..5), "[.\\-_v]?").prop_map(|(parts, edge)| {
        let joint = if edge.is_empty() || edge == "v" { "." } else { edge.as_str() };
        let head = if edge == "v" { "v" } else { "" };
        format!("{head}{}", parts.join(joint))
    });
    prop::collection::vec(prop_oneof![9 => joined, 1 => "\\PC{0,12}"], 0..30)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_order_of_the_list_changes_nothing_under_any_rule(names in any_names(), seed in any::<u64>()) {
        for (rule, variant, filter, current) in KINDS {
            let question = Question::new(rule, variant, filter, current);
            let before = question.ask(&names).shortlist();
            let all = told(&question.ask(&names));
            let mut shuffled = names.clone();
            let count = names.len().max(1);
            for at in 0..names.len() {
                shuffled.swap(at, (seed as usize).wrapping_add(at.wrapping_mul(7)) % count);
            }
            prop_assert_eq!(&all, &told(&question.ask(&shuffled)), "{}", rule);
            prop_assert_eq!(before, question.ask(&shuffled).shortlist(), "{}", rule);
        }
    }

    #[test]
    fn a_tag_that_is_taken_away_or_added_moves_no_other_one(names in any_names(), at in any::<prop::sample::Index>()) {
        for (rule, variant, filter, current) in KINDS {
            let question = Question::new(rule, variant, filter, current);
            let mut fewer = names.clone();
            fewer.sort();
            fewer.dedup();
            let all: Vec<String> = question.ask(&fewer).candidates().map(str::to_owned).collect();
            let removed = if fewer.is_empty() { String::new() } else { fewer.remove(at.index(fewer.len())) };
            let left: Vec<String> = question.ask(&fewer).candidates().map(str::to_owned).collect();
            let expected: Vec<String> = all.iter().filter(|tag| **tag != removed).cloned().collect();
            // Where the tag that stood for several was taken away, the next of them may take its place.
            let others: Vec<String> = left.iter().filter(|tag| all.contains(tag)).cloned().collect();
            prop_assert_eq!(&others, &expected, "{} without {}", rule, removed);
            prop_assert!(left.len() <= expected.len() + 1);
        }
    }

    #[test]
    fn what_is_chosen_is_newer_than_what_runs_under_any_rule(names in any_names()) {
        for (rule, variant, filter, current) in KINDS.iter().filter(|(rule, ..)| !rule.starts_with("digest")) {
            let question = Question::new(rule, variant, filter, current);
            let order = Order { rule: &question.rule, filter: &question.filter };
            let running = question.current.clone().unwrap();
            for candidate in question.ask(&names).candidates() {
                let candidate = Tag::parse(candidate).unwrap();
                let relation = order.compare(&candidate, &running).unwrap();
                prop_assert!(relation.is_ge() && candidate != running, "{candidate} under {rule}");
            }
        }
    }

    #[test]
    fn a_key_never_contradicts_the_order_it_stands_for(one in "v?[0-9]{1,21}(\\.[0-9]{1,6}){0,4}(-rc[0-9])?", two in "v?[0-9]{1,21}(\\.[0-9]{1,6}){0,4}(-rc[0-9])?") {
        for rule in [rule("Major"), rule("numeric"), rule("lexical:asc")] {
            if let (Some(left), Some(right)) = (rule.value(&one), rule.value(&two)) {
                let by_key = left.key().cmp(&right.key());
                prop_assert!(by_key.is_eq() || by_key == left.compare(&right), "{one} {two} {rule:?}");
            }
        }
    }

    #[test]
    fn the_order_of_the_list_changes_nothing(mut names in names(), seed in any::<u64>()) {
        names.sort();
        names.dedup();
        let before = told(&ask(&names, Level::Major, "1.1.3"));
        let count = names.len().max(1);
        for at in 0..names.len() {
            names.swap(at, (seed as usize).wrapping_add(at.wrapping_mul(7)) % count);
        }
        prop_assert_eq!(before, told(&ask(&names, Level::Major, "1.1.3")));
    }

    #[test]
    fn nothing_at_or_below_the_current_version_or_the_floor_is_ever_chosen(names in names(), patch in 0..12_u8) {
        let floor = format!("1.1.{patch}");
        let least = Version::parse("1.1.3").unwrap().max(Version::parse(&floor).unwrap());
        for candidate in ask(&names, Level::Major, &floor).candidates() {
            prop_assert!(least < Version::parse(candidate).unwrap(), "{candidate} with floor {floor}");
        }
    }

    #[test]
    fn deleting_tags_never_chooses_a_better_one_and_adding_a_lower_one_changes_nothing(names in names(), at in any::<prop::sample::Index>()) {
        fn best(names: &[String]) -> Option<Version<'_>> {
            ask(names, Level::Major, "1.1.3").candidates().next().and_then(Version::parse)
        }
        let before = best(&names);
        let mut fewer = names.clone();
        if !fewer.is_empty() {
            fewer.remove(at.index(names.len()));
        }
        prop_assert!(best(&fewer) <= before);
        let mut more = names.clone();
        more.push("0.0.1".to_owned());
        prop_assert_eq!(best(&more), before);
    }

    #[test]
    fn every_tag_is_a_candidate_or_has_a_reason(names in names()) {
        let selection = ask(&names, Level::Minor, "1.1.3");
        prop_assert_eq!(selection.candidates().len() + selection.rejected().len(), names.len());
    }

    #[test]
    fn versions_are_in_a_total_order(one in "[v]?[0-9.]{1,8}(-[a-z0-9.]{0,6})?", two in "[0-9.]{1,8}(-[a-z0-9.-]{0,8})?", three in "[0-9.]{1,8}(-[a-z]{0,6}[0-9]{0,3})?") {
        let texts = [one, two, three];
        let read: Vec<Version> = texts.iter().filter_map(|text| Version::parse(text)).collect();
        for a in &read {
            for b in &read {
                prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                for c in &read {
                    if a <= b && b <= c {
                        prop_assert!(a <= c, "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}", other in "[0-9.xX*<>=~^!| ,v-]{0,40}") {
        for text in [&text, &other] {
            let _ = Version::parse(text);
            let _ = ImageRef::parse(text);
            let _ = glob_matches(text, &other);
            prop_assert!(clean(text, 10).chars().count() <= 10);
            if let Ok(range) = Range::parse(text) {
                let _ = range.matches(&Version::parse("1.2.3-rc.1").unwrap());
            }
            for (rule, variant, filter, current) in KINDS {
                let one = [text.clone()];
                let selection = Question::new(rule, variant, filter, current);
                prop_assert_eq!(selection.ask(&one).candidates().len() + selection.ask(&one).rejected().len(), 1);
            }
            let _ = Format::parse(text).map(|format| format.read(&other).is_some());
            let _ = TagFilter::parse(Some(text), None, Some(text));
        }
    }
}

/// The examples of a page: each block with the language `select`, its question and its answers.
fn examples(page: &str) -> Vec<(&str, Vec<&str>)> {
    let blocks = page.split("```select\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks
        .map(|block| {
            let (question, answers) = block.split_once('\n').unwrap();
            (question, answers.lines().collect())
        })
        .collect()
}

#[test]
fn every_example_of_the_documentation_is_true() {
    let examples = examples(include_str!("../../../docs/selection.md"));
    assert!(15 < examples.len(), "the page has its examples: {}", examples.len());
    for (question, rows) in examples {
        let part =
            |name: &str| question.split("; ").find_map(|part| part.strip_prefix(name)?.strip_prefix(' '));
        let rule_text = ["calver", "numeric", "lexical", "digest"]
            .iter()
            .find_map(|kind| Some(format!("{kind}:{}", part(kind)?)))
            .or_else(|| part("level").or(part("range")).map(str::to_owned))
            .unwrap();
        let asked = Question {
            rule: rule(&rule_text),
            variant: part("variant").map_or(VariantMode::Keep, |text| VariantMode::pattern(text).unwrap()),
            filter: TagFilter::parse(part("include"), part("exclude"), part("extract")).unwrap(),
            current: part("current").and_then(tag),
            floor: part("floor").and_then(tag),
            label: part("label").map(str::to_owned),
            abandoned: part("left").and_then(tag),
        };
        let rows: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| row.split_once(' ').map(|(tag, word)| (tag, word.trim())).unwrap())
            .collect();
        let tags: Vec<&str> = rows.iter().rev().map(|(tag, _)| *tag).collect();
        let selection = asked.ask(&tags);
        let mut expected = selection
            .candidates()
            .enumerate()
            .map(|(at, tag)| (tag, if at == 0 { "selected" } else { "candidate" }));
        for (tag, word) in &rows {
            match *word {
                "selected" | "candidate" => assert_eq!(expected.next(), Some((*tag, *word)), "{question}"),
                code => {
                    let rejected = selection.rejected();
                    let reason =
                        rejected.iter().find(|(name, _)| name == tag).map(|(_, reason)| reason.code());
                    assert_eq!(reason, Some(code), "{tag} in {question}");
                }
            }
        }
        assert_eq!(expected.next(), None, "{question}");
    }
}
