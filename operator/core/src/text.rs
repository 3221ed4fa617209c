//! Words: foreign text made safe, instants and durations as people read them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Makes a text that somebody else wrote safe for a terminal and bounded: control, bidirectional and invisible characters are
/// removed, white space is folded, the rest is cut to `most` characters.
#[must_use]
pub fn clean(text: &str, most: usize) -> String {
    let mut kept = String::new();
    let mut count: usize = 0;
    for letter in text.chars() {
        let letter = if letter.is_whitespace() { ' ' } else { letter };
        if letter == ' ' && (kept.is_empty() || kept.ends_with(' ')) {
            continue;
        }
        if letter.is_control() || is_invisible(letter) {
            continue;
        }
        if count == most {
            let shorter: String = kept.chars().take(most.saturating_sub(1)).collect();
            return format!("{}…", shorter.trim_end());
        }
        kept.push(letter);
        count = count.saturating_add(1);
    }
    kept.truncate(kept.trim_end().len());
    kept
}

/// No message of a kubelet is longer; what is longer is cut first, so that the work is bounded.
const LONGEST: usize = 8_192;

/// As [`clean`], for the messages of runtimes: what a long one means stands at its end, behind the layers that passed it on.
/// Keeps the first quarter and as much of the end as fits.
#[must_use]
pub fn clean_ends(text: &str, most: usize) -> String {
    let whole = clean(text, LONGEST);
    let length = whole.chars().count();
    if length <= most {
        return whole;
    }
    let head = most.checked_div(4).unwrap_or(0);
    let tail = most.saturating_sub(head).saturating_sub(3);
    let first: String = whole.chars().take(head).collect();
    let last: String = whole.chars().skip(length.saturating_sub(tail)).collect();
    format!("{} … {}", first.trim_end(), last.trim_start())
}

/// As [`clean_ends`], and what the decision was made by stays too where it stood in the middle: from `decisive` on, as far as
/// there is room.
#[must_use]
pub fn clean_around(text: &str, decisive: &str, most: usize) -> String {
    let short = clean_ends(text, most);
    let whole = clean(text, LONGEST);
    let length = whole.chars().count();
    // What passed a message on repeats what it says: the last time counts.
    let Some((before, _)) = whole.rsplit_once(decisive).filter(|_| !decisive.is_empty()) else {
        return short;
    };
    let from_end = length.saturating_sub(before.chars().count());
    if length <= most || from_end.saturating_mul(2) <= most {
        return short;
    }
    let part = |share: usize| most.saturating_mul(share).checked_div(10).unwrap_or(0);
    let at = before.chars().count();
    let spared = part(2).saturating_sub(at);
    let middle = at.saturating_add(part(5)).saturating_add(spared);
    join(&whole, &[(0, part(2)), (at, middle), (length.saturating_sub(part(2)), length)])
}

/// The stretches of a text, from a letter up to another; a mark stands where something is left out between two.
fn join(text: &str, stretches: &[(usize, usize)]) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut kept = String::new();
    let mut end = 0_usize;
    for (from, to) in stretches {
        // What is no longer than the mark is kept.
        let from = if *from <= end.saturating_add(3) { end } else { *from };
        let stretch: String = letters.iter().skip(from).take(to.saturating_sub(from)).collect();
        if end < from {
            kept.truncate(kept.trim_end().len());
            kept.push_str(" … ");
            kept.push_str(stretch.trim_start());
        } else {
            kept.push_str(&stretch);
        }
        end = end.max(*to);
    }
    kept
}

/// Makes a line safe for a terminal without touching its spaces: for text that is laid out in columns.
#[must_use]
pub fn printable(line: &str, most: usize) -> String {
    line.chars()
        .map(|letter| if letter.is_whitespace() { ' ' } else { letter })
        .filter(|letter| !letter.is_control() && !is_invisible(*letter))
        .take(most)
        .collect()
}

/// Zero-width, bidirectional and other format characters, and the tag and variation blocks.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// What stands in the place of a secret.
const MASKED: &str = "***";
/// Names whose values are secrets, in lower case.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "accesskey",
    "access-key",
    "private_key",
    "privatekey",
    "private-key",
    "credential",
    "authorization",
    "cookie",
    "session",
];

