//! Rules: what they answer, what is refused before it is parsed, and that nothing of the permitted size ends the process.

use serde_json::json;

use super::*;

fn ask(rule: &str) -> RuleAnswer {
    let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [], "predicate": {"level": 3, "share": 0.5, "runDetails": {"builder": {"id": "https://github.com/acme/x"}},
        "runner": "self-hosted", "list": [{"name": "a", "n": 1}, {"name": "b", "n": 2}]}});
    let answers = run("shop", statement.to_string().as_bytes(), &[rule.to_owned()]);
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
        let why = fault("shop", rule).unwrap();
        assert!(why.contains(part), "{rule:.60}: {why}");
    };
    refused("", "empty");
    refused(&"1".repeat(1025), "1025 bytes");
    refused(&format!("{}1", "1+".repeat(200)), "401 words and signs, at most 256 are allowed");
    refused(&format!("{}1", "'a' == r\"b\" && ".repeat(60)), "301 words and signs");
    refused(&format!("{}1{}", "(".repeat(9), ")".repeat(9)), "brackets more than 8 deep");
    assert_eq!(fault("shop", &format!("{}1{}", "(".repeat(8), ")".repeat(8))), None);
    let inner = "x.all(a, y.all(b, z.all(c, true)))";
    refused(inner, "macros more than 2 deep");
    refused("x . all (a, y.map(b, z.exists_one(c, true)))", "macros more than 2 deep");
    assert_eq!(fault("shop", "x.all(a, y.exists(b, a == b)) && z.all(c, c > 1)"), None);
    refused("'abc", "does not end");
    // Brackets in texts and comments count for nothing; a quote that a raw text does not end on is no trick.
    assert_eq!(fault("shop", "'((((((((((' == \"[[[[[[[[[[[\""), None);
    assert_eq!(fault("shop", "'''(((((\n((((((''' == '' // )))((((((((((("), None);
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
        let _ = fault("shop", &rule);
        let _ = ask(&rule);
    }
}

#[test]
fn a_long_list_is_not_gone_through_again_and_again() {
    let list: Vec<usize> = (0..2_000).collect();
    let statement = json!({"predicate": {"list": list}}).to_string();
    let rule = "predicate.list.all(a, predicate.list.all(b, a + b >= 0))".to_owned();
    let answers = run("shop", statement.as_bytes(), std::slice::from_ref(&rule));
    let expected = "a list of 2000 is too long for 2 nested macros";
    assert_eq!(answers.get(&rule), Some(&RuleAnswer::Error { why: expected.to_owned() }));
    let simple = "predicate.list.all(a, a >= 0)".to_owned();
    assert_eq!(
        run("shop", statement.as_bytes(), std::slice::from_ref(&simple)).get(&simple),
        Some(&RuleAnswer::Holds)
    );
}

#[test]
fn what_a_rule_may_take_is_bounded_by_the_texts_and_lists_that_it_goes_through() {
    let names: Vec<usize> = (0..1_000).collect();
    let over = |text: usize, rule: &str| {
        let statement = json!({"predicate": {"text": "a".repeat(text), "names": names}}).to_string();
        run("shop", statement.as_bytes(), &[rule.to_owned()]).remove(rule).unwrap()
    };
    let refused = |text: usize, rule: &str, why: &str| {
        assert_eq!(over(text, rule), RuleAnswer::Error { why: why.to_owned() }, "{rule}");
    };
    let search = "predicate.names.all(x, predicate.names.all(y, predicate.text.matches('a+b|a')))";
    refused(
        10,
        search,
        "texts of up to 10 bytes are too long to be searched 1 times for each of 1000000 entries",
    );
    let once = "predicate.names.all(x, predicate.text.matches('^a'))";
    assert_eq!(over(20_000, once), RuleAnswer::Holds);
    // Twenty doublings of ten bytes.
    let doubled = format!("size(['a']{}) == 1", ".map(x, x + x)".repeat(20));
    let why = "what 20 times `+` joins of texts of up to 10 bytes and lists of up to 1000 may take more than 16 MiB";
    refused(10, &doubled, why);
    let joined = "predicate.text + predicate.text == predicate.text + predicate.text";
    assert_eq!(over(100_000, joined), RuleAnswer::Holds);
}

#[test]
fn whoever_has_no_place_in_time_is_asked_again_and_other_namespaces_have_theirs() {
    let taken: Vec<Place> = (0..MAX_THREADS_OF_ONE).map(|_| Place::take("busy").unwrap()).collect();
    let statement = json!({"predicate": {}}).to_string();
    let ask =
        |namespace: &str| run(namespace, statement.as_bytes(), &["true".to_owned()]).remove("true").unwrap();
    assert_eq!(ask("calm"), RuleAnswer::Holds);
    assert_eq!(ask("busy"), RuleAnswer::Unasked { why: "other rules have not ended yet".to_owned() });
    // Who waits gets the place that becomes free meanwhile.
    let waits = std::thread::spawn(|| Place::take("busy").is_some());
    drop(taken);
    assert!(waits.join().unwrap());
    assert_eq!(ask("busy"), RuleAnswer::Holds);
}
