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
use proptest::test_runner::Config;
use rollforward_core::image::{ImageRef, Tag};
use rollforward_core::select::{Level, Query, Rule, Selection, TagFilter, VariantMode, glob_matches, select};
use rollforward_core::text::clean;
use rollforward_core::version::Version;
use rollforward_core::version::range::Range;

fn rule(text: &str) -> Rule {
    match text {
        "Patch" => Rule::Level(Level::Patch),
        "Minor" => Rule::Level(Level::Minor),
        "Major" => Rule::Level(Level::Major),
        range => Rule::Semver(Range::parse(range).unwrap()),
    }
}

fn tag(text: &str) -> Option<Tag> {
    (text != "-").then(|| Tag::parse(text).unwrap())
}

fn told(selection: &Selection) -> String {
    let chosen: Vec<&str> = selection.candidates.iter().map(|one| one.tag.as_str()).collect();
    let rejected: Vec<String> =
        selection.rejected.iter().map(|one| format!("{}={}", one.tag, one.reason)).collect();
    let chosen = if chosen.is_empty() { "none".to_owned() } else { chosen.join(" ") };
    format!("{chosen}; {}", rejected.join(" ")).trim().to_owned()
}

#[test]
fn every_row_of_the_table_selects_what_it_says_and_gives_a_reason_for_every_other_tag() {
    for row in include_str!("tables/select.txt").lines().filter(|row| !row.starts_with('#')) {
        let (question, answer) = row.split_once(" => ").unwrap();
        let parts: Vec<&str> = question.split(" | ").collect();
        let [rule_text, variant, current, floor, abandoned, tags] = parts.as_slice() else { panic!("{row}") };
        let (rule, filter) = (rule(rule_text), TagFilter::default());
        let (current, floor, abandoned) = (tag(current), tag(floor), tag(abandoned));
        let query = Query {
            rule: &rule,
            variant: if *variant == "Any" { VariantMode::Any } else { VariantMode::Keep },
            filter: &filter,
            current: current.as_ref(),
            floor: floor.as_ref(),
            abandoned: abandoned.as_ref(),
            allow_downgrade: false,
        };
        assert_eq!(told(&select(&query, tags.split(' '))), answer, "{row}");
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
    assert!(refused(">>1.2").contains("got \">>1.2\""));
    assert!(
        refused("1.2 -").contains("got \"1.2 -\"") || refused("1.2 -").contains("got \"-\""),
        "{}",
        refused("1.2 -")
    );
    assert!(refused("latest").contains("got \"latest\""));
    assert!(refused("1.x.3").contains("got \"1.x.3\""));
    assert!(refused(&"1".repeat(300)).contains("at most 256 characters"));
}

#[test]
fn filters_leave_out_by_name_and_a_bad_one_is_refused_by_its_field() {
    let filter = TagFilter::parse(Some("^v?\\d"), Some("-(debug|test)$")).unwrap();
    let (rule, current) = (rule("Patch"), tag("1.0.0"));
    let query = Query {
        rule: &rule,
        variant: VariantMode::Any,
        filter: &filter,
        current: current.as_ref(),
        floor: None,
        abandoned: None,
        allow_downgrade: false,
    };
    let selection = select(&query, ["1.0.1", "1.0.2-debug", "x1.0.3"]);
    assert_eq!(told(&selection), "1.0.1; 1.0.2-debug=TagFiltered x1.0.3=TagFiltered");
    let error = TagFilter::parse(None, Some("(")).unwrap_err().to_string();
    assert!(error.starts_with("`image.tags.exclude`: expected a regular expression"), "{error}");
}

#[test]
fn what_the_rule_hides_is_told_and_names_that_are_no_tags_are_counted() {
    let (rule, filter, current) = (rule("Patch"), TagFilter::default(), tag("1.0.0"));
    let query = Query {
        rule: &rule,
        variant: VariantMode::Keep,
        filter: &filter,
        current: current.as_ref(),
        floor: None,
        abandoned: None,
        allow_downgrade: false,
    };
    let selection = select(&query, ["2.1.0", "1.4.0", "3.0.0-rc.1", "\u{1b}[2J", "-x"]);
    assert_eq!(selection.newest_outside.unwrap().tag.as_str(), "2.1.0");
    assert_eq!(selection.not_tags, 2);
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

/// Few in every build; `ROLLFORWARD_PROPERTY_CASES=10000` for a long run.
fn config() -> Config {
    let cases =
        std::env::var("ROLLFORWARD_PROPERTY_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    Config { cases, failure_persistence: None, ..Config::default() }
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

fn ask(names: &[String], level: Level, floor: &str) -> Selection {
    let (rule, filter) = (Rule::Level(level), TagFilter::default());
    let (current, floor) = (Tag::parse("1.1.3").unwrap(), Tag::parse(floor).unwrap());
    let query = Query {
        rule: &rule,
        variant: VariantMode::Keep,
        filter: &filter,
        current: Some(&current),
        floor: Some(&floor),
        abandoned: None,
        allow_downgrade: false,
    };
    select(&query, names.iter().map(String::as_str))
}

proptest! {
    #![proptest_config(config())]

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
        for candidate in ask(&names, Level::Major, &floor).candidates {
            prop_assert!(least < candidate.version, "{} with floor {floor}", candidate.tag);
        }
    }

    #[test]
    fn deleting_tags_never_chooses_a_better_one_and_adding_a_lower_one_changes_nothing(names in names(), at in any::<prop::sample::Index>()) {
        let best = |names: &[String]| ask(names, Level::Major, "1.1.3").candidates.first().map(|one| one.version.clone());
        let before = best(&names);
        let mut fewer = names.clone();
        if !fewer.is_empty() {
            fewer.remove(at.index(names.len()));
        }
        prop_assert!(best(&fewer) <= before);
        let mut more = names;
        more.push("0.0.1".to_owned());
        prop_assert_eq!(best(&more), before);
    }

    #[test]
    fn every_tag_is_a_candidate_or_has_a_reason(names in names()) {
        let selection = ask(&names, Level::Minor, "1.1.3");
        prop_assert_eq!(selection.candidates.len() + selection.rejected.len() + selection.not_tags, names.len());
    }

    #[test]
    fn versions_are_in_a_total_order(one in "[v]?[0-9.]{1,8}(-[a-z0-9.]{0,6})?", two in "[0-9.]{1,8}(-[a-z0-9.-]{0,8})?", three in "[0-9.]{1,8}(-[a-z]{0,6}[0-9]{0,3})?") {
        let read: Vec<Version> = [one, two, three].iter().filter_map(|text| Version::parse(text)).collect();
        for a in &read {
            for b in &read {
                prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                for c in &read {
                    if a <= b && b <= c {
                        prop_assert!(a <= c, "{a} {b} {c}");
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
            let _ = ask(std::slice::from_ref(text), Level::Patch, "1.1.3");
        }
    }
}