/// Makes lines of a log fit to be shown: values of secrets by their names, authorization headers, passwords in addresses,
/// and long runs of base64 or hex are masked. Masks too much rather than too little.
#[must_use]
pub fn mask(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(mask_line).collect();
    lines.join("\n")
}

fn mask_line(line: &str) -> String {
    let mut masked = String::new();
    // After `Authorization:`, `password=` or `Bearer` the next word is the secret.
    let mut secret_follows = false;
    for word in line.split_inclusive(|letter: char| letter.is_whitespace()) {
        let (body, space) = word.split_at(word.trim_end().len());
        let lower = body.to_lowercase();
        if body.is_empty() {
            masked.push_str(space);
            continue;
        }
        let scheme = ["bearer", "basic", "digest", "=", ":"].contains(&lower.trim_end_matches([',', ';']));
        if secret_follows && !scheme {
            masked.push_str(MASKED);
            secret_follows = false;
        } else {
            let (shown, follows) = mask_word(body);
            masked.push_str(&shown);
            secret_follows = follows || secret_follows || lower == "bearer" || lower == "basic";
        }
        masked.push_str(space);
    }
    masked
}

/// One word, and whether the secret is the next one.
fn mask_word(word: &str) -> (String, bool) {
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((user, host)) = rest.rsplit_once('@')
    {
        let user = user.split_once(':').map_or(MASKED, |(user, _)| user);
        let user = if user.is_empty() { MASKED } else { user };
        return (format!("{scheme}://{user}:{MASKED}@{}", mask_runs(host)), false);
    }
    let named = word.find(['=', ':']).and_then(|at| {
        let (name, value) = word.split_at_checked(at)?;
        let name = name.to_lowercase();
        SECRET_NAMES.iter().any(|secret| name.contains(secret)).then_some((at, value))
    });
    if let Some((at, value)) = named {
        let head = word.get(..=at).unwrap_or(word);
        let rest = value.trim_start_matches(['=', ':', '"', '\'']);
        return if rest.is_empty() { (head.to_owned(), true) } else { (format!("{head}{MASKED}"), false) };
    }
    let bare = word.to_lowercase();
    let is_name = SECRET_NAMES.contains(&bare.trim_matches(['"', '\'', '-']));
    // `--password geheim` and `"token" : "…"`; plain talk of a token loses one word, which is no loss.
    (mask_runs(word), is_name && (word.starts_with('-') || word.ends_with('"')))
}

/// Long runs of what only machines write: hex, or base64 with all its kinds of letters.
fn mask_runs(word: &str) -> String {
    const LONG: usize = 32;
    let coded = |letter: char| letter.is_ascii_alphanumeric() || "+/_-=".contains(letter);
    let mut shown = String::new();
    let mut run = String::new();
    let end = |run: &mut String, shown: &mut String| {
        let has = |kind: fn(&char) -> bool| run.chars().any(|letter| kind(&letter));
        let hex = run.chars().all(|letter| letter.is_ascii_hexdigit());
        let mixed =
            has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit);
        let secret = LONG <= run.chars().count() && (hex || mixed);
        shown.push_str(if secret { MASKED } else { run.as_str() });
        run.clear();
    };
    for letter in word.chars() {
        if coded(letter) {
            run.push(letter);
        } else {
            end(&mut run, &mut shown);
            shown.push(letter);
        }
    }
    end(&mut run, &mut shown);
    shown
}

