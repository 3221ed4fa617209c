//! Rules: what they answer, what is refused before it is parsed, and that nothing of the permitted size ends the process.

use serde_json::json;

use super::*;

fn ask(rule: &str) -> RuleAnswer {
    let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [], "predicate": {"level": 3, "share": 0.5, "runDetails": {"builder": {"id": "https://github.com/acme/x"}},
        "runner": "self-hosted", "list": [{"name": "a", "n": 1}, {"name": "b", "n": 2}]}});
    let answers = run(statement.to_string().as_bytes(), &[rule.to_owned()]);
    answers.get(rule).cloned().unwrap()
}

#[test]
fn a_rule_holds_fails_with_what_it_saw_or_says_why_it_could_not_be_run() {
    for rule in [
        "predicate.level == 3",
        "predicate.share < 1.0",
        "predicateType == 'https://slsa.dev/provenance/v1'",
        "predicate.runDetails.builder.id.startsWith('https://github.com/acme/')",
        "predicate.runDetails.builder.id.matches('^https://github[.]com/acme/.*$')",
        "predicate.list.all(one, one.n < 3) && predicate.list.exists(one, one.name == 'b')",
        "!has(predicate.nothing)",
        "size(predicate.list) == 2",
    ] {
        assert_eq!(ask(rule), RuleAnswer::Holds, "{rule}");
    }
    let fails = |rule: &str, observed: &str| {
        assert_eq!(ask(rule), RuleAnswer::Fails { observed: observed.to_owned() }, "{rule}");
    };
    fails("predicate.runner != 'self-hosted'", "runner = \"self-hosted\"");
    fails(
        "predicate.runDetails.builder.id.startsWith('https://gitlab.com/') || predicate.level > 3",
        "runDetails.builder.id = \"https://github.com/acme/x\", level = 3",
    );
    fails("has(predicate.nothing)", "nothing = missing");
    fails("1 == 2", "false");
    let error = |rule: &str, part: &str| match ask(rule) {
        RuleAnswer::Error { why } => assert!(why.contains(part), "{rule}: {why}"),
        other => panic!("{rule}: {other:?}"),
    };
    error("predicate.missing == 1", "missing");
    error("predicate.level", "neither true nor false");
    error("predicate.level ==", "not a CEL expression");
    error("undeclared == 1", "undeclared");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_parsed() {
    let refused = |rule: &str, part: &str| {
        let why = check(rule).unwrap_err();
        assert!(why.contains(part), "{rule:.60}: {why}");
    };
    refused("", "empty");
    refused(&"1".repeat(1025), "1025 bytes");
    refused(&format!("{}1", "1+".repeat(200)), "401 words and signs, at most 256 are allowed");
    refused(&format!("{}1", "'a' == r\"b\" && ".repeat(60)), "301 words and signs");
    refused(&format!("{}1{}", "(".repeat(9), ")".repeat(9)), "brackets more than 8 deep");
    assert_eq!(check(&format!("{}1{}", "(".repeat(8), ")".repeat(8))), Ok(()));
    let inner = "x.all(a, y.all(b, z.all(c, true)))";
    refused(inner, "macros more than 2 deep");
    refused("x . all (a, y.map(b, z.exists_one(c, true)))", "macros more than 2 deep");
    assert_eq!(check("x.all(a, y.exists(b, a == b)) && z.all(c, c > 1)"), Ok(()));
    refused("'abc", "does not end");
    // Brackets in texts and comments count for nothing; a quote that a raw text does not end on is no trick.
    assert_eq!(check("'((((((((((' == \"[[[[[[[[[[[\""), Ok(()));
    assert_eq!(check("'''(((((\n((((((''' == '' // )))((((((((((("), Ok(()));
    refused(&format!("r'\\' == '' || {}1{}", "(".repeat(9), ")".repeat(9)), "brackets");
    refused(&format!("'\\'' == '' || {}1{}", "(".repeat(9), ")".repeat(9)), "brackets");
}

#[test]
fn no_expression_of_the_permitted_size_ends_the_process() {
    // As long as what is parsed at all may be.
    let long = |unit: &str, end: &str| {
        let longest = (0..1024).map(|n| format!("{}{end}", unit.repeat(n)));
        longest.filter(|rule| measure::measure(rule).is_ok()).max_by_key(String::len).unwrap()
    };
    for rule in [
        format!("{}1", "1+".repeat(511)),
        long("!", "true"),
        long("-", "1"),
        long("1+", "1"),
        long("true&&", "true"),
        long("true||", "true"),
        long("1==", "1"),
        long("true?true:", "true"),
        long("true?", "1"),
        long("a.", "b"),
        long("a[0]", ""),
        long("a(1).", "b"),
        long("\\u", "x"),
        long("'a'+", "'b'"),
        long("[1].all(x,true)&&", "true"),
    ] {
        // Whether it is CEL is not the question; that there is an answer is.
        let _ = check(&rule);
        let _ = ask(&rule);
    }
}

#[test]
fn a_long_list_is_not_gone_through_again_and_again() {
    let list: Vec<usize> = (0..2_000).collect();
    let statement = json!({"predicate": {"list": list}}).to_string();
    let rule = "predicate.list.all(a, predicate.list.all(b, a + b >= 0))".to_owned();
    let answers = run(statement.as_bytes(), std::slice::from_ref(&rule));
    let expected = "a list of 2000 is too long for 2 nested macros";
    assert_eq!(answers.get(&rule), Some(&RuleAnswer::Error { why: expected.to_owned() }));
    let simple = "predicate.list.all(a, a >= 0)".to_owned();
    assert_eq!(
        run(statement.as_bytes(), std::slice::from_ref(&simple)).get(&simple),
        Some(&RuleAnswer::Holds)
    );
}