/// An instant to the minute: `2026-11-25 09:40Z`.
#[must_use]
pub fn instant(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// An instant to the second: `2026-11-25 09:40:12Z`.
#[must_use]
pub fn instant_seconds(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A duration: `24h`, `1h 30m`, `10m`, `14s`.
#[must_use]
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let part = |value: i64, unit: &str| (0 < value).then(|| format!("{value}{unit}"));
    let hours = seconds.checked_div(3600).unwrap_or(0);
    let minutes = seconds.checked_rem(3600).unwrap_or(0).checked_div(60).unwrap_or(0);
    let rest = seconds.checked_rem(60).unwrap_or(0);
    let parts: Vec<String> =
        [part(hours, "h"), part(minutes, "m"), part(rest, "s")].into_iter().flatten().take(2).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_name_by_place_and_by_look_and_what_happened_stays() {
        let check = |line: &str, said: &str| assert_eq!(mask(line), said, "{line}");
        check("mkdir /data: Read-only file system", "mkdir /data: Read-only file system");
        check(
            "open /var/lib/app/state.db: permission denied",
            "open /var/lib/app/state.db: permission denied",
        );
        check("dial tcp 10.0.0.7:5432: i/o timeout", "dial tcp 10.0.0.7:5432: i/o timeout");
        check("DB_PASSWORD=geheim host=db", "DB_PASSWORD=*** host=db");
        check("password: geheim", "password: ***");
        check("{\"token\":\"geheim\"}", "{\"token\":***");
        check("{\"apiKey\": \"geheim\"}", "{\"apiKey\": ***");
        check("Authorization: Bearer geheim", "Authorization: Bearer ***");
        check("authorization: Basic Z2VoZWlt", "authorization: Basic ***");
        check("sent Bearer geheim to it", "sent Bearer *** to it");
        check("--password geheim --port 80", "--password *** --port 80");
        check("postgres://web:geheim@db:5432/shop", "postgres://web:***@db:5432/shop");
        check("https://geheim@github.test/a", "https://***:***@github.test/a");
        check(&format!("key {}", "a1B2".repeat(10)), "key ***");
        check(&format!("sha {}", "4290a1b2".repeat(4)), "sha ***");
        check("eyJhbGciOiJIUzI1NiJ9aaaaaaaaaaaaaaaa.eyJzdWIiOiIxMjM0NTY3ODkwIn0aaaaa.x", "***.***.x");
        assert_eq!(mask("one\nSECRET=two\nthree"), "one\nSECRET=***\nthree");
        for hostile in ["", "=", ":", "://@", "a://@", "password", "password=", "Bearer", "\u{202e}token=x"] {
            let _ = mask(hostile);
        }
    }

    #[test]
    fn foreign_text_cannot_move_a_cursor_turn_the_direction_or_fill_a_page() {
        assert_eq!(clean("exit\u{1b}[2J\u{7}ed\r\n  twice", 200), "exit[2Jed twice");
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{feff}d", 200), "abcd");
        assert_eq!(clean(&"x".repeat(300), 5), "xxxx…");
        assert_eq!(clean("  ", 5), "");
        assert_eq!(clean("five!", 5), "five!");
        assert_eq!(printable("  Ready   True\u{1b}[2J\u{202e}\n", 40), "  Ready   True[2J ");
        assert_eq!(printable("12345", 3), "123");
    }

    #[test]
    fn what_decided_stays_in_a_text_that_is_cut_wherever_it_stood() {
        let long =
            |middle: &str| format!("{}{middle}{}", "layer on layer: ".repeat(40), " and so forth".repeat(40));
        let cut = clean_around(&long("exec format error"), "exec format error", 200);
        assert!(cut.contains(" … exec format error and so forth"), "{cut}");
        assert!(cut.starts_with("layer on layer: ") && cut.ends_with("and so forth"), "{cut}");
        assert!(cut.chars().count() <= 200, "{cut}");
        assert_eq!(clean_around("exec format error", "exec format error", 200), "exec format error");
        // Where nothing is left out between two parts there is no mark.
        let denied = format!("pod is forbidden: violates PodSecurity {}", "x, ".repeat(100));
        let cut = clean_around(&denied, "violates PodSecurity", 200);
        assert!(
            cut.starts_with("pod is forbidden: violates PodSecurity x, ") && cut.chars().count() <= 200,
            "{cut}"
        );
        assert_eq!(clean_around(&long("x"), "not there", 200), clean_ends(&long("x"), 200));
        for hostile in ["", "\u{202e}", "…"] {
            assert!(clean_around(&long(hostile), hostile, 200).chars().count() <= 200, "{hostile}");
            assert!(clean_around(hostile, "", 0).chars().count() <= 3, "{hostile}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let at: Timestamp = "2026-11-25T09:40:12.345Z".parse().unwrap();
        assert_eq!(instant(at), "2026-11-25 09:40Z");
        assert_eq!(instant_seconds(at), "2026-11-25 09:40:12Z");
        let words = |seconds| span(SignedDuration::from_secs(seconds));
        assert_eq!(
            (words(86_400), words(5_400), words(14), words(0)),
            ("24h".into(), "1h 30m".into(), "14s".into(), "0s".into())
        );
    }
}
